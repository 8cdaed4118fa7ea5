"""Outcomes of an evaluation on disk, so that one that was stopped goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.evaluation.outcomes import Outcome, Question, Sample, as_lines
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.training import files

_VERSION = 2
"""Of what decides an outcome beside its settings: how answers are drawn and read."""

_DECIDES_NOTHING = (
    *("output_dir", "checkpoints", "tasks", "modes", "batch_size", "show_questions", "mesh"),
    *("data", "training_sets", "leave_out_known"),  # they decide the questions, which count below
    *("chat", "system", "chat_template"),  # they decide the prompts' tokens, which count below
)


class OutcomeStore:
    """The outcomes in an output directory, `samples/CHECKPOINT/TASK/MODE.jsonl`.

    Beside the questions lies `MODE.json` with the counts and a hash of all that decides the
    outcome; it is written last, so what a kill or a full disk has left unfinished is not taken.
    """

    def __init__(self, output: Path):
        """Takes the directory; nothing is read or written yet."""
        self._output = output

    def read(self, checkpoint: str, task: str, mode: str, key: str) -> Outcome | None:
        """Returns what an earlier run with the same key found; None where there is nothing.

        With several hosts there is never anything: they might not see the same files.
        """
        if jax.process_count() > 1:
            return None
        path = self._path(checkpoint, task, mode)
        try:
            counts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if counts.pop("key") != key:
                return None
            lines = path.read_text(encoding="utf-8").split("\n")
            questions = tuple(_question(json.loads(line)) for line in lines if line)
            boundary, unreadable = counts.pop("boundary"), tuple(counts.pop("unreadable"))
            return Outcome(
                checkpoint,
                task,
                mode,
                questions,
                boundary=None if boundary is None else (int(boundary[0]), int(boundary[1])),
                unreadable=unreadable,
                **counts,
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # not there, or not whole

    def write(self, outcome: Outcome, key: str) -> None:
        """Writes an outcome; process 0 only.

        Raises:
          UserError: the disk is full or refuses.
        """
        path = self._path(outcome.checkpoint, outcome.task, outcome.mode)
        files.make_folder(path.parent)
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in as_lines(outcome)]
        counts = {
            "key": key,
            "ungraded": outcome.ungraded,
            "truncated": outcome.truncated,
            "unreadable": outcome.unreadable,
            "boundary": outcome.boundary,
        }
        files.write_text(path, "".join(lines))
        files.write_text(path.with_suffix(".json"), json.dumps(counts, ensure_ascii=False))

    def _path(self, checkpoint: str, task: str, mode: str) -> Path:
        return self._output / "samples" / checkpoint.replace("/", "_") / task / f"{mode}.jsonl"


def outcome_key(config: EvalConfig, model: OpenedModel, eval_set: EvalSet) -> str:
    """Returns a hash of what decides an outcome: settings, the model's files, the questions."""
    settings = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in _DECIDES_NOTHING
    }
    digest = hashlib.sha256()
    vocabulary = eval_set.vocabulary.fingerprint
    reading = eval_set.reading and dataclasses.asdict(eval_set.reading)
    source = model.source
    known = (str(source.path), source.step, model.fingerprint)
    parts = (_VERSION, settings, *known, vocabulary, reading)
    if config.chat:
        inputs = eval_set.examples.features["inputs"]
        parts = (*parts, _whole(inputs.values), _whole(inputs.lengths))
    for part in parts:
        digest.update(json.dumps(part, sort_keys=True, default=repr).encode("utf-8", "replace"))
    for record in eval_set.examples.records:
        written = {name: _whole(value) for name, value in record.items()}
        digest.update(json.dumps(written, sort_keys=True).encode("ascii"))
    return digest.hexdigest()


def _whole(value: str | np.ndarray) -> str | list[Any]:
    """Returns a field for hashing; NumPy's own text of a long array leaves out its middle."""
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), value.shape, digest]
    return str(value)


def _question(fields: Mapping[str, Any]) -> Question:
    samples = tuple(Sample(**sample) for sample in fields["samples"])
    return Question(**{**fields, "samples": samples})
