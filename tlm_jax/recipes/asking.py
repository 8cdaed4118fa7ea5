"""Asks a model questions by `infer` as a stage does, and counts what it got right."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.errors import UserError
from tlm_jax.evaluation.grading import grade
from tlm_jax.evaluation.intervals import wilson
from tlm_jax.recipes.stages import meet
from tlm_jax.runs.inference.config import InferenceConfig
from tlm_jax.runs.inference.run import run_inference
from tlm_jax.runs.training import files
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.system.home import expanded
from tlm_jax.system.program_cache import ProgramCache

_SERVER, _ASSET = "openai:", "asset:"

SAMPLES = "samples/samples.jsonl"
"""Where the samples of a stage lie in its folder."""


PROMPTS = "prompts.jsonl"
"""Where what is asked lies in the folder of a stage."""


def draw(
    folder: Path, lines: Sequence[str], config: InferenceConfig, compiled: ProgramCache
) -> None:
    """Draws and grades the samples of all questions; those that lie there are taken over.

    Args:
      folder: of the stage; the samples are at `SAMPLES` there.
      lines: a `prompt_line` for each question.
      config: how they are answered; its directory and file of prompts are set here, and its mesh
        is that of a training run, of which each host takes what it has.
      compiled: programs that all stages share.

    Raises:
      UserError: some have no sample; or as `run_inference`.
    """
    prompts = folder / PROMPTS
    files.make_folder(folder)
    files.write_text(prompts, "".join(lines))
    meet(f"prompts {folder}")
    config = dataclasses.replace(
        config,
        output_dir=str((folder / SAMPLES).parent),
        mesh=_of_this_host(config.mesh),
        prompts=dataclasses.replace(config.prompts, file=str(prompts)),
    )
    missing = run_inference(config, compiled)
    if missing:
        where = (folder / SAMPLES).parent
        raise UserError(f"{missing:,} samples in {folder} failed: {where} says why")
    meet(f"samples {folder}")


def counted(path: Path, records: Iterable[Record], by: str | None) -> dict[str, Any]:
    """Returns the counts of a file of samples.

    Args:
      path: `samples.jsonl`.
      records: the questions.
      by: a trait of theirs; None for none.

    Returns:
      `questions`, `samples`, `tokens`, `right`, `unparsable`; `accuracy` with its 95 % Wilson
      interval `accuracy_low` and `accuracy_high`, over samples; with `by`, for each value of the
      trait `samples` and `right`; of choices `chance`, the accuracy of guessing.
    """
    questions = {record.id: record for record in records}
    rows = [row for _, row in read_json_lines(path, any_text=True)]
    right = sum(row.get("correct") is True for row in rows)
    low, high = wilson(right, len(rows))
    figures: dict[str, Any] = {
        "questions": len(questions),
        "samples": len(rows),
        "tokens": sum(row["num_tokens"] for row in rows),
        "right": right,
        "unparsable": sum(row.get("extracted") is None for row in rows),
        "cut_off": sum(row["finish_reason"] in CUT_OFF for row in rows),
        "accuracy": right / len(rows) if rows else None,
        "accuracy_low": low,
        "accuracy_high": high,
    }
    options = [len(r.options) for r in questions.values() if r.kind == "choice" and r.options]
    if options and len(options) == len(questions):
        figures["chance"] = sum(1 / n for n in options) / len(options)
    if by is not None:
        figures["by"] = _by_trait(rows, questions, by)
    return figures


def by_chance(figures: Mapping[str, Any]) -> bool:
    """Whether an accuracy cannot be told from that of guessing."""
    chance = figures.get("chance")
    return chance is not None and figures["accuracy_low"] <= chance <= figures["accuracy_high"]


def lines_digest(lines: Iterable[str]) -> str:
    """Returns a hash of `prompt_line`s: of all that is asked, and what grades it."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("ascii"))
    return digest.hexdigest()[:16]


def records_digest(records: Iterable[Record]) -> str:
    """Returns a hash of records, all their fields included."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(dataclasses.asdict(record), sort_keys=True).encode("ascii"))
    return digest.hexdigest()[:16]


def prompt_line(record: Record, prompt: str) -> str:
    """Returns what `infer` is to ask about a question, a line of JSON."""
    fields: dict[str, Any] = {
        "id": record.id,
        "prompt": prompt,
        "question": record.question,
        "answer": record.answer,
        "kind": record.kind,
    }
    if record.options is not None:
        fields["options"] = list(record.options)
    return json.dumps(fields) + "\n"


def _of_this_host(mesh: MeshShape) -> MeshShape:
    """Returns the mesh of a training run as one host can have it, which holds the whole model."""
    if jax.process_count() == 1:
        return mesh
    devices = jax.local_device_count()
    tensor = math.gcd(mesh.tensor, devices)
    return MeshShape(-1, math.gcd(mesh.fsdp, devices // tensor), tensor)


def _by_trait(
    rows: Sequence[Mapping[str, Any]], questions: Mapping[str, Record], by: str
) -> dict[str, dict[str, int]]:
    found: dict[Any, list[int]] = collections.defaultdict(lambda: [0, 0])
    for row in rows:
        value = questions[row["id"]].meta.get(by)
        found[value][0] += 1
        found[value][1] += row.get("correct") is True
    ordered = sorted(found, key=lambda value: (isinstance(value, str), value or 0))
    return {str(v): {"samples": found[v][0], "right": found[v][1]} for v in ordered}


def graded_again(path: Path, rule: str) -> dict[str, Any]:
    """Returns the accuracy of an evaluation's greedy answers by another rule.

    Args:
      path: where they lie, a line for each question.
      rule: of `tlm_jax.grade`.

    Returns:
      `rule`, `right`, `accuracy` and its 95 % Wilson interval.
    """
    rows = [row for _, row in read_json_lines(path, any_text=True)]
    right = sum(grade(rule, row["samples"][0]["text"], row["gold"]).correct for row in rows)
    low, high = wilson(right, len(rows))
    return {
        "rule": rule,
        "right": right,
        "accuracy": right / len(rows) if rows else None,
        "accuracy_low": low,
        "accuracy_high": high,
    }


def is_remote(model: str) -> bool:
    """Whether a model is behind a server."""
    return model.startswith(_SERVER)


def model_path(model: str) -> Path:
    """Returns where a model lies; that of asset:NAME is its name."""
    return Path(model) if model.startswith(_ASSET) else expanded(model)
