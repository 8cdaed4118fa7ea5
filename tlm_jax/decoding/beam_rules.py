"""The rules by which beam search scores texts, and knows that nothing better can come."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlm_jax.errors import UserError, nearest

_LENGTH_PENALTIES = {"t5x": 0.6, "transformers": 1.0}
"""The rules, and what each takes where no length penalty is given."""


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """How beams are scored, and when a prompt's search ends.

    Each step considers the (1 + max(1, number of EOS ids)) * `num_beams` most probable
    continuations of a prompt's beams, so that `num_beams` remain whichever of them end. Scores are
    `log p(text) / divisor`, EOS included; a prompt's search ends when `num_beams` texts have ended
    and the most probable beam, with all that it may still add taken to have probability 1, would
    not score above the worst of them.

    - `t5x`: divisor `((5 + length) / 6) ** length_penalty`, where the length counts the prompt of a
      decoder-only model too, less its first token (BOS). Only texts with EOS have ended. If there
      are none, the beams at the limit are returned, with `log p` itself as score; if there are
      some, the remaining places stay empty.
    - `transformers`: divisor `length ** length_penalty`, of the generated tokens alone. Of a step's
      continuations only the `num_beams` most probable may end; at the limit they all do.
      `early_stopping` says which divisor that most probable beam is given before the comparison:
      that of its present length (False), or of the longest text if `length_penalty` is above 0
      ("never": nothing better is missed). True ends a search as soon as `num_beams` texts have
      ended, too.

    Attributes:
      num_beams: beams of each prompt, and texts returned.
      rule: `t5x` or `transformers`.
      length_penalty: exponent of the divisor; None is 0.6 for `t5x` and 1.0 for `transformers`.
      early_stopping: for `transformers` only.

    Raises:
      UserError: a value that the rule does not have.

    Sources: t5x.decoding.beam_search (brevity penalty of Wu et al. 2016, equation 14, without
    coverage); transformers.GenerationMixin, version 5.23.
    """

    num_beams: int
    rule: str = "t5x"
    length_penalty: float | None = None
    early_stopping: bool | str = False

    def __post_init__(self) -> None:
        if self.rule not in _LENGTH_PENALTIES:
            raise UserError(
                f"beam search has no rule {self.rule!r}: expected one of "
                f"{', '.join(_LENGTH_PENALTIES)}.{nearest(self.rule, _LENGTH_PENALTIES)}"
            )
        if self.num_beams < 1:
            raise UserError(f"beam search needs num_beams of at least 1, got {self.num_beams}")
        if self.early_stopping not in (False, True, "never"):
            raise UserError(
                f"early_stopping of beam search is False, True or 'never', got "
                f"{self.early_stopping!r}"
            )
        if self.rule == "t5x" and self.early_stopping is not False:
            raise UserError(
                "rule 't5x' of beam search never stops before the best are found: leave "
                "early_stopping at False, or take rule 'transformers'"
            )
        if self.rule == "t5x" and self.exponent < 0:
            raise UserError(
                f"rule 't5x' of beam search needs length_penalty of at least 0, got {self.exponent}"
            )

    @property
    def exponent(self) -> float:
        """The length penalty, the rule's own if none was given."""
        if self.length_penalty is None:
            return _LENGTH_PENALTIES[self.rule]
        return self.length_penalty


class BeamScores(NamedTuple):
    """Turns log-probabilities into scores by a rule; holds what its divisors depend on.

    `first_positions` are those of the first generated token.
    """

    search: BeamSearch
    first_positions: Int[Array, "B"]
    max_decode_steps: int

    def divisor(self, generated: Int[Array, ""] | int) -> Float[Array, "B #P"]:
        """Returns what the log-probability of a text of so many tokens is divided by."""
        ones = jnp.ones((self.first_positions.shape[0], 1), jnp.float32)
        if self.search.rule == "transformers":
            return (ones * generated) ** self.search.exponent
        length = self.first_positions[:, None] - 1 + ones * generated
        return ((5 + length) / 6) ** self.search.exponent

    def best_possible(
        self, logprobs: Float[Array, "B P"], generated: Int[Array, ""]
    ) -> Float[Array, "B"]:
        """Returns the score that the most probable beam is taken to reach at the best."""
        search = self.search
        longest = search.rule == "t5x" or (search.early_stopping == "never" and search.exponent > 0)
        divisor = self.divisor(self.max_decode_steps if longest else generated)
        return logprobs[:, 0] / divisor[:, 0]
