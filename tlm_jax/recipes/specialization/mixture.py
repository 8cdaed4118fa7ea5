"""The order of a student's rows: formats, batches and epochs, at any place at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int

from tlm_jax.data.formats import FORMATS, get_format
from tlm_jax.data.pipeline.mixing import ExampleOrder
from tlm_jax.data.pipeline.shuffle import permute
from tlm_jax.errors import UserError, nearest

Mixture = Mapping[str, float] | Sequence[str]
"""Formats with rates; or without, where each row of each format comes once an epoch."""

Batches = Literal["random", "same_question", "fully_random"]
Demonstrations = Literal["each_epoch", "fixed", "official"]

_BLOCK = 4096
"""Places that are worked out at a time."""
_OFFICIAL_SEED = 0


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How rows become batches.

    Attributes:
      batches: "random": rows come in an order of their own in every epoch, each once; with rates
        the epochs of a format overlap a little. The two of the official code take rows as they are
        listed, samples of a question one after another, a whole batch of one format, drop
        incomplete batches, and repeat one order in every epoch: "same_question" shuffles whole
        batches; "fully_random", in spite of its name, cuts them into micro-batches and shuffles
        these.
      one_format: whether a micro-batch holds one format; the official ones do in any case. Else
        formats are mixed.
      all_samples: formats that have every right solution of a question; the others have the first.
      demonstrations: drawn anew in "each_epoch"; "fixed", a draw for each row; "official", fixed,
        and the row's own question may be among them.
    """

    batches: Batches = "random"
    one_format: bool = False
    all_samples: Sequence[str] = ("cot_zero_shot", "cot_in_context")
    demonstrations: Demonstrations = "each_epoch"

    def __post_init__(self) -> None:
        for name, kind in (("batches", Batches), ("demonstrations", Demonstrations)):
            given = getattr(self, name)
            if isinstance(given, str) and given not in get_args(kind):
                raise UserError(
                    f"{name.upper()} is {given!r}, expected one of {', '.join(get_args(kind))}."
                    f"{nearest(given, get_args(kind))}"
                )
        for form in self.all_samples:
            get_format(form)

    @property
    def one_format_at_a_time(self) -> bool:
        """Whether a micro-batch holds one format."""
        return self.one_format or self.batches != "random"

    def check(self, mixture: Mixture) -> None:
        """Raises UserError for formats that cannot be mixed so."""
        if not mixture:
            raise UserError("a mixture of MIXTURES holds no formats")
        for form in mixture:
            get_format(form)
        if not isinstance(mixture, Mapping):
            return
        if self.batches != "random":
            raise UserError(
                f"BATCHES={self.batches!r} goes through all rows in one order, where rates play no "
                "part: give MIXTURES lists of formats, or set BATCHES='random'"
            )
        for form, rate in mixture.items():
            if not rate > 0:
                raise UserError(f"MIXTURES gives {form} the rate {rate}, expected above 0")


class Place(NamedTuple):
    """What stands at a place of the training order.

    Attributes:
      form: the name of the format.
      row: which of its rows.
      epoch: how often the format's rows have been gone through before.
    """

    form: str
    row: int
    epoch: int


