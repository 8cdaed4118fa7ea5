"""The page of a recipe that goes in loops: accuracy, counts, samples to read, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tlm_jax.data.records import read_json_lines
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.metrics.progress import duration
from tlm_jax.reports.chart import Series, interval_bar, line_chart
from tlm_jax.reports.run_page import sample_card, spread
from tlm_jax.reports.templating import render_page

_SHOWN = 3
"""Right and wrong samples of each loop."""
_HEADERS = (
    *("loop", "attempts", "right", "kept", "with hint: attempts", "right", "kept", "paths"),
    *("no answer", "hints in texts", "steps", "development set", "", "time"),
)

_TRAITS = {"num_digits": "number of digits"}

Results = Mapping[str, Any]


def render(results: Results, directory: Path) -> str:
    """Returns the page.

    Args:
      results: what results.json holds.
      directory: of the recipe, where the samples lie.
    """
    arms = results["arms"]
    by_trait = [chart for arm in arms for chart in _by_trait(arm, results)]
    cost = results["cost"]
    state = "complete" if results["complete"] else "under way"
    return render_page(
        "recipe.html",
        title=f"{results['method'].upper()} on {results['task']}",
        subtitle=f"{state}; intervals are Wilson's, of 95 %",
        styles=("chart.css", "run.css"),
        scripts=("chart.js",),
        facts=[_fact(arm) for arm in arms],
        accuracy=[_accuracy(arms)],
        accuracy_note="Of the development set, which training never sees; loop 0 is the model "
        f"that the loops start from.{_chance_note(arms)}",
        trait=_TRAITS.get(results["by"], str(results["by"] or "").replace("_", " ")),
        trait_note=_trait_note(results),
        by_trait=by_trait,
        arms=[_arm(arm, directory) for arm in arms],
        cost=[(kind, duration(spent)) for kind, spent in cost["seconds"].items()],
        overhead=f"{cost['samples']:,} samples, {cost['tokens']:,} generated tokens, "
        f"{cost['steps']:,} training steps. Of the last start "
        f"{cost['this_start']['overhead_share']:.1%} of the time was neither generation, training "
        "nor evaluation.",
    )


def _name(arm: Results) -> str:
    return f"{arm['arm']}, seed {arm['seed']}"


def _fact(arm: Results) -> tuple[str, object, str]:
    best = arm["best"]
    return _name(arm), f"{best['accuracy']:.1%}", f"best: loop {best['loop']}, {best['model']}"


def _chance_note(arms: Sequence[Results]) -> str:
    """Returns what guessing among the options gives, where all questions have options."""
    found = [loop["evaluation"] for arm in arms for loop in arm["loops"]]
    chance = found[0].get("chance")
    if chance is None:
        return ""
    guessed = sum(e["accuracy_low"] <= chance <= e["accuracy_high"] for e in found)
    return f" Guessing gives {chance:.1%}, which the intervals of {guessed} models hold."


def _accuracy(arms: Sequence[Results]) -> Markup:
    series = []
    for colour, arm in enumerate(arms):
        found = [(loop["loop"], loop["evaluation"]) for loop in arm["loops"]]
        series.append(
            Series(
                _name(arm),
                [(n, e["accuracy"]) for n, e in found],
                band=[(n, e["accuracy_low"], e["accuracy_high"]) for n, e in found],
                dots=True,
                colour=colour,
            )
        )
    return line_chart("Development set", series, over="loop", percent=True)


def _by_trait(arm: Results, results: Results) -> list[Markup]:
    """Returns a chart of the attempts' accuracy by value of the trait, and the published one."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for loop in arm["loops"][1:]:
        # What loop n asks is answered by the model of loop n - 1.
        for value, counts in loop["attempts"].get("by", {}).items():
            share = counts["right"] / counts["samples"]
            lines.setdefault(value, []).append((loop["loop"] - 1, share))
    if not lines:
        return []
    charts = [_values_chart(_name(arm), lines)]
    published = results.get("published", {}).get("arms", {}).get(arm["arm"])
    if published:
        most = max(n for line in lines.values() for n, _ in line)
        charts.append(
            _values_chart(
                f"{arm['arm']}, published",
                {v: list(enumerate(line))[: most + 1] for v, line in published.items()},
            )
        )
    return charts


def _values_chart(title: str, lines: Mapping[str, Sequence[tuple[int, float]]]) -> Markup:
    series = [Series(v, line, dots=True, colour=n) for n, (v, line) in enumerate(lines.items())]
    return line_chart(title, series, over="loop", percent=True)


def _trait_note(results: Results) -> str:
    note = "Of a loop's first answers to its questions, by the model of the loop before."
    published = results.get("published")
    return f"{note} Published values: {published['source']}." if published else note


def _arm(arm: Results, directory: Path) -> dict[str, object]:
    loops = arm["loops"]
    start, best = arm["start"], arm["best"]
    return {
        "name": _name(arm),
        "note": f"Every loop starts from {start['model']} ({start['fingerprint']}) unless RESTART "
        f"is False. Best: loop {best['loop']}, {best['model']}.",
        "headers": _HEADERS,
        "rows": [_row(loop) for loop in loops],
        "numeric": [*range(12), 13],
        "samples": [_samples(loop, directory) for loop in loops[1:]],
    }


def _row(loop: Results) -> list[object]:
    found = loop["evaluation"]
    accuracy = f"{found['accuracy']:.1%}"
    bar = interval_bar(found["accuracy"], found["accuracy_low"], found["accuracy_high"])
    if "selection" not in loop:
        return [loop["loop"], *[""] * 10, accuracy, bar, ""]
    chosen, hinted = loop["selection"], loop["hinted"] is not None
    counts = [chosen["attempts"], chosen["right"], chosen["kept"]]
    counts += [chosen[f"hinted_{name}"] if hinted else "" for name in ("attempts", "right", "kept")]
    counts += [chosen["distinct_paths"], chosen["unparsable"] + chosen["hinted_unparsable"]]
    counts += [chosen["hint_leaks"], loop["training"]["steps"]]
    cells = [f"{count:,}" if isinstance(count, int) else count for count in counts]
    return [loop["loop"], *cells, accuracy, bar, duration(loop["seconds"])]


def _samples(loop: Results, directory: Path) -> dict[str, object]:
    """Returns some of a loop's first answers, the right ones on the left."""
    rows = [row for _, row in read_json_lines(directory / loop["files"]["attempts"], any_text=True)]
    right = [row for row in rows if row.get("correct") is True]
    wrong = [row for row in rows if row.get("correct") is False]
    pairs = zip_longest(spread(right, _SHOWN), spread(wrong, _SHOWN))
    title = (
        f"loop {loop['loop']}: samples to read; left out: {_told(loop['selection']['left_out'])}"
    )
    if loop["questions_left_out"]:
        title += f"; questions that were not asked: {_told(loop['questions_left_out'])}"
    return {
        "title": title,
        "cards": [_card(row) for pair in pairs for row in pair if row is not None],
    }


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in counts.items()) or "none"


def _card(row: Results) -> dict[str, object]:
    # Of a prompt with demonstrations the question is what there is to read.
    question = str(row["prompt"]).rsplit("\n\n", 1)[-1]
    return sample_card(
        {
            **row,
            "prompt": question,
            "prediction": row["text"],
            "finished": row["finish_reason"] not in CUT_OFF,
        }
    )
