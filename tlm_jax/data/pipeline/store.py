"""Reads tokenized examples by index: on the fly from a RecordSource, or from SeqIO once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Integer

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.mixing import ExampleOrder
from tlm_jax.data.pipeline.reader import PlainReader, Reader
from tlm_jax.data.reading import Reading, task_reading
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import Example
from tlm_jax.errors import UserError
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.vocabularies import Vocabulary


class RecordReader(Reader):
    """Tokenizes the examples of one of our tasks as they are asked for."""

    def __init__(
        self,
        task: tasks.Task,
        split: str,
        vocabulary: Vocabulary | None = None,
        data: RunData | None = None,
        reading: Reading | None = None,
    ):
        source = task.source.for_run(data or RunData())
        source.check_split(split)
        self.name = task.name
        self.features = task.features
        self.vocabulary = vocabulary or task.vocabulary.fresh()
        self.num_examples = source.num_examples(split)
        self._task = task
        self._source = source
        self._split = split
        self._reading = reading or task_reading(self.vocabulary)

    def read(self, indices: Integer[np.ndarray, "n"]) -> TokenizedExamples:
        records = tuple(self._source.example(self._split, int(i)) for i in indices)
        return tokenize(records, self._task, self.vocabulary, self._reading)

    def prompt_text(self, record: Example) -> str:
        text = super().prompt_text(record)
        written = isinstance(record["inputs"], str)
        return _prompt_text(text, self._task, self._reading) if written else text


class OrderedReader:
    """Reads the tokenized examples at positions of a global order."""

    def __init__(self, order: ExampleOrder, readers: Mapping[str, Reader]):
        self._order = order
        self._readers = [readers[name] for name in order.names]

    def __call__(self, positions: Int[np.ndarray, "n"]) -> TokenizedExamples:
        """Returns the examples at `positions`, in that order."""
        numbers, indices = self._order.locate(positions)
        parts, places = [], []
        for number, reader in enumerate(self._readers):
            here = np.flatnonzero(numbers == number)
            if here.size:
                parts.append(reader.read(indices[here]))
                places.append(here)
        if len(parts) == 1:
            return parts[0]
        back = np.argsort(np.concatenate(places), kind="stable")
        return TokenizedExamples.concatenate(parts).take(back)


def open_readers(
    mixture_or_task: str,
    split: str,
    *,
    feature_lengths: Mapping[str, int],
    vocabulary: Vocabulary | None = None,
    cache_dir: str | None = None,
    data: RunData | None = None,
    reading: Reading | None = None,
) -> tuple[dict[str, float], dict[str, Reader]]:
    """Opens every task of a mixture (ours or SeqIO's); returns their shares and readers by name.

    `data` is the run's; without it, a fresh one with what a run has by default.

    Raises:
      UserError: as `open_reader`.
    """
    if _is_ours(mixture_or_task):
        rates = tasks.task_rates(mixture_or_task)
    else:
        from tlm_jax.data import seqio_bridge

        base = mixture_or_task.removesuffix(tasks.WITH_TEACHER)
        suffix = mixture_or_task[len(base) :]
        rates = {name + suffix: rate for name, rate in seqio_bridge.task_rates(base).items()}
    data = data or RunData()  # one for all: they may show the same records
    readers = {
        name: open_reader(
            name,
            split,
            feature_lengths=feature_lengths,
            vocabulary=vocabulary,
            cache_dir=cache_dir,
            data=data,
            reading=reading,
        )
        for name in rates
    }
    return rates, readers


def task_vocabulary(mixture_or_task: str) -> Vocabulary:
    """Returns the vocabulary that a task's (a mixture's first task's) targets have by themselves.

    Raises:
      UserError: no such task, or it has no targets.
    """
    if _is_ours(mixture_or_task):
        return tasks.get_task(next(iter(tasks.task_rates(mixture_or_task)))).vocabulary.fresh()
    from tlm_jax.data import seqio_bridge

    base = mixture_or_task.removesuffix(tasks.WITH_TEACHER)
    first = seqio_bridge.find_task(next(iter(seqio_bridge.task_rates(base))))
    return seqio_bridge.vocabularies_of(first)["targets"]


def open_reader(
    name: str,
    split: str,
    *,
    feature_lengths: Mapping[str, int],
    vocabulary: Vocabulary | None = None,
    cache_dir: str | None = None,
    data: RunData | None = None,
    reading: Reading | None = None,
) -> Reader:
    """Opens a split of a task of ours, or of any SeqIO task, for reading by index.

    Raises:
      UserError: no such task or split, or a SeqIO task from elsewhere is asked to use another
        vocabulary than its own.
    """
    if tasks.is_registered(name):
        try:
            return RecordReader(tasks.get_task(name), split, vocabulary, data, reading)
        except UserError as error:
            raise UserError(f"task {name!r}: {error}") from error
    from tlm_jax.data import seqio_bridge
    from tlm_jax.data.pipeline.materialized import MaterializedReader

    task = seqio_bridge.find_task(name.removesuffix(tasks.WITH_TEACHER))
    reader = MaterializedReader(task, split, feature_lengths, cache_dir)
    if vocabulary is not None and vocabulary.fingerprint != reader.vocabulary.fingerprint:
        raise UserError(
            f"the SeqIO task {name!r} has its own vocabulary, {reader.vocabulary!r}; leave the "
            "vocabulary unset, or register the task through tlm_jax.data.tasks.register_task."
        )
    return PlainReader(reader) if reading is not None and reading.plain else reader


def _is_ours(mixture_or_task: str) -> bool:
    """Whether a name is to be looked up here; the tasks are loaded if need be."""
    if not tasks.is_registered(mixture_or_task):
        tasks.load_tasks()
    # Where SeqIO is not imported, nobody can have registered anything with it.
    return tasks.is_registered(mixture_or_task) or "seqio" not in sys.modules


def tokenize(
    records: Sequence[Example],
    task: tasks.Task,
    vocabulary: Vocabulary,
    reading: Reading | None = None,
) -> TokenizedExamples:
    """Tokenizes formatted examples as SeqIO's `tokenize` and `append_eos` would.

    Strings under `task.features` become ids, with EOS where the task says so, but between inputs
    and targets only where the reading says so, too; integer arrays there are taken as they are.
    Other arrays are features aligned with the targets.

    Raises:
      UserError: a field is missing or has the wrong type, or an aligned feature the wrong length.
    """
    reading = reading or task_reading(vocabulary)
    given = {
        name: [_field(record, name, task.name) for record in records] for name in task.features
    }
    texts = {
        name: [value for value in values if isinstance(value, str)]
        for name, values in given.items()
    }
    if "inputs" in texts:
        texts["inputs"] = [_prompt_text(text, task, reading) for text in texts["inputs"]]
    written = {name for name in given if len(texts[name]) == len(records)}
    if {"inputs", "targets"} <= written:
        pairs = reading.encode(vocabulary, texts["inputs"], texts["targets"])
        encoded: dict[str, list[np.ndarray]] = dict(zip(("inputs", "targets"), pairs))
    else:
        encoded = {name: vocabulary.encode_batch(texts[name]) for name in written}
    features = {}
    for name, values in given.items():
        arrays = encoded.get(name) or [np.asarray(value) for value in values]
        features[name] = Ragged.from_arrays(arrays, np.int32)
        ends = name in task.eos_features and (name != "inputs" or reading.prompt_eos)
        if name in written and ends:
            features[name] = features[name].append(vocabulary.eos_id)
    aligned = [k for k, v in (records[0].items() if records else ()) if isinstance(v, np.ndarray)]
    for name in aligned:
        if name in features:
            continue
        arrays = [np.asarray(_field(record, name, task.name)) for record in records]
        features[name] = Ragged.from_arrays(arrays, arrays[0].dtype)
        differs = np.flatnonzero(features[name].lengths != features["targets"].lengths)
        if differs.size:
            first = int(differs[0])
            steps, tokens = features[name].lengths[first], features["targets"].lengths[first]
            raise UserError(
                f"task {task.name!r}, example {records[first].get('id')!r}: {name} has {steps} "
                f"steps but targets {tokens} tokens, EOS included; expected equal lengths."
            )
    ids = tuple(str(record.get("id", "")) for record in records)
    return TokenizedExamples(features, ids, tuple(records))


def _prompt_text(text: str, task: tasks.Task, reading: Reading) -> str:
    """Returns inputs as they stand before targets; a task that divides the two by nothing may."""
    return reading.prompt_text(text) if "inputs" in task.eos_features else text


def _field(record: Example, name: str, task_name: str) -> str | np.ndarray:
    if name not in record:
        raise UserError(
            f"task {task_name!r}, example {record.get('id')!r}: no field {name!r}; "
            f"it has {', '.join(record)}."
        )
    return record[name]
