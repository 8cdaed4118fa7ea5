"""Typed model configurations, checked when they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlm_jax.errors import UserError, nearest
from tlm_jax.models.specs import (
    AttentionSpec,
    BlockSpec,
    MlpSpec,
    NormSpec,
    RelativeSpec,
    RotarySpec,
    StackSpec,
)

ACTIVATIONS = ("relu", "gelu", "gelu_exact", "silu", "swish", "tanh", "linear")
DTYPES = ("float32", "bfloat16")
REMAT_POLICIES = ("none", "minimal", "dots_saveable", "full")
POSITIONS = ("rotary", "alibi", "learned", "relative", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """What both model families share.

    Attributes:
      vocab_size: V, rows of the embedding table; at least the tokenizer's size.
      embed_dim: D.
      num_heads: N.
      head_dim: H.
      mlp_dim: F.
      num_kv_heads: K; None means N. A divisor of N: 1 is multi-query attention.
      mlp_activations: "relu", "gelu" (tanh form), "gelu_exact", "silu", "tanh", "linear"; with
        two, the results are multiplied: ("gelu", "linear") is GeGLU, ("silu", "linear") SwiGLU.
      dropout_rate: one rate for all the places where T5X drops.
      dtype: type of activations, "float32" or "bfloat16". Parameters, norms, softmax and logits
        are float32 whatever it is.
      tie_embeddings: whether logits use the embedding table instead of their own matrix.
      scale_tied_logits: whether tied logits are multiplied by D ** -0.5, as in T5.
      embedding_init_stddev: standard deviation of the initial embedding table.
      scan_layers: whether layers are one scanned layer with stacked parameters; compile time then
        does not grow with depth.
      remat_policy: what the backward pass recomputes: "none" nothing; "minimal" all but the
        results of matrix products with parameters; "dots_saveable" all but matrix products;
        "full" everything but each layer's input.
      norm_epsilon: added to the mean square or variance inside norms.
      relpos_buckets: buckets of T5's relative positions.
      relpos_max_distance: distance from which on all share a bucket.
      relpos_per_layer: whether every layer has its own relative bias (T5X's scalable_t5) or all
        layers of a stack share one (T5).
    """

    vocab_size: int
    embed_dim: int
    num_heads: int
    head_dim: int
    mlp_dim: int
    num_kv_heads: int | None = None
    mlp_activations: Sequence[str] = ("gelu", "linear")
    dropout_rate: float = 0.0
    dtype: str = "float32"
    tie_embeddings: bool = False
    scale_tied_logits: bool = True
    embedding_init_stddev: float = 1.0
    scan_layers: bool = True
    remat_policy: str = "none"
    norm_epsilon: float = 1e-6
    relpos_buckets: int = 32
    relpos_max_distance: int = 128
    relpos_per_layer: bool = False

    def __post_init__(self) -> None:
        activations = self.mlp_activations
        if isinstance(activations, str):
            activations = (activations,)
        object.__setattr__(self, "mlp_activations", tuple(activations))
        for name in ("vocab_size", "embed_dim", "num_heads", "head_dim", "mlp_dim"):
            self._check_positive(name)
        if self.num_heads % self.kv_heads or self.kv_heads < 1:
            self._reject("num_kv_heads", f"expected a divisor of num_heads={self.num_heads}")
        if not self.mlp_activations:
            self._reject("mlp_activations", "expected at least one name")
        for activation in self.mlp_activations:
            self._check_choice("mlp_activations", activation, ACTIVATIONS)
        self._check_choice("dtype", self.dtype, DTYPES)
        self._check_choice("remat_policy", self.remat_policy, REMAT_POLICIES)
        if not 0.0 <= self.dropout_rate < 1.0:
            self._reject("dropout_rate", "expected at least 0 and less than 1")
        if self.relpos_buckets < 4 or self.relpos_buckets % 2:
            self._reject("relpos_buckets", "expected an even number, at least 4")
        if self.relpos_max_distance <= self.relpos_buckets // 2:
            self._reject("relpos_max_distance", "expected more than half of relpos_buckets")

    @property
    def kv_heads(self) -> int:
        """K."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def logits_scale(self) -> float:
        """What `hidden @ matrix` is multiplied by."""
        scaled = self.tie_embeddings and self.scale_tied_logits
        return self.embed_dim**-0.5 if scaled else 1.0

    def mlp_spec(self) -> MlpSpec:
        """Returns the position-wise network."""
        return MlpSpec(
            mlp_dim=self.mlp_dim,
            activations=tuple(self.mlp_activations),
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )

    def _check_positive(self, name: str) -> None:
        if getattr(self, name) < 1:
            self._reject(name, "expected at least 1")

    def _check_choice(self, name: str, value: str, known: tuple[str, ...]) -> None:
        if value not in known:
            choices = ", ".join(repr(choice) for choice in known)
            self._reject(name, f"expected one of {choices}.{nearest(value, known)}")

    def _reject(self, name: str, expectation: str) -> None:
        value = getattr(self, name)
        raise UserError(f"{type(self).__name__}.{name} is {value!r}: {expectation}")


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
        self._check_positive("num_encoder_layers")
        self._check_positive("num_decoder_layers")

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
        self._check_positive("num_layers")
        self._check_choice("position", self.position, POSITIONS)
        self._check_choice("norm", self.norm, ("rms", "layer"))
        self._check_choice("norm_position", self.norm_position, ("pre", "post"))
        if self.position == "learned" and (self.max_positions is None or self.max_positions < 1):
            self._reject("max_positions", 'position="learned" needs the number of positions')
        if self.position == "rotary":
            rotary_dim = self.head_dim if self.rotary_dim is None else self.rotary_dim
            if rotary_dim % 2 or not 0 < rotary_dim <= self.head_dim:
                self._reject(
                    "rotary_dim", f"expected an even number up to head_dim={self.head_dim}"
                )
        if self.norm_bias and self.norm == "rms":
            self._reject("norm_bias", 'only norm="layer" has a bias')
        if self.parallel_residual and self.norm_position == "post":
            self._reject("parallel_residual", 'needs norm_position="pre"')

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
