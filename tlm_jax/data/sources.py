"""Random access to formatted examples: what a data set offers to everything above it."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping, Sequence

import numpy as np

from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError, nearest

Example = Mapping[str, str | np.ndarray]
"""One formatted example.

Strings `id`, `inputs` and `targets` are required (a task of targets only needs no `inputs`);
`inputs` and `targets` may also be integer arrays, which are taken as token ids as they stand.
Further strings (`answer`, `kind`, `question`, `options_json`, `traits_json`, ...) are carried to
evaluation.
Further arrays are features aligned with `targets` along their first axis, such as
`teacher_logprobs [T, C]`.
"""


def option_texts(example: Example) -> tuple[str, ...]:
    """Returns the texts of a question's options, none where it has no field `options_json`."""
    return tuple(json.loads(str(example.get("options_json", "null"))) or ())


class RecordSource(abc.ABC):
    """A data set whose formatted examples can be read in any order, by split and index.

    Constructing a source reads no file: files are opened by the first call of `num_examples` or
    `example`. The same (split, index) gives the same example in every process and every run. The
    methods may be called from several threads.

    Subclasses set `splits` and define `num_examples` and `example`.
    """

    splits: tuple[str, ...] = ()

    def for_run(self, data: RunData) -> RecordSource:
        """Returns the source that reads where a run's data are; override where that matters."""
        del data
        return self

    @abc.abstractmethod
    def num_examples(self, split: str) -> int | None:
        """Returns the number of examples of `split`; None for an endless one."""

    @abc.abstractmethod
    def example(self, split: str, index: int) -> Example:
        """Returns example `index` of `split`, with 0 <= index < num_examples(split)."""

    def check_split(self, split: str) -> None:
        """Raises UserError where `split` cannot be read; override to say why (evaluation only)."""
        if split not in self.splits:
            raise UserError(
                f"no split {split!r}: expected one of {', '.join(self.splits)}."
                + nearest(split, self.splits)
            )


class ListSource(RecordSource):
    """Examples held in memory, by split."""

    def __init__(self, examples: Mapping[str, Sequence[Example]]):
        self.splits = tuple(examples)
        self._examples = examples

    def num_examples(self, split: str) -> int | None:
        return len(self._examples[split])

    def example(self, split: str, index: int) -> Example:
        return self._examples[split][index]
