"""Typed model configurations, checked when they are made: T5's, and the union of both families."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from tlm_jax.models.decoder_only_config import DecoderOnlyConfig
from tlm_jax.models.specs import (
    AttentionSpec,
    BlockSpec,
    NormSpec,
    RelativeSpec,
    StackSpec,
)
from tlm_jax.models.transformer_config import TransformerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(TransformerConfig):
    """T5 (Raffel et al. 2020): 1.0 with ("relu",) and tied embeddings, 1.1 as by default.

    Relative position buckets, RMS norms before each sublayer, no biases, attention logits not
    divided by √H.

    Attributes:
      num_encoder_layers: layers of the encoder.
      num_decoder_layers: layers of the decoder.
    """

    architecture: ClassVar[Literal["encoder_decoder"]] = "encoder_decoder"

    num_encoder_layers: int
    num_decoder_layers: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("num_encoder_layers")
        self.check_positive("num_decoder_layers")

    def attention_spec(self) -> AttentionSpec:
        """Returns the attention of both stacks, self and cross."""
        return AttentionSpec(
            num_heads=self.num_heads,
            num_kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            scale=1.0,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )

    def norm_spec(self) -> NormSpec:
        """Returns the norm used everywhere."""
        return NormSpec(kind="rms", epsilon=self.norm_epsilon)

    def stack_specs(self) -> dict[str, StackSpec]:
        return {"decoder": self.decoder_spec(), "encoder": self.encoder_spec()}

    def encoder_spec(self) -> StackSpec:
        """Returns the encoder."""
        return self._stack("encoder", self.num_encoder_layers, bidirectional=True)

    def decoder_spec(self) -> StackSpec:
        """Returns the decoder."""
        return self._stack("decoder", self.num_decoder_layers, bidirectional=False)

    def _stack(self, name: str, num_layers: int, *, bidirectional: bool) -> StackSpec:
        relative = RelativeSpec(
            self.relpos_buckets, self.relpos_max_distance, bidirectional, self.relpos_per_layer
        )
        return StackSpec(
            block=BlockSpec(
                attention=self.attention_spec(),
                mlp=self.mlp_spec(),
                norm=self.norm_spec(),
                cross_attention=name == "decoder",
                self_attention_name="attention" if name == "encoder" else "self_attention",
                relative=relative if self.relpos_per_layer else None,
                dropout_rate=self.dropout_rate,
            ),
            num_layers=num_layers,
            scan_layers=self.scan_layers,
            remat_policy=self.remat_policy,
            scanned_name=name,
            norm_name=f"{name}_norm",
            shared_relative=None if self.relpos_per_layer else relative,
            share_last_dropout=name == "decoder",
        )


ModelConfig = EncoderDecoderConfig | DecoderOnlyConfig
