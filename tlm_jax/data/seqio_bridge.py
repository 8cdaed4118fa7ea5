"""Shows our tasks and mixtures to SeqIO, and SeqIO's to us."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from tlm_jax.data import registry
from tlm_jax.data.pipeline.shuffle import permute
from tlm_jax.data.run_data import RunData
from tlm_jax.data.seqio_vocabularies import as_seqio_vocabulary, from_seqio_vocabulary
from tlm_jax.data.sources import RecordSource
from tlm_jax.errors import UserError, nearest
from tlm_jax.vocabularies import Vocabulary

TRAIN_EXAMPLES = 100_000
"""Examples that SeqIO sees of a training split without an end: one epoch, and what it caches."""

HELD_OUT_EXAMPLES = 1_000
"""Examples that SeqIO sees of any other split without an end."""


@dataclasses.dataclass(frozen=True)
class View:
    """How SeqIO sees our tasks, where a task's own `seqio_options` say nothing else.

    Attributes:
      vocabulary: of all of them; None: each its own.
      postprocess_fn: as SeqIO's tasks have it.
      metric_fns: as SeqIO's tasks have them.
    """

    vocabulary: seqio.Vocabulary | None = None
    postprocess_fn: Callable[..., Any] | None = None
    metric_fns: tuple[Callable[..., Any], ...] = ()


class SeqioSource(seqio.DataSource):
    """A RecordSource as a SeqIO data source of string features.

    SeqIO knows no run: files are looked for where the environment says, and read at each call. What
    has no end of its own has one here, so that an epoch ends and the split can be cached offline:
    its first TRAIN_EXAMPLES or HELD_OUT_EXAMPLES.
    """

    def __init__(self, source: RecordSource):
        super().__init__(splits=source.splits)
        self.record_source = source

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return True

    def list_shards(self, split: str) -> Sequence[str]:
        return [split]

    def num_input_examples(self, split: str) -> int:
        return _num_examples(self.record_source.for_run(RunData()), split)

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        **unused: Any,
    ) -> tf.data.Dataset:
        """Yields the examples of `split`: in order, or in the order of our own shuffle."""
        source = self.record_source.for_run(RunData())
        source.check_split(split)
        count = _num_examples(source, split)
        first = shard_info.index if shard_info else 0
        stride = shard_info.num_shards if shard_info else 1

        def generate():
            for position in range(first, count, stride):
                index = position
                if shuffle:
                    index = int(permute(np.array([position]), count, seed or 0)[0])
                yield dict(source.example(split, index))

        sample = source.example(split, 0) if count else {"id": ""}
        signature = {
            name: tf.TensorSpec([], tf.string)
            if isinstance(value, str)
            else tf.TensorSpec([None, *value.shape[1:]], value.dtype)
            for name, value in sample.items()
        }
        return tf.data.Dataset.from_generator(generate, output_signature=signature)


def show(view: View) -> None:
    """Enters our tasks into SeqIO's registries in this view, anew where they are there already."""
    global _view
    for name in tuple(_published):
        withdraw(name)
    _view = view
    publish()


def for_seqio(vocabulary: Vocabulary | seqio.Vocabulary) -> seqio.Vocabulary:
    """Returns a vocabulary of ours as SeqIO's; one of SeqIO's stays."""
    return (
        vocabulary if isinstance(vocabulary, seqio.Vocabulary) else as_seqio_vocabulary(vocabulary)
    )


def publish() -> None:
    """Enters our tasks into SeqIO's registries, and the mixtures whose members are all there."""
    waiting = [e for e in registry.registered().values() if e.name not in _names()]
    while waiting:
        left = []
        for entry in waiting:
            if isinstance(entry, registry.Task):
                seqio.TaskRegistry.add_provider(entry.name, as_seqio_task(entry, _view))
            elif _names().issuperset(name for name, _ in entry.rates):
                seqio.MixtureRegistry.add(entry.name, list(entry.rates))
            else:
                left.append(entry)
                continue
            _published.add(entry.name)
        if len(left) == len(waiting):
            return
        waiting = left


def withdraw(name: str) -> None:
    """Removes a name of ours from SeqIO's registries, if it is there."""
    for provider in (seqio.TaskRegistry, seqio.MixtureRegistry):
        if name in _published and name in provider.names():
            provider.remove(name)
    _published.discard(name)


def as_seqio_task(task: registry.Task, view: View | None = None) -> seqio.Task:
    """Returns a SeqIO task (not registered): source, tokenize, append EOS; nothing else.

    SeqIO caches the texts: a cache made with one vocabulary is right with any other.
    """
    view = view or View()
    shown = view.vocabulary or as_seqio_vocabulary(task.vocabulary)
    options: dict[str, Any] = {
        "postprocess_fn": view.postprocess_fn,
        "metric_fns": list(view.metric_fns),
        **task.seqio_options,
    }
    return seqio.Task(
        task.name,
        source=SeqioSource(task.source),
        output_features={
            name: seqio.Feature(vocabulary=shown, add_eos=name in task.eos_features)
            for name in task.features
        },
        preprocessors=[
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos,
        ],
        **options,
    )


def find(name: str) -> seqio.Task | seqio.Mixture:
    """Returns the SeqIO task or mixture of that name, ours or anybody's.

    Raises:
      UserError: SeqIO knows no such name.
    """
    publish()
    if name not in _names():
        raise UserError(
            f"no task or mixture named {name!r}.{nearest(name, _names())} "
            "`python -m tlm_jax.inspect --list` shows all of them."
        )
    return seqio.get_mixture_or_task(name)


def find_task(name: str) -> seqio.Task:
    """Returns the SeqIO task of that name; as `find`, and UserError where it is a mixture."""
    found = find(name)
    if not isinstance(found, seqio.Task):
        raise UserError(f"{name!r} is a mixture; expected a task.")
    return found


def vocabularies_of(task: seqio.Task) -> dict[str, Vocabulary]:
    """Returns the vocabularies of a task's inputs, if it has some, and of its targets.

    Raises:
      UserError: it has no targets.
    """
    features = task.output_features
    if "targets" not in features:
        raise UserError(
            f"the SeqIO task {task.name!r} has the features {', '.join(features)}; expected "
            "'targets', and 'inputs' if it has any: rename them in its preprocessors."
        )
    names = [name for name in features if name in ("inputs", "targets")]
    return {name: from_seqio_vocabulary(features[name].vocabulary) for name in names}


def foreign_names() -> list[tuple[str, str]]:
    """Returns (name, "task" or "mixture") of what is in SeqIO's registries and not in ours."""
    ours = registry.registered()
    found = [(name, "task") for name in seqio.TaskRegistry.names()]
    found += [(name, "mixture") for name in seqio.MixtureRegistry.names()]
    return [(name, kind) for name, kind in found if name not in ours]


def task_rates(name: str) -> dict[str, float]:
    """Returns each SeqIO task below a SeqIO task or mixture with its share; they sum to one.

    Raises:
      UserError: SeqIO knows no such name.
    """
    found = find(name)
    if isinstance(found, seqio.Task):
        return {name: 1.0}
    rates = {task.name: float(found.get_rate(task)) for task in found.tasks}
    return {task: rate / sum(rates.values()) for task, rate in rates.items()}


def _names() -> set[str]:
    return {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}


def _num_examples(source: RecordSource, split: str) -> int:
    count = source.num_examples(split)
    if count is None:
        return TRAIN_EXAMPLES if split.startswith("train") else HELD_OUT_EXAMPLES
    return count


_view = View()
_published: set[str] = set()
