"""Configuration of a live teacher, as gin files fill it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tlm_jax.errors import UserError
from tlm_jax.sharding.rules import LOGICAL_AXIS_RULES, AxisRule, Rules
from tlm_jax.vocabularies import Vocabulary


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that runs in the train step, without gradient and optimizer.

    Attributes:
      path: a model of any format.
      dtype: of its activations.
      parameters_dtype: in which its parameters are kept.
      vocabulary: an object or a name; None for the tokenizer that lies beside the model, else the
        student's.
      feature_lengths: its tokens of inputs and targets where its vocabulary is another; None for
        the student's lengths.
      num_candidates: how many of its most probable tokens are mapped to another vocabulary; None
        for 64.
      add_bos: whether it reads BOS first; None: as it was made, see `runs.opened.reading`.
      add_eos: likewise EOS behind prompts.
      sharding: logical axes whose parameters are split otherwise than the student's, each with its
        mesh axes, such as {'embed': ('data', 'fsdp')}.
    """

    path: str
    dtype: str = "float32"
    parameters_dtype: str = "float32"
    vocabulary: Vocabulary | str | None = None
    feature_lengths: Mapping[str, int] | None = None
    num_candidates: int | None = None
    add_bos: bool | None = None
    add_eos: bool | None = None
    sharding: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_candidates is not None and self.num_candidates < 1:
            raise UserError(f"LiveTeacher.num_candidates is {self.num_candidates}: at least 1")

    def rules(self) -> Rules:
        """Returns the table by which its parameters are split."""
        table = dict(LOGICAL_AXIS_RULES)
        for name, axes in self.sharding.items():
            table[name] = AxisRule(tuple(axes), table.get(name, AxisRule()).activations)
        return table
