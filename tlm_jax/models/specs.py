"""Specifications of layers, as plain values that configurations fill in."""

from __future__ import annotations

import dataclasses

from tlm_jax.errors import UserError, nearest

ROTARY_SCALINGS = ("linear", "llama3")


@dataclasses.dataclass(frozen=True)
class NormSpec:
    """Normalisation over D.

    Attributes:
      kind: "rms" (no mean, no bias) or "layer".
      epsilon: added to the mean square or the variance.
      use_bias: whether a "layer" norm adds a bias.
      scale_offset: added to the learned scale; Gemma has 1, so that scales are learned around 0.
    """

    kind: str = "rms"
    epsilon: float = 1e-6
    use_bias: bool = False
    scale_offset: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """Slows rotation down, for sequences longer than those of pretraining.

    "linear" divides all frequencies by `factor` (Chen et al. 2023, arXiv 2306.15595). "llama3" does
    so only with those that turn less than `low_freq_factor` times in `original_max_positions`,
    leaves those alone that turn more than `high_freq_factor` times, and blends in between, linearly
    in the number of turns (LLaMA 3.1).

    Attributes:
      kind: "linear" or "llama3".
      factor: how many times slower.
      low_freq_factor: turns; "llama3" only, as what follows.
      high_freq_factor: turns, more than `low_freq_factor`.
      original_max_positions: length of the sequences of pretraining.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192

    def __post_init__(self) -> None:
        if self.kind not in ROTARY_SCALINGS:
            known = " or ".join(repr(name) for name in ROTARY_SCALINGS)
            hint = nearest(str(self.kind), ROTARY_SCALINGS)
            raise UserError(f"RotaryScaling.kind is {self.kind!r}: expected {known}.{hint}")
        if self.factor <= 0:
            raise UserError(f"RotaryScaling.factor is {self.factor!r}: expected more than 0")
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise UserError(
                f"RotaryScaling.high_freq_factor is {self.high_freq_factor!r}: expected more than "
                f"low_freq_factor={self.low_freq_factor!r}, and that more than 0"
            )
        if self.original_max_positions < 1:
            raise UserError(
                f"RotaryScaling.original_max_positions is {self.original_max_positions!r}: "
                "expected at least 1"
            )


@dataclasses.dataclass(frozen=True)
class RotarySpec:
    """Rotary positions (Su et al. 2021).

    Attributes:
      dim: leading dimensions of each head that rotate; the others carry no position.
      base: wavelengths run from 2π to 2π·base.
      interleaved: pairs are (0, 1), (2, 3), ... as in GPT-J, and not (0, dim/2), (1, dim/2 + 1),
        ... as in LLaMA.
      scaling: slows the rotation down.
      windowed_base: base of layers with a window, if they have their own; they are not scaled then.
    """

    dim: int
    base: float = 10_000.0
    interleaved: bool = False
    scaling: RotaryScaling | None = None
    windowed_base: float | None = None


@dataclasses.dataclass(frozen=True)
class RelativeSpec:
    """T5's learned bias for each head and bucket of key position − query position.

    Attributes:
      num_buckets: half of them for exact distances, the rest logarithmic.
      max_distance: beyond it all distances share a bucket.
      bidirectional: whether keys after the query have buckets of their own.
      per_layer: whether each layer has its own table; otherwise the stack shares one.
    """

    num_buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = False
    per_layer: bool = False


@dataclasses.dataclass(frozen=True)
class AttentionSpec:
    """Multi-head attention; grouped when 1 < K < N, multi-query when K = 1.

    Attributes:
      num_heads: N.
      num_kv_heads: K, a divisor of N; query head n attends to key head n // (N // K).
      head_dim: H.
      scale: multiplies the query; T5 has 1, others H ** -0.5.
      qkv_bias: whether query, key and value projections add a bias.
      out_bias: whether the output projection adds one.
      soft_cap: caps logits to (−soft_cap, soft_cap) by tanh, before bias and mask.
      qk_norm: normalises each query and key head over H, before rotation.
      rotary: rotates queries and keys by their positions.
      dropout_rate: of attention weights, one draw for all queries of a row and head, as in T5.
      dtype: compute type of the projections and of weights @ values; softmax is float32.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    qkv_bias: bool = False
    out_bias: bool = False
    soft_cap: float | None = None
    qk_norm: NormSpec | None = None
    rotary: RotarySpec | None = None
    dropout_rate: float = 0.0
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class MlpSpec:
    """Position-wise network.

    Attributes:
      mlp_dim: F.
      activations: one name a parallel input projection; their results are multiplied, so
        ("gelu", "linear") is GeGLU and ("silu", "linear") SwiGLU.
      use_bias: whether both projections add a bias.
      dropout_rate: of the product, one draw for all positions of a row.
      dtype: compute type.
    """

    mlp_dim: int
    activations: tuple[str, ...]
    use_bias: bool = False
    dropout_rate: float = 0.0
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One layer of a stack.

    Attributes:
      attention: self-attention, and cross-attention where there is one.
      mlp: the position-wise network.
      norm: all norms of the block.
      norm_position: "pre" normalises what goes into a sublayer, "post" the sum that comes out,
        "sandwich" what goes in and what comes out, before it is added.
      parallel_residual: attention and MLP read the same input, and both results are added to it.
      parallel_norms: with `parallel_residual`, each has its own norm; else they share one.
      cross_attention: whether the block also attends to encoded inputs.
      self_attention_name: "attention" in an encoder, "self_attention" in a decoder (T5X's names).
      relative: the block's own relative bias, if it has one.
      dropout_rate: of each sublayer's result, one draw for all positions of a row.
    """

    attention: AttentionSpec
    mlp: MlpSpec
    norm: NormSpec
    norm_position: str = "pre"
    parallel_residual: bool = False
    parallel_norms: bool = False
    cross_attention: bool = False
    self_attention_name: str = "self_attention"
    relative: RelativeSpec | None = None
    dropout_rate: float = 0.0


@dataclasses.dataclass(frozen=True)
class StackSpec:
    """Layers, and the position bias and last norm around them.

    Attributes:
      block: what every layer is.
      num_layers: L.
      scan_layers: one compiled layer runs L times over stacked parameters.
      remat_policy: a name in `transformer_config.REMAT_POLICIES`.
      scanned_name: name of the stacked layers in the parameter tree.
      norm_name: name of the last norm.
      shared_relative: the bias that all layers share, if they do.
      alibi: whether attention is penalised linearly in distance.
      attention_window: in layers with a window, a query at position i sees keys at positions j with
        |i − j| < attention_window (of those that the mask lets it see).
      windowed_layers: which layers have that window, one flag each; None where there is no window.
      share_last_dropout: whether dropout after the last norm is one draw for all positions; T5X's
        decoder shares it, its encoder does not.
    """

    block: BlockSpec
    num_layers: int
    scan_layers: bool
    remat_policy: str
    scanned_name: str
    norm_name: str
    shared_relative: RelativeSpec | None = None
    alibi: bool = False
    attention_window: int | None = None
    windowed_layers: tuple[bool, ...] | None = None
    share_last_dropout: bool = True
