"""The configuration that both model families share, and its refusal of bad values."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NoReturn

from tlm_jax.errors import UserError, nearest
from tlm_jax.models.specs import MlpSpec, StackSpec

ACTIVATIONS = ("relu", "gelu", "gelu_exact", "silu", "swish", "tanh", "linear")
DTYPES = ("float32", "bfloat16")
REMAT_POLICIES = ("none", "minimal", "dots_saveable", "full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig(abc.ABC):
    """What both model families share, and what others ask of a model whichever it is.

    Attributes:
      architecture: names the family, in files and where batches are made.
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

    architecture: ClassVar[Literal["encoder_decoder", "decoder_only"]]

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
            self.check_positive(name)
        if self.num_heads % self.kv_heads or self.kv_heads < 1:
            self.reject("num_kv_heads", f"expected a divisor of num_heads={self.num_heads}")
        if not self.mlp_activations:
            self.reject("mlp_activations", "expected at least one name")
        for activation in self.mlp_activations:
            self.check_choice("mlp_activations", activation, ACTIVATIONS)
        self.check_choice("dtype", self.dtype, DTYPES)
        self.check_choice("remat_policy", self.remat_policy, REMAT_POLICIES)
        if not 0.0 <= self.dropout_rate < 1.0:
            self.reject("dropout_rate", "expected at least 0 and less than 1")
        if self.relpos_buckets < 4 or self.relpos_buckets % 2:
            self.reject("relpos_buckets", "expected an even number, at least 4")
        if self.relpos_max_distance <= self.relpos_buckets // 2:
            self.reject("relpos_max_distance", "expected more than half of relpos_buckets")

    @abc.abstractmethod
    def decoder_spec(self) -> StackSpec:
        """Returns the decoder's stack of layers."""

    def stack_specs(self) -> dict[str, StackSpec]:
        """Returns the stacks by name: `decoder`, and `encoder` where there is one."""
        return {"decoder": self.decoder_spec()}

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether prompts are read by an encoder of their own."""
        return self.architecture == "encoder_decoder"

    @property
    def is_prefix_lm(self) -> bool:
        """Whether the tokens of a prompt see each other both ways in the decoder."""
        return False

    @property
    def is_causal(self) -> bool:
        """Whether a token's keys and values depend on nothing that follows it."""
        return not (self.is_encoder_decoder or self.is_prefix_lm)

    @property
    def position_limit(self) -> int | None:
        """How many positions the model has parameters for; None: any number."""
        return None

    @property
    def unembedding_soft_cap(self) -> float | None:
        """At what logits are capped by tanh; None: nowhere."""
        return None

    def resolved_fields(self) -> dict[str, Any]:
        """Returns the fields, with None replaced by what it stands for and idle fields at rest.

        Two configurations of one family are of the same model where these are equal, those aside
        that say how it is run.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["num_kv_heads"] = self.kv_heads
        if not self.tie_embeddings:
            fields["scale_tied_logits"] = False
        return fields

    @property
    def kv_heads(self) -> int:
        """K."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def logits_scale(self) -> float:
        """What `hidden @ matrix` is multiplied by."""
        scaled = self.tie_embeddings and self.scale_tied_logits
        return self.token_width**-0.5 if scaled else 1.0

    @property
    def token_width(self) -> int:
        """Width of the token table, and of what the logits matrix multiplies."""
        return self.embed_dim

    def mlp_spec(self) -> MlpSpec:
        """Returns the position-wise network."""
        return MlpSpec(
            mlp_dim=self.mlp_dim,
            activations=tuple(self.mlp_activations),
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )

    def check_positive(self, name: str) -> None:
        """Rejects a field that is 0 or less."""
        if getattr(self, name) < 1:
            self.reject(name, "expected at least 1")

    def check_choice(self, name: str, value: str, known: tuple[str, ...]) -> None:
        """Rejects a field whose value is no known name."""
        if value not in known:
            choices = ", ".join(repr(choice) for choice in known)
            self.reject(name, f"expected one of {choices}.{nearest(value, known)}")

    def reject(self, name: str, expectation: str) -> NoReturn:
        """Raises `UserError` about a field."""
        value = getattr(self, name)
        raise UserError(f"{type(self).__name__}.{name} is {value!r}: {expectation}")
