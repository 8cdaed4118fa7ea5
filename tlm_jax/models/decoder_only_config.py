"""The configuration of decoder-only models: which of their choices can be combined, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from tlm_jax.models.specs import (
    AttentionSpec,
    BlockSpec,
    NormSpec,
    RelativeSpec,
    RotaryScaling,
    RotarySpec,
    StackSpec,
)
from tlm_jax.models.transformer_config import TransformerConfig

POSITIONS = ("rotary", "alibi", "learned", "relative", "none")
NORM_POSITIONS = ("pre", "post", "sandwich")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderOnlyConfig(TransformerConfig):
    """A decoder-only transformer; by default LLaMA's choices but for the sizes.

    T5X's own decoder-only model is `position="relative"`, `attention_scale=1.0`,
    `mlp_activations=("gelu", "linear")`.

    Attributes:
      num_layers: L.
      position: "rotary", "alibi" (Press et al. 2022), "learned" (a table added to the
        embeddings), "relative" (T5's buckets) or "none".
      max_positions: how many positions "learned" has; needed by it only.
      position_offset: row of the learned table for position 0; those before are of no use (OPT: 2).
      rotary_dim: leading dimensions of each head that rotate; None means all.
      rotary_base: θ of the rotary frequencies.
      rotary_interleaved: whether rotated pairs are neighbours (GPT-J) and not halves (LLaMA).
      rotary_scaling: slows rotation down, for sequences longer than those of pretraining.
      rotary_windowed_base: base in layers with a window, which are not scaled then (Gemma 3); None
        means they rotate as the others do.
      attention_window: a query at position i sees keys at positions j with i − j < attention_window
        only (with `prefix_lm` also j − i < attention_window); None means all.
      windowed_layers: which layers have that window, one flag each; None means all of them.
      attention_scale: multiplies queries; None means H ** -0.5.
      attention_bias: whether query, key and value projections add biases.
      attention_out_bias: whether the output projection adds one.
      attention_soft_cap: caps attention logits by tanh.
      qk_norm: whether each query and key head is RMS-normalised (Qwen3).
      mlp_bias: whether the MLP's projections add biases.
      norm: "rms" or "layer".
      norm_bias: whether a "layer" norm adds a bias.
      norm_scale_offset: added to every norm's learned scale; Gemma has 1.
      norm_position: "pre" (of what goes into a sublayer), "post" (of the sum; no last norm then) or
        "sandwich" (of what goes in and what comes out: Gemma 2).
      embedding_norm: whether the embeddings are normalised (BLOOM).
      embedding_scale: multiplies the embeddings (Gemma has √D).
      word_embed_dim: width E of the token table where it is not D: `project_in` [E, D] follows the
        lookup, `project_out` [D, E] the last norm, both without biases (OPT-350m).
      parallel_residual: attention and MLP side by side on one normalised input (GPT-J).
      parallel_norms: with `parallel_residual`, the MLP has a norm of its own (GPT-NeoX).
      logits_bias: whether logits have a bias.
      logits_soft_cap: caps logits by tanh.
      prefix_lm: whether positions with `decoder_causal_attention` 1 see each other both ways.
    """

    architecture: ClassVar[Literal["decoder_only"]] = "decoder_only"

    num_layers: int
    mlp_activations: Sequence[str] = ("silu", "linear")
    position: str = "rotary"
    max_positions: int | None = None
    position_offset: int = 0
    rotary_dim: int | None = None
    rotary_base: float = 10_000.0
    rotary_interleaved: bool = False
    rotary_scaling: RotaryScaling | None = None
    rotary_windowed_base: float | None = None
    attention_window: int | None = None
    windowed_layers: Sequence[bool] | None = None
    attention_scale: float | None = None
    attention_bias: bool = False
    attention_out_bias: bool = False
    attention_soft_cap: float | None = None
    qk_norm: bool = False
    mlp_bias: bool = False
    norm: str = "rms"
    norm_bias: bool = False
    norm_scale_offset: float = 0.0
    norm_position: str = "pre"
    embedding_norm: bool = False
    embedding_scale: float = 1.0
    word_embed_dim: int | None = None
    parallel_residual: bool = False
    parallel_norms: bool = False
    logits_bias: bool = False
    logits_soft_cap: float | None = None
    prefix_lm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("num_layers")
        self.check_choice("position", self.position, POSITIONS)
        self.check_choice("norm", self.norm, ("rms", "layer"))
        self.check_choice("norm_position", self.norm_position, NORM_POSITIONS)
        self._check_positions()
        self._check_windows()
        if self.norm_bias and self.norm == "rms":
            self.reject("norm_bias", 'only norm="layer" has a bias')
        if self.parallel_residual and self.norm_position != "pre":
            self.reject("parallel_residual", 'needs norm_position="pre"')
        if self.parallel_norms and not self.parallel_residual:
            self.reject("parallel_norms", "needs parallel_residual=True")
        if self.word_embed_dim is not None:
            self.check_positive("word_embed_dim")

    def _check_positions(self) -> None:
        if self.position == "learned" and (self.max_positions is None or self.max_positions < 1):
            self.reject("max_positions", 'position="learned" needs the number of positions')
        if self.position == "rotary":
            rotary_dim = self.head_dim if self.rotary_dim is None else self.rotary_dim
            if rotary_dim % 2 or not 0 < rotary_dim <= self.head_dim:
                self.reject("rotary_dim", f"expected an even number up to head_dim={self.head_dim}")
        else:
            for name in ("rotary_scaling", "rotary_windowed_base"):
                if getattr(self, name) is not None:
                    self.reject(name, 'needs position="rotary"')
        if self.position_offset < 0 or (self.position_offset and self.position != "learned"):
            self.reject("position_offset", 'expected 0, or more with position="learned"')

    def _check_windows(self) -> None:
        if self.windowed_layers is not None:
            object.__setattr__(self, "windowed_layers", tuple(self.windowed_layers))
            if len(self.windowed_layers) != self.num_layers:
                self.reject("windowed_layers", f"expected num_layers={self.num_layers} flags")
        if self.attention_window is not None:
            self.check_positive("attention_window")
            return
        for name in ("windowed_layers", "rotary_windowed_base"):
            if getattr(self, name) is not None:
                self.reject(name, "needs attention_window")

    @property
    def token_width(self) -> int:
        """E, of the token table and of what the logits matrix multiplies; D by default."""
        return self.embed_dim if self.word_embed_dim is None else self.word_embed_dim

    @property
    def is_prefix_lm(self) -> bool:
        return self.prefix_lm

    @property
    def position_limit(self) -> int | None:
        return self.max_positions

    @property
    def unembedding_soft_cap(self) -> float | None:
        return self.logits_soft_cap

    def resolved_fields(self) -> dict[str, Any]:
        fields = super().resolved_fields()
        rotary = self.position == "rotary"
        fields["attention_scale"] = self.attention_scale or self.head_dim**-0.5
        fields["rotary_dim"] = (self.rotary_dim or self.head_dim) if rotary else None
        if not rotary:
            fields |= {"rotary_base": None, "rotary_scaling": None}
        fields["windowed_layers"] = self.layer_windows
        if self.position != "relative":
            idle = ("relpos_buckets", "relpos_max_distance", "relpos_per_layer")
            fields |= dict.fromkeys(idle)
        return fields

    @property
    def layer_windows(self) -> tuple[bool, ...] | None:
        """Which layers have a window, None if the model has none."""
        if self.attention_window is None:
            return None
        flags = self.windowed_layers
        return (True,) * self.num_layers if flags is None else tuple(flags)

    def attention_spec(self) -> AttentionSpec:
        """Returns the self-attention."""
        rotary = RotarySpec(
            self.head_dim if self.rotary_dim is None else self.rotary_dim,
            self.rotary_base,
            self.rotary_interleaved,
            self.rotary_scaling,
            self.rotary_windowed_base,
        )
        qk_norm = NormSpec("rms", self.norm_epsilon, scale_offset=self.norm_scale_offset)
        scale = self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale
        return AttentionSpec(
            num_heads=self.num_heads,
            num_kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            scale=scale,
            qkv_bias=self.attention_bias,
            out_bias=self.attention_out_bias,
            soft_cap=self.attention_soft_cap,
            qk_norm=qk_norm if self.qk_norm else None,
            rotary=rotary if self.position == "rotary" else None,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )

    def norm_spec(self) -> NormSpec:
        """Returns the norm used everywhere."""
        return NormSpec(self.norm, self.norm_epsilon, self.norm_bias, self.norm_scale_offset)

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
                parallel_norms=self.parallel_norms,
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
            attention_window=self.attention_window,
            windowed_layers=self.layer_windows,
        )
