"""Random access to any SeqIO task: its tokenized examples, run through tf.data once and kept."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import seqio
import tensorflow as tf
from jaxtyping import Integer

from tlm_jax.data.pipeline.reader import Reader
from tlm_jax.data.seqio_bridge import vocabularies_of
from tlm_jax.errors import UserError
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.vocabularies import Vocabulary

_MAX_MATERIALIZED_EXAMPLES = 20_000_000


class MaterializedReader(Reader):
    """The tokenized examples of any SeqIO task, run once through tf.data and kept.

    A preprocessor that draws at random is frozen at what it drew the first time.
    """

    def __init__(
        self,
        task: seqio.Task,
        split: str,
        feature_lengths: Mapping[str, int],
        cache_dir: str | None = None,
    ):
        """Runs the task's pipeline, or opens what an earlier run left in `cache_dir`.

        Args:
          task: the SeqIO task.
          split: of the task.
          feature_lengths: handed to the task, whose preprocessors may depend on them.
          cache_dir: where token arrays are kept as `.npy` files and memory-mapped; None keeps them
            in memory. The files are found again by the task's name, split, vocabularies, feature
            lengths and the examples of its source, which are read for that; what is saved is the
            preprocessing. Remove them when the task's preprocessors change.

        Raises:
          UserError: no such split, no targets, or far too many examples (an endless data set).
        """
        if split not in task.splits:
            raise UserError(
                f"task {task.name!r} has no split {split!r}; it has {', '.join(task.splits)}."
            )
        self.name = task.name
        vocabularies = vocabularies_of(task)
        self.features = tuple(vocabularies)
        self.vocabulary = vocabularies["targets"]
        directory, key = None, {}
        if cache_dir is not None:
            key = {
                "task": task.name,
                "split": split,
                "lengths": dict(feature_lengths),
                "vocabularies": {
                    name: vocabulary.fingerprint for name, vocabulary in vocabularies.items()
                },
                "source": _source_digest(task, split),
            }
            directory = _cache_folder(Path(cache_dir), key)
        if directory is not None and (directory / "done.json").is_file():
            self._features = _load_features(directory)
        else:
            self._features = _run_through_seqio(task, split, feature_lengths)
            if directory is not None:
                _save_features(directory, self._features, key)
        self.num_examples = len(self._features["targets"])

    def read(self, indices: Integer[np.ndarray, "n"]) -> TokenizedExamples:
        features = {name: feature.take(indices) for name, feature in self._features.items()}
        ids = tuple(f"{self.name}-{i}" for i in indices)
        records = tuple(
            _DecodedRecord(
                example_id,
                {name: features[name][i] for name in self.features},
                self.vocabulary,
            )
            for i, example_id in enumerate(ids)
        )
        return TokenizedExamples(features, ids, records)


class _DecodedRecord(Mapping[str, str]):
    """The text of an example known by its tokens; decoded when somebody asks, to show or grade."""

    def __init__(self, example_id: str, tokens: Mapping[str, np.ndarray], vocabulary: Vocabulary):
        self._id = example_id
        self._tokens = tokens
        self._vocabulary = vocabulary

    def __getitem__(self, name: str) -> str:
        if name == "id":
            return self._id
        return self._vocabulary.decode(self._tokens[name])

    def __iter__(self) -> Iterator[str]:
        return iter(("id", *self._tokens))

    def __len__(self) -> int:
        return 1 + len(self._tokens)


def _source_digest(task: seqio.Task, split: str) -> str:
    """Returns a hash of the examples that a task's source gives, before any preprocessing.

    Their files tell nothing where a source is a function, and it is the content that counts.
    """
    dataset = task.source.get_dataset(split=split, shuffle=False)
    hashed = hashlib.sha256(repr(dataset.element_spec).encode())
    examples = itertools.islice(dataset.as_numpy_iterator(), _MAX_MATERIALIZED_EXAMPLES + 1)
    for example in examples:
        for value in tf.nest.flatten(example):
            array = np.asarray(value)
            written = array.tolist() if array.dtype == object else array.tobytes()
            hashed.update(repr((array.shape, written)).encode())
    return hashed.hexdigest()


def _run_through_seqio(
    task: seqio.Task, split: str, feature_lengths: Mapping[str, int]
) -> dict[str, Ragged]:
    dataset = task.get_dataset(
        sequence_length=dict(feature_lengths),
        split=split,
        shuffle=False,
        num_epochs=1,
        trim_output_features=False,
        try_in_mem_cache=False,
    )
    arrays: dict[str, list[np.ndarray]] = {}
    examples = itertools.islice(dataset.as_numpy_iterator(), _MAX_MATERIALIZED_EXAMPLES + 1)
    names = tuple(task.output_features)
    count = 0
    for example in examples:
        count += 1
        for name in names:
            arrays.setdefault(name, []).append(np.asarray(example[name]))
    if count > _MAX_MATERIALIZED_EXAMPLES:
        raise UserError(
            f"SeqIO task {task.name!r} has more than {_MAX_MATERIALIZED_EXAMPLES:,} examples in "
            f"{split!r} (or never ends); give it a source with random access "
            "(tlm_jax.data.sources.RecordSource)."
        )
    if not count:
        raise UserError(f"SeqIO task {task.name!r} has no examples in split {split!r}.")
    return {
        name: Ragged.from_arrays(
            values, np.int32 if np.issubdtype(values[0].dtype, np.integer) else values[0].dtype
        )
        for name, values in arrays.items()
    }


def _cache_folder(cache_dir: Path, key: Mapping[str, object]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache_dir / f"{key['task']}-{key['split']}-{digest}"


def _save_features(
    directory: Path, features: Mapping[str, Ragged], key: Mapping[str, object]
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, feature in features.items():
        np.save(directory / f"{name}.values.npy", feature.values)
        np.save(directory / f"{name}.lengths.npy", feature.lengths)
    # Written last and renamed into place: a folder without it is not read.
    unfinished = directory / "done.json.tmp"
    unfinished.write_text(json.dumps({**key, "features": list(features)}), encoding="utf-8")
    unfinished.rename(directory / "done.json")


def _load_features(directory: Path) -> dict[str, Ragged]:
    names = json.loads((directory / "done.json").read_text(encoding="utf-8"))["features"]
    return {
        name: Ragged(
            np.load(directory / f"{name}.values.npy", mmap_mode="r"),
            np.load(directory / f"{name}.lengths.npy"),
        )
        for name in names
    }
