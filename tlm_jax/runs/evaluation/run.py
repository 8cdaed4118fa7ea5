"""Evaluates checkpoints on tasks and writes results.json, samples and the report."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlm_jax.data.pipeline.store import task_vocabulary
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.evaluation.contamination import overlaps
from tlm_jax.evaluation.eval_set import EvalSet, load_eval_sets
from tlm_jax.evaluation.outcomes import Outcome, compared
from tlm_jax.evaluation.question_sets import example_question, named_questions
from tlm_jax.metrics.progress import duration
from tlm_jax.reports import outcome_page
from tlm_jax.runs.evaluation import table as evaluation_table
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.conversations import as_conversations
from tlm_jax.runs.evaluation.modes import MODES
from tlm_jax.runs.evaluation.store import OutcomeStore, outcome_key
from tlm_jax.runs.evaluation.subject import Subject
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.reading import ReadingSettings
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.training import console, files
from tlm_jax.runs.training.student_vocabulary import run_data
from tlm_jax.system.home import expanded
from tlm_jax.system.program_cache import ProgramCache


def run_evaluation(
    config: EvalConfig, configuration: str, compiled: ProgramCache | None = None
) -> dict[str, Any]:
    """Evaluates every checkpoint on every task in every mode, one checkpoint at a time.

    What an earlier run there has found with the same settings is taken over.

    Args:
      config: what is evaluated.
      configuration: the same as gin text, for the output directory.
      compiled: programs that runs in this process share.

    Returns:
      What results.json holds.

    Raises:
      UserError: no such checkpoint, task or file, or an evaluation in which nothing is asked.
    """
    output = files.open_model_dir(config.output_dir)
    files.write_configuration(output, configuration)
    data = run_data(config.data)
    compiled = compiled or ProgramCache()
    known: dict[str, dict[str, Any]] = {}
    outcomes: list[Outcome] = []
    for name, path in _names(config.checkpoints).items():
        opened = functools.partial(
            OpenedModel, devices=jax.devices(), announce=console.say, compiled=compiled
        )
        outcomes += _evaluate(name, path, config, data, known, OutcomeStore(output), opened)
    if not outcomes:
        raise UserError(
            "nothing was asked: 'rank' needs questions with options, and targets that are nothing "
            "but the answer or a RANK_CONTINUATION"
        )
    summaries = [outcome.summary() for outcome in outcomes]
    comparisons = _comparisons(outcomes)
    results = {
        "checkpoints": _names(config.checkpoints),
        "results": summaries,
        "comparisons": comparisons,
        "training_sets": list(known.values()),
    }
    _write(output, outcomes, results, config)
    if jax.process_index() == 0:
        evaluation_table.show(summaries, comparisons)
    console.say(f"results {output / 'results.json'}\nreport  {output / 'report.html'}")
    return results


def _evaluate(
    name: str,
    path: str,
    config: EvalConfig,
    data: RunData,
    known: dict[str, dict[str, Any]],
    store: OutcomeStore,
    opened: Callable[[ModelSettings], OpenedModel],
) -> list[Outcome]:
    settings = ModelSettings(
        path,
        config.dtype,
        config.mesh,
        config.data.vocabulary,
        ReadingSettings(config.data.add_bos, config.data.add_eos),
        config.chat_template,
    )
    with opened(settings) as model:
        eval_sets = _open_sets(config, data, model, known)
        # SeqIO's tasks have vocabularies of their own.
        subjects = [Subject(name, model.read_with(one.vocabulary)) for one in eval_sets]
        if config.chat:
            eval_sets = [
                as_conversations(one, subject.model, config.system)
                for one, subject in zip(eval_sets, subjects)
            ]
        found = []
        for subject, eval_set in zip(subjects, eval_sets):
            key = outcome_key(config, model, eval_set)
            for mode in config.modes:
                start = time.perf_counter()
                outcome = store.read(name, eval_set.task, mode, key)
                there = outcome is not None
                if outcome is None:
                    outcome = MODES[mode](subject, eval_set, config)
                if outcome is None:
                    console.say(f"note: {eval_set.task} has no options to rank")
                    continue
                if not there:
                    store.write(outcome, key)
                took = "as before" if there else duration(time.perf_counter() - start)
                console.say(f"{name}  {eval_set.task}  {mode}  {took}")
                for note in evaluation_table.notes(outcome):
                    console.say(note)
                found.append(outcome)
        return found


def _open_sets(
    config: EvalConfig, data: RunData, model: OpenedModel, known: dict[str, dict[str, Any]]
) -> list[EvalSet]:
    """Returns the tasks' questions, read with the model's vocabulary, else with their own."""
    sets = []
    for name in config.tasks:
        reader = model if model.has_vocabulary else model.read_with(task_vocabulary(name))
        sets += load_eval_sets(
            name,
            config.split,
            feature_lengths=config.feature_lengths,
            num_examples=config.num_examples,
            examples_seed=config.examples_seed,
            vocabulary=model.vocabulary if model.has_vocabulary else None,
            data=data,
            reading=reader.reading,
        )
    return [_without_known(eval_set, config, data, known) for eval_set in sets]


def _without_known(
    eval_set: EvalSet, config: EvalConfig, data: RunData, known: dict[str, dict[str, Any]]
) -> EvalSet:
    """Looks for the questions in the training sets, once a task; leaves them out if asked to."""
    examples = eval_set.examples
    for training_set in config.training_sets:
        key = f"{eval_set.task} {training_set}"
        if key not in known:
            questions = [example_question(record) for record in examples.records]
            known[key] = _overlap_report(eval_set, training_set, questions, data)
            console.say(
                f"note: {known[key]['found']:,} of {len(questions):,} questions of "
                f"{eval_set.task} are in {training_set}"
                + (" and left out" if config.leave_out_known and known[key]["found"] else "")
            )
    if not config.leave_out_known:
        return eval_set
    ids = {
        example
        for report in known.values()
        if report["task"] == eval_set.task
        for example in report["ids"]
    }
    kept = np.asarray([i for i, name in enumerate(examples.ids) if name not in ids], np.int64)
    if not kept.size:
        raise UserError(
            f"every question of {eval_set.task} is in {', '.join(config.training_sets)}"
        )
    return dataclasses.replace(eval_set, examples=examples.take(kept))


def _overlap_report(
    eval_set: EvalSet, training_set: str, questions: Sequence[str], data: RunData
) -> dict[str, Any]:
    found = overlaps(questions, named_questions(training_set, data))
    kinds = [overlap.kind for overlap in found]
    return {
        "task": eval_set.task,
        "training_set": training_set,
        "questions": len(questions),
        "found": len(found),
        "kinds": {kind: kinds.count(kind) for kind in ("same", "part", "run")},
        "ids": [eval_set.examples.ids[overlap.test] for overlap in found],
    }


def _comparisons(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Compares each later checkpoint with the first, by task and mode."""
    first: dict[tuple[str, str], Outcome] = {}
    found = []
    for outcome in outcomes:
        base = first.setdefault((outcome.task, outcome.mode), outcome)
        if base is not outcome:
            found.append(compared(base, outcome))
    return found


def _names(checkpoints: Sequence[str]) -> dict[str, str]:
    """Returns a short name for each path; whole paths where short ones are alike."""
    short = [expanded(path).absolute().name for path in checkpoints]
    unique = len(set(short)) == len(short)
    return dict(zip(short if unique else checkpoints, checkpoints))


def _write(
    output: Path, outcomes: Sequence[Outcome], results: Mapping[str, Any], config: EvalConfig
) -> None:
    files.write_text(output / "results.json", json.dumps(results, indent=1, ensure_ascii=False))
    html = outcome_page.render(
        outcomes,
        results["results"],
        results["comparisons"],
        results["training_sets"],
        show_questions=config.show_questions,
    )
    files.write_text(output / "report.html", html)
