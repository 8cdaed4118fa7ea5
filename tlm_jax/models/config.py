"""Typed model configurations, checked when they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlm_jax.models.specs import (
    AttentionSpec,
    BlockSpec,
    NormSpec,
    RelativeSpec,
    RotarySpec,
    StackSpec,
)
from tlm_jax.models.transformer_config import TransformerConfig

POSITIONS = ("rotary", "alibi", "learned", "relative", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(TransformerConfig):
    """T5 (Raffel et al. 2020): 1.0 with ("relu",) and tied embeddings, 1.1 as by default.

    Relative position buckets, RMS norms before each sublayer, no biases, attention logits not
    divided by √H.

    Attributes:
      num_encoder_layers: layers of the encoder.
      num_decoder_layers: layers of the decoder.
    """

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderOnlyConfig(TransformerConfig):
    """A decoder-only transformer; by default LLaMA's choices but for the sizes.

    T5X's own decoder-only model is `position="relative"`, `attention_scale=1.0`,
    `mlp_activations=("gelu", "linear")`.

    Attributes:
      num_layers: L.
      position: "rotary", "alibi" (Press et al. 2022), "learned" (a table added to the
        embeddings), "relative" (T5's buckets) or "none".
      max_positions: rows of the learned table; needed by "learned" only.
      rotary_dim: leading dimensions of each head that rotate; None means all.
      rotary_base: θ of the rotary frequencies.
      rotary_interleaved: whether rotated pairs are neighbours (GPT-J) and not halves (LLaMA).
      attention_scale: multiplies queries; None means H ** -0.5.
      attention_bias: whether query, key and value projections add biases.
      attention_out_bias: whether the output projection adds one.
      attention_soft_cap: caps attention logits by tanh.
      qk_norm: whether each query and key head is RMS-normalised (Qwen3).
      mlp_bias: whether the MLP's projections add biases.
      norm: "rms" or "layer".
      norm_bias: whether a "layer" norm adds a bias.
      norm_position: "pre" or "post"; "post" has no last norm.
      embedding_norm: whether the embeddings are normalised (BLOOM).
      embedding_scale: multiplies the embeddings (Gemma has √D).
      parallel_residual: attention and MLP side by side on one normalised input (GPT-J).
      logits_bias: whether logits have a bias.
      logits_soft_cap: caps logits by tanh.
      prefix_lm: whether positions with `decoder_causal_attention` 1 see each other both ways.
    """

    num_layers: int
    mlp_activations: Sequence[str] = ("silu", "linear")
    position: str = "rotary"
    max_positions: int | None = None
    rotary_dim: int | None = None
    rotary_base: float = 10_000.0
    rotary_interleaved: bool = False
    attention_scale: float | None = None
    attention_bias: bool = False
    attention_out_bias: bool = False
    attention_soft_cap: float | None = None
    qk_norm: bool = False
    mlp_bias: bool = False
    norm: str = "rms"
    norm_bias: bool = False
    norm_position: str = "pre"
    embedding_norm: bool = False
    embedding_scale: float = 1.0
    parallel_residual: bool = False
    logits_bias: bool = False
    logits_soft_cap: float | None = None
    prefix_lm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("num_layers")
        self.check_choice("position", self.position, POSITIONS)
        self.check_choice("norm", self.norm, ("rms", "layer"))
        self.check_choice("norm_position", self.norm_position, ("pre", "post"))
        if self.position == "learned" and (self.max_positions is None or self.max_positions < 1):
            self.reject("max_positions", 'position="learned" needs the number of positions')
        if self.position == "rotary":
            rotary_dim = self.head_dim if self.rotary_dim is None else self.rotary_dim
            if rotary_dim % 2 or not 0 < rotary_dim <= self.head_dim:
                self.reject("rotary_dim", f"expected an even number up to head_dim={self.head_dim}")
        if self.norm_bias and self.norm == "rms":
            self.reject("norm_bias", 'only norm="layer" has a bias')
        if self.parallel_residual and self.norm_position == "post":
            self.reject("parallel_residual", 'needs norm_position="pre"')

    def attention_spec(self) -> AttentionSpec:
        """Returns the self-attention."""
        rotary = RotarySpec(
            self.head_dim if self.rotary_dim is None else self.rotary_dim,
            self.rotary_base,
            self.rotary_interleaved,
        )
        scale = self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale
        return AttentionSpec(
            num_heads=self.num_heads,
            num_kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            scale=scale,
            qkv_bias=self.attention_bias,
            out_bias=self.attention_out_bias,
            soft_cap=self.attention_soft_cap,
            qk_norm=NormSpec("rms", self.norm_epsilon) if self.qk_norm else None,
            rotary=rotary if self.position == "rotary" else None,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )

    def norm_spec(self) -> NormSpec:
        """Returns the norm used everywhere."""
        return NormSpec(self.norm, self.norm_epsilon, self.norm_bias)

    def decoder_spec(self) -> StackSpec:
        """Returns the stack of layers."""
        relative = None
        if self.position == "relative":
            relative = RelativeSpec(
                self.relpos_buckets, self.relpos_max_distance, False, self.relpos_per_layer
            )
        return StackSpec(
            block=BlockSpec(
                attention=self.attention_spec(),
                mlp=dataclasses.replace(self.mlp_spec(), use_bias=self.mlp_bias),
                norm=self.norm_spec(),
                norm_position=self.norm_position,
                parallel_residual=self.parallel_residual,
                relative=relative if self.relpos_per_layer else None,
                dropout_rate=self.dropout_rate,
            ),
            num_layers=self.num_layers,
            scan_layers=self.scan_layers,
            remat_policy=self.remat_policy,
            scanned_name="decoder",
            norm_name="decoder_norm",
            shared_relative=None if self.relpos_per_layer else relative,
            alibi=self.position == "alibi",
        )


ModelConfig = EncoderDecoderConfig | DecoderOnlyConfig
