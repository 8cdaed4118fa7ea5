"""A small model to start from, trained on sums until it gets some of the easy ones right."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tlm_jax.data.generators.addition import Addition, addition
from tlm_jax.data.generators.draws import Draws
from tlm_jax.data.published_formats import star_addition
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.star.forms import Form


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Makes M0, for lack of a pretrained model that knows the form.

    It is trained on solved sums with scratchpads, most of one digit, and asked from time to time;
    the first model that gets enough right is M0. A share of the texts has the answer as a hint in
    front, so that the model knows what a hint is; large models learn that from demonstrations.

    Attributes:
      shares: of the texts without a hint, by number of digits.
      hinted_shares: of those with one.
      hinted: share of the texts that have one.
      known_sums: so many different sums of each number of digits stand in texts without a hint;
        what the model knows by heart.
      num_examples: texts in all.
      rehearsed: so many texts with a hint a kept rationale are trained on in each loop, too. A
        small model that is trained on texts without hints forgets what one is; the paper's, of 6
        billion parameters and 40 steps at a rate of 1e-6, is told by demonstrations. 0 for none.
      min_steps: before the model is asked first.
      period_steps: it is asked after each so many further ones.
      max_steps: more is an error.
      probe_digits: number of digits of the sums that it is asked.
      num_probes: how many of them.
      at_least: share of them to be right.
      at_most: more is an error: there would be nothing left to learn.
    """

    shares: Mapping[int, float]
    hinted_shares: Mapping[int, float]
    hinted: float = 0.5
    known_sums: int = 24
    num_examples: int = 2000
    rehearsed: float = 0.0
    min_steps: int = 400
    period_steps: int = 50
    max_steps: int = 2000
    probe_digits: int = 1
    num_probes: int = 64
    at_least: float = 0.1
    at_most: float = 0.5

    def __post_init__(self) -> None:
        for name in ("shares", "hinted_shares"):
            shares = getattr(self, name).values()
            if not shares or min(shares) < 0 or not sum(shares):
                raise UserError(f"Pretraining.{name}: expected shares above 0 by number of digits")
        for name in (
            "num_examples",
            "known_sums",
            "min_steps",
            "period_steps",
            "max_steps",
            "num_probes",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"Pretraining.{name} is {getattr(self, name)}, expected at least 1")
        if not 0 <= self.at_least < self.at_most <= 1:
            raise UserError(
                f"Pretraining: at_least={self.at_least}, at_most={self.at_most}, expected "
                "0 <= at_least < at_most <= 1"
            )

    def examples(self, form: Form, seed: int) -> list[Record]:
        """Returns the texts as records with `inputs` and `targets`.

        Args:
          form: how sums are asked.
          seed: of the draw.
        """
        made = []
        draws = Draws("star pretraining", seed)
        for number in range(self.num_examples):
            hint = _unit(draws) < self.hinted
            digits = _drawn(self.hinted_shares if hint else self.shares, draws)
            place = number if hint else draws.below(self.known_sums)
            record = addition(_sums(digits, seed), "train", place)
            _, targets = star_addition(record, RunData())
            inputs = form.query(record, hint=hint)
            made.append(record.with_generated(inputs=inputs, targets=targets))
        return made

    def rehearsal(self, form: Form, seed: int, kept: int) -> list[Record]:
        """Returns the texts that are trained on beside so many kept rationales."""
        number = min(self.num_examples, round(self.rehearsed * kept))
        hinted = dataclasses.replace(self, hinted=1.0, num_examples=max(number, 1))
        return hinted.examples(form, seed)[:number]

    def probes(self) -> list[Record]:
        """Returns the sums that are asked to find out when to end."""
        problems = _sums(self.probe_digits, seed=-1)
        return [addition(problems, "train", number) for number in range(self.num_probes)]


def _drawn(shares: Mapping[int, float], draws: Draws) -> int:
    """Returns a number of digits, each by its share."""
    place = _unit(draws) * sum(shares.values())
    for digits, share in sorted(shares.items()):
        place -= share
        if place < 0:
            return digits
    return max(shares)


def _unit(draws: Draws) -> float:
    return draws.below(1 << 30) / (1 << 30)


def _sums(digits: int, seed: int) -> Addition:
    return Addition(seed=seed, min_digits=digits, max_digits=digits)
