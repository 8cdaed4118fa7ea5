"""Shows our tasks, mixtures and vocabularies to SeqIO, and SeqIO's to us."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.shuffle import permute
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import RecordSource
from tlm_jax.errors import UserError, nearest
from tlm_jax.vocabularies import ByteVocabulary, SentencePieceVocabulary, Vocabulary
from tlm_jax.vocabularies.base import vocabulary_file

# What a vocabulary makes of this tells it from others of the same kind and size.
_PROBE = "3 apples cost $1,200 (or 50 %); so: 3 × 4 = 12. ünïcödé ☃"


class SeqioSource(seqio.DataSource):
    """A RecordSource as a SeqIO data source of string features.

    SeqIO knows no run: files are looked for where the environment says, and read at each call.
    """

    def __init__(self, source: RecordSource):
        super().__init__(splits=source.splits)
        self.record_source = source

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return True

    def list_shards(self, split: str) -> Sequence[str]:
        return [split]

    def num_input_examples(self, split: str) -> int | None:
        return self.record_source.for_run(RunData()).num_examples(split)

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
        count = source.num_examples(split)
        first = shard_info.index if shard_info else 0
        stride = shard_info.num_shards if shard_info else 1

        def generate():
            position = first
            while count is None or position < count:
                index = position
                if shuffle and count is not None:
                    index = int(permute(np.array([position]), count, seed or 0)[0])
                yield dict(source.example(split, index))
                position += stride

        sample = source.example(split, 0) if count is None or count > 0 else {"id": ""}
        signature = {
            name: tf.TensorSpec([], tf.string)
            if isinstance(value, str)
            else tf.TensorSpec([None, *value.shape[1:]], value.dtype)
            for name, value in sample.items()
        }
        return tf.data.Dataset.from_generator(generate, output_signature=signature)


class SeqioVocabulary(seqio.Vocabulary):
    """One of our vocabularies as SeqIO's; in TensorFlow it calls back into Python."""

    def __init__(self, vocabulary: Vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    @property
    def bos_id(self) -> int:
        return self.vocabulary.bos_id

    @property
    def eos_id(self) -> int:
        return self.vocabulary.eos_id

    @property
    def unk_id(self) -> int | None:
        return self.vocabulary.unk_id

    @property
    def _base_vocab_size(self) -> int:
        return self.vocabulary.size

    def _encode(self, s: str | bytes) -> Sequence[int]:
        text = s.decode("utf-8") if isinstance(s, bytes) else s
        return self.vocabulary.encode(text).tolist()

    def _decode(self, ids: Sequence[int]) -> str:
        return self.vocabulary.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        def encode(text: np.ndarray | bytes) -> np.ndarray:
            # Eager calls give a 0-d array of objects, graphs give bytes.
            return self.vocabulary.encode(np.asarray(text, dtype=object).item().decode("utf-8"))

        ids = tf.numpy_function(encode, [s], tf.int32, stateful=False)
        return tf.ensure_shape(ids, [None])

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        def decode(rows: np.ndarray) -> np.ndarray:
            flat = rows.reshape(-1, rows.shape[-1])
            texts = [self.vocabulary.decode(row.tolist()).encode() for row in flat]
            return np.array(texts, dtype=object).reshape(rows.shape[:-1])

        text = tf.numpy_function(decode, [ids], tf.string, stateful=False)
        return tf.ensure_shape(text, ids.shape[:-1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeqioVocabulary) and self.vocabulary == other.vocabulary

    def __hash__(self) -> int:
        return hash(self.vocabulary)


class ForeignVocabulary(Vocabulary):
    """A SeqIO vocabulary of somebody else's task as one of ours."""

    def __init__(self, vocabulary: seqio.Vocabulary):
        self.vocabulary = vocabulary

    @property
    def size(self) -> int:
        return self.vocabulary.vocab_size

    @property
    def eos_id(self) -> int:
        eos = self.vocabulary.eos_id
        return -1 if eos is None else eos

    @property
    def unk_id(self) -> int | None:
        return self.vocabulary.unk_id

    @property
    def zero_is_padding(self) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        vocabulary = self.vocabulary
        model = (
            vocabulary.sp_model if isinstance(vocabulary, seqio.SentencePieceVocabulary) else b""
        )
        ids = self.encode(_PROBE).tolist()
        facts = (type(vocabulary).__name__, self.size, self.eos_id, self.unk_id, ids)
        return hashlib.sha256(repr(facts).encode() + (model or b"")).hexdigest()[:16]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.asarray(self.vocabulary.encode(text), dtype=np.int32) for text in texts]

    def decode_text(self, ids: list[int]) -> str:
        return self.vocabulary.decode(ids)

    def piece(self, token_id: int) -> str:
        return self.vocabulary.decode([token_id]) or f"<{token_id}>"


@functools.singledispatch
def as_seqio_vocabulary(vocabulary: Vocabulary) -> seqio.Vocabulary:
    """Returns SeqIO's own class where it has one (bytes, SentencePiece), else an adapter."""
    return SeqioVocabulary(vocabulary)


@as_seqio_vocabulary.register
def _(vocabulary: ByteVocabulary) -> seqio.Vocabulary:
    return seqio.ByteVocabulary(extra_ids=vocabulary.extra_ids)


@as_seqio_vocabulary.register
def _(vocabulary: SentencePieceVocabulary) -> seqio.Vocabulary:
    file = vocabulary_file(vocabulary.path)
    return seqio.SentencePieceVocabulary(str(file), extra_ids=vocabulary.extra_ids)


def from_seqio_vocabulary(vocabulary: seqio.Vocabulary) -> Vocabulary:
    """Returns our own class where it gives the same ids, else an adapter."""
    if isinstance(vocabulary, SeqioVocabulary):
        return vocabulary.vocabulary
    if type(vocabulary) is seqio.ByteVocabulary:
        return ByteVocabulary(extra_ids=vocabulary.extra_ids)
    if type(vocabulary) is seqio.SentencePieceVocabulary:
        ours = SentencePieceVocabulary(
            vocabulary.sentencepiece_model_file, extra_ids=vocabulary.extra_ids
        )
        # Options of SeqIO's class (other sentinels, another normalizer) change the model's bytes.
        if ours.model_bytes == vocabulary.sp_model:
            return ours
    return ForeignVocabulary(vocabulary)


def publish() -> None:
    """Enters our tasks into SeqIO's registries, and the mixtures whose members are all there."""
    waiting = [e for e in tasks.registered().values() if e.name not in _names()]
    while waiting:
        left = []
        for entry in waiting:
            if isinstance(entry, tasks.Task):
                seqio.TaskRegistry.add_provider(entry.name, as_seqio_task(entry))
            elif _names().issuperset(name for name, _ in entry.rates):
                seqio.MixtureRegistry.add(entry.name, list(entry.rates))
            else:
                left.append(entry)
        if len(left) == len(waiting):
            return
        waiting = left


def withdraw(name: str) -> None:
    """Removes a name from SeqIO's registries, if it is there."""
    for registry in (seqio.TaskRegistry, seqio.MixtureRegistry):
        if name in registry.names():
            registry.remove(name)


def as_seqio_task(task: tasks.Task, vocabulary: Vocabulary | None = None) -> seqio.Task:
    """Returns a SeqIO task (not registered): source, tokenize, append EOS; nothing else."""
    shown = as_seqio_vocabulary(vocabulary or task.vocabulary)
    options = dict(task.seqio_options)
    return seqio.Task(
        task.name,
        source=SeqioSource(task.source),
        output_features={
            name: seqio.Feature(vocabulary=shown, add_eos=name in task.eos_features)
            for name in task.features
        },
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
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
    ours = tasks.registered()
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