class RowOrder:
    """The rows of a run, endless; a pure function of its settings.

    Row i of a batch is in its micro-batch i % micro_batches, as the train step cuts it.
    """

    def __init__(
        self,
        mixture: Mixture,
        sizes: Mapping[str, int],
        mixing: Mixing,
        *,
        batch_size: int,
        micro_batches: int,
        seed: int,
    ):
        """Takes the settings.

        Args:
          mixture: of formats.
          sizes: rows of each.
          mixing: how they become batches.
          batch_size: of the training run.
          micro_batches: likewise.
          seed: of the order; the official ones have one order.

        Raises:
          UserError: a format has fewer rows than are to stand together.
        """
        self.forms = tuple(mixture)
        self._sizes = {form: sizes[form] for form in self.forms}
        self._mixing, self._seed = mixing, seed
        self._batch_size, self._micro_batches = batch_size, micro_batches
        self._at_once = batch_size // micro_batches
        together = 1
        if mixing.batches != "random":
            together = batch_size
        elif mixing.one_format:
            together = self._at_once
        self._units = {form: size // together for form, size in self._sizes.items()}
        for form, units in self._units.items():
            if not units:
                raise UserError(_too_few(form, self._sizes[form], together, mixing))
        self._rates = None
        if isinstance(mixture, Mapping):
            rates = {form: float(rate) for form, rate in mixture.items()}
            self._rates = ExampleOrder(rates, self._units, seed=seed, shuffle=False)
        self._block = functools.lru_cache(maxsize=8)(self._worked_out)

    def place(self, position: int) -> Place:
        """Returns what stands at a position, from 0."""
        forms, rows, epochs = self._block(position // _BLOCK)
        here = position % _BLOCK
        return Place(self.forms[int(forms[here])], int(rows[here]), int(epochs[here]))

    def _worked_out(self, block: int) -> tuple[Int[np.ndarray, " n"], ...]:
        positions = np.arange(_BLOCK) + block * _BLOCK
        if self._mixing.batches != "random":
            return self._as_published(positions)
        if not self._mixing.one_format:
            return self._drawn(positions, np.zeros_like(positions), 1)
        batches, micro, within = self._cut(positions)
        return self._drawn(batches * self._micro_batches + micro, within, self._at_once)

    def _cut(self, positions: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], ...]:
        """Returns the batch, the micro-batch in it, and the row in that."""
        batches, rows = positions // self._batch_size, positions % self._batch_size
        return batches, rows % self._micro_batches, rows // self._micro_batches

    def _drawn(
        self, numbers: Int[np.ndarray, " n"], within: Int[np.ndarray, " n"], together: int
    ) -> tuple[Int[np.ndarray, " n"], ...]:
        """Returns what stands in units of so many rows, by their numbers and the places in them."""
        if self._rates is not None:
            forms, turns = self._rates.turns(numbers)
            units = np.array(list(self._units.values()))[forms]
            epochs, listed = turns // units, turns % units
        else:
            counts = np.array(list(self._units.values()))
            total, ends = int(counts.sum()), np.cumsum(counts)
            epochs = numbers // total
            drawn = permute(numbers % total, total, self._seed, epochs)
            forms = np.searchsorted(ends, drawn, side="right")
            listed = drawn - (ends - counts)[forms]
        listed = listed * together + within
        rows = np.zeros_like(listed)
        for number, form in enumerate(self.forms):
            here = forms == number
            key = list(FORMATS).index(form)
            rows[here] = permute(listed[here], self._sizes[form], self._seed, key, epochs[here])
        return forms, rows, epochs

    def _as_published(self, positions: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], ...]:
        counts = np.array(list(self._units.values()))
        total = int(counts.sum())
        batches, micro, within = self._cut(positions)
        if self._mixing.batches == "same_question":
            epochs = batches // total
            drawn = permute(batches % total, total, _OFFICIAL_SEED)
        else:
            number = batches * self._micro_batches + micro
            epochs = number // (total * self._micro_batches)
            in_epoch = number % (total * self._micro_batches)
            shuffled = permute(in_epoch, total * self._micro_batches, _OFFICIAL_SEED)
            drawn, micro = shuffled // self._micro_batches, shuffled % self._micro_batches
        ends = np.cumsum(counts)
        forms = np.searchsorted(ends, drawn, side="right")
        first = (drawn - (ends - counts)[forms]) * self._batch_size
        return forms, first + micro * self._at_once + within, epochs


def _too_few(form: str, size: int, together: int, mixing: Mixing) -> str:
    what = "micro-batch" if mixing.batches == "random" else "batch"
    remedy = (
        f"lower BATCH_SIZE to at most {size}, or set BATCHES='random' and ONE_FORMAT=False"
        if size
        else "the teacher has solved none of the questions"
    )
    return f"{form} has {size:,} rows, fewer than the {together:,} of a {what}: {remedy}"
