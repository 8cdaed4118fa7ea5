"""Lines on the terminal: where a run starts, what it found, where things are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.data.pipeline.statistics import PipelineStatistics
from tlm_jax.data.teachers.tokens import PREFIX, TeacherTokens
from tlm_jax.evaluation.eval_result import EvalResult
from tlm_jax.metrics.progress import duration
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.system import terminal
from tlm_jax.system.terminal import printable


def say(line: str) -> None:
    """Prints a line, on process 0 only."""
    if jax.process_index() == 0:
        print(line, flush=True)


def start(run: RunConfig, mesh: Mesh, origin: str) -> None:
    """Prints what is about to be trained, in three lines."""
    kind = parts_of_name(type(run.model).__name__)
    devices = mesh.devices.flatten()
    axes = ", ".join(f"{name} {size}" for name, size in mesh.shape.items())
    say(f"model   {kind}, {models.num_params(run.model) / 1e6:,.1f}M parameters; {origin}")
    say(
        f"data    {run.mixture_or_task_name}, {run.batch_size} rows a step of "
        + " + ".join(f"{length} {name}" for name, length in run.feature_lengths.items())
        + (", packed" if run.data.pack else "")
    )
    say(f"devices {len(devices)} x {devices[0].device_kind} ({axes}); {run.train_steps} steps")


def parts_of_name(name: str) -> str:
    """Returns 'encoder-decoder' for EncoderDecoderConfig, and so on."""
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name.removesuffix("Config"))
    return "-".join(words.split())


def evaluation_line(result: EvalResult) -> str:
    """Returns one line on one evaluation of one task."""
    text = f"  evaluation at step {result.step}: {result.task}  NLL {result.nll_nats:.4f} nats"
    if result.accuracy is not None:
        low, high = result.accuracy_interval
        text += (
            f"  accuracy {result.accuracy:.1%} ({low:.1%} to {high:.1%}, "
            f"{result.num_correct}/{result.num_graded})"
        )
    return f"{text}  {duration(result.seconds)}"


def print_truncation(
    counts: PipelineStatistics,
    feature_lengths: Mapping[str, int],
    teacher: TeacherTokens | None = None,
) -> None:
    """Says how many examples lost tokens, or text that no token stands for, if any did.

    Args:
      counts: of the pipeline.
      feature_lengths: the student's.
      teacher: how a live teacher of another vocabulary read them.
    """
    for name, count in counts.truncated.items():
        if not count:
            continue
        share = f"{count:,} examples ({count / max(counts.examples, 1):.1%})"
        own = name.removeprefix(PREFIX)
        if teacher is not None and own != name:
            say(
                f"note: the teacher read {share} cut to {teacher.feature_lengths[own]} of its "
                f"{own} tokens, and says nothing of cut targets, nor behind inputs that the "
                "student reads otherwise; raise TEACHER_FEATURE_LENGTHS to hear it"
            )
        else:
            say(
                f"note: {share} were cut to {feature_lengths[name]} {name} tokens; raise "
                "TASK_FEATURE_LENGTHS to keep them whole"
            )
    for name, count in counts.unknown.items():
        if count:
            share = count / max(counts.examples, 1)
            say(
                f"note: {count:,} examples ({share:.1%}) have {name} that the vocabulary cannot "
                "express (its <unk>; T5's has no braces and backslashes): what stood there is "
                "lost; another VOCABULARY keeps it"
            )


def finish(
    model_dir: Path, results: Sequence[EvalResult], *, show_examples: int, seconds: float
) -> None:
    """Prints the final evaluation, a few predictions, and where everything lies."""
    if jax.process_index() != 0:
        return
    for result in results:
        _show_predictions(result, show_examples)
    if results:
        _show_table(results)
    print(f"\ncheckpoints  {model_dir / 'checkpoints'}")
    print(f"metrics      {model_dir / 'metrics.jsonl'}  (and tensorboard --logdir {model_dir})")
    if results:
        print(f"predictions  {model_dir / 'eval'}")
    print(f"report       {model_dir / 'report.html'}")
    print(f"done in {duration(seconds)}", flush=True)


def _show_predictions(result: EvalResult, count: int) -> None:
    solved = [p for p in result.predictions if p.correct][:count]
    missed = [p for p in result.predictions if p.correct is False][: 1 if solved else count]
    for title, predictions in (("solved", solved), ("missed", missed)):
        for prediction in predictions:
            print(f"\n{title}: {printable(prediction.id)}")
            print(textwrap.indent(printable(prediction.prompt, keep="\n\t"), "    "))
            print(textwrap.indent(printable(prediction.prediction, keep="\n\t"), "  > "))
            if title == "missed":
                print(f"    (right answer: {printable(str(prediction.gold))})")


def _show_table(results: Sequence[EvalResult]) -> None:
    from rich.table import Table

    table = Table(title=f"held-out tasks after step {results[0].step}")
    table.add_column("task", overflow="fold")
    for name in ("examples", "accuracy", "95% interval", "no answer", "NLL (nats/token)"):
        table.add_column(name, justify="right")
    for result in results:
        low, high = result.accuracy_interval
        graded = result.accuracy is not None
        table.add_row(
            result.task,
            str(result.num_examples),
            f"{result.accuracy:.1%}" if graded else "-",
            f"{low:.1%} to {high:.1%}" if graded else "-",
            f"{result.unparsable_share:.1%}" if graded else "-",
            f"{result.nll_nats:.4f}",
        )
    print()
    terminal.console().print(table)
