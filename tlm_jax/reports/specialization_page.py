"""The page of specialization: what students gain and lose, side by side, and from what."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tlm_jax.data.records import read_json_lines
from tlm_jax.metrics.progress import duration
from tlm_jax.reports.chart import Series, line_chart
from tlm_jax.reports.templating import render_page

Results = Mapping[str, Any]

_LEFT_OUT = "left out: "


def render(results: Results, directory: Path) -> str:
    """Returns the page.

    Args:
      results: what results.json holds.
      directory: of the recipe, where the aligned solutions lie.
    """
    cost = results["cost"]
    state = "complete" if results["complete"] else "under way"
    columns = [
        (s, p) for s in (*results["special"], *results["general"]) for p in _prompts(results)
    ]
    return render_page(
        "specialization.html",
        title=f"Specialization on {results['task']}",
        subtitle=f"{state}; {len(results['runs'])} students; intervals are of 95 %",
        styles=("chart.css", "run.css"),
        scripts=("chart.js",),
        facts=[_fact(run) for run in results["runs"][:8]],
        trade=_trade(results),
        trade_note=_trade_note(results),
        learning=_learning(results),
        learning_note="Of the development set, which training never sees, at every checkpoint: the "
        "mean over formats. NLL is teacher-forced, in nats a token of the gold solutions.",
        table_note="The checkpoint that the development set chose, by the mean accuracy of "
        f"{', '.join(results['choose_by'])}. Counts are over all seeds, with Wilson's interval, "
        "which takes every answer for another question; special, general and NLL are means over "
        "seeds with Student's interval.",
        headers=["student", "seeds", "step", "special", "general", "NLL", *map(_column, columns)],
        rows=[_row(row, columns) for row in results["table"]],
        numeric=range(1, 6 + len(columns)),
        pairs=[_pair(pair) for pair in results["pairs"]],
        pairs_note="The second setting less the first, all others alike, question by question over "
        "the same seeds: the interval is a bootstrap over questions, p McNemar's exact test. NLL "
        "is that of the development set at the end of training.",
        pair_headers=["", "asked", "seeds", "fixed", "broken", "difference", "", "p", "NLL", ""],
        pair_numeric=range(2, 10),
        solutions_note="What students learn from: right solutions, chosen by the settings.",
        solutions=_solutions(results),
        alignment_headers=[
            *("alignment", "solutions", "trained on", "tokens", "with a distribution"),
            *("themselves alone", "mass that the student has", "rows", "without", "refused"),
        ],
        alignments=[_alignment(name, found) for name, found in results["alignment"].items()],
        alignment_numeric=range(1, 10),
        aligned=_aligned(directory / results["aligned"]),
        runs=[_run(run, columns) for run in results["runs"]],
        cost=[(kind, duration(spent)) for kind, spent in cost["seconds"].items()],
        overhead=f"{cost['samples']:,} samples, {cost['tokens']:,} generated tokens, "
        f"{cost['steps']:,} training steps. Of the last start "
        f"{cost['this_start']['overhead_share']:.1%} of the time was neither generation, training "
        "nor evaluation.",
    )


def _prompts(results: Results) -> Sequence[str]:
    return results["prompts"]


def _column(column: tuple[str, str]) -> str:
    return f"{column[0]}, {column[1].replace('_', ' ')}"


def _name(run: Results) -> str:
    return f"{run['mixture']}, {run['start']}, {run['loss']}"


def _titled(run: Results) -> str:
    return f"{_name(run)}, seed {run['seed']}"


def _fact(run: Results) -> tuple[str, object, str]:
    found = run["steps"][run["chosen"]["place"]]
    general = "" if found["general"] is None else f"; general {found['general']:.1%}"
    return _titled(run), f"{found['special']:.1%}", f"step {found['step']}{general}"


def _trade(results: Results) -> list[Markup]:
    """Returns a chart of both abilities over steps for each student."""
    charts = []
    for run in results["runs"]:
        start = results["starts"].get(run["start"])
        steps = ([{"step": 0, **start}] if start else []) + list(run["steps"])
        series = []
        for colour, ability in enumerate(("special", "general")):
            points = [(one["step"], one[ability]) for one in steps]
            if any(value is not None for _, value in points):
                series.append(Series(ability, points, dots=True, colour=colour))
        charts.append(
            line_chart(_titled(run), series, percent=True, marked_steps=[run["chosen"]["step"]])
        )
    return charts


def _trade_note(results: Results) -> str:
    special, general = (", ".join(results[name]) or "none" for name in ("special", "general"))
    return (
        f"Mean accuracy over prompts on {special} (special) and {general} (general); step 0 is the "
        "start. The chosen step is ticked."
    )


def _learning(results: Results) -> list[Markup]:
    """Returns charts of accuracy and NLL on the development set, a line for each student."""
    charts = []
    for title, name, percent in (("accuracy", "accuracy", True), ("NLL", "nll_nats", False)):
        series = []
        for colour, run in enumerate(results["runs"]):
            points = []
            for one in run["steps"]:
                values = [found[name] for found in one["dev"].values() if name in found]
                points.append((one["step"], sum(values) / len(values) if values else None))
            series.append(Series(_titled(run), points, dots=True, colour=colour % 6))
        charts.append(line_chart(f"Development set, {title}", series, percent=percent))
    return charts


def _row(row: Results, columns: Sequence[tuple[str, str]]) -> list[object]:
    nll = [one["mean"] for one in row["nll_nats"].values() if one["mean"] is not None]
    return [
        _name(row),
        ", ".join(map(str, row["seeds"])),
        ", ".join(map(str, row["chosen"])),
        _spread(row["special"], share=True),
        _spread(row["general"], share=True),
        f"{sum(nll) / len(nll):.3f}" if nll else "",
        *(_accuracy(row["accuracy"][data_set][prompt]) for data_set, prompt in columns),
    ]


def _spread(found: Results, *, share: bool, sign: str = "") -> str:
    if found["mean"] is None:
        return ""
    shown = [found[name] for name in ("mean", "low", "high") if found[name] is not None]
    mean, *interval = (f"{value:{sign}.1%}" if share else f"{value:{sign}.3f}" for value in shown)
    return f"{mean} ({interval[0]} to {interval[1]})" if interval else mean


def _accuracy(found: Results) -> str:
    if found["accuracy"] is None:
        return ""
    low, high = found["accuracy_low"], found["accuracy_high"]
    return f"{found['accuracy']:.1%} ({low:.1%} to {high:.1%})"


def _pair(pair: Results) -> list[object]:
    others = [pair[name] for name in ("mixture", "start", "loss") if name in pair]
    told = f"{pair['second']} less {pair['first']} ({', '.join(others)})"
    asked = _column((pair["set"], pair["prompt"]))
    if pair["difference"] is None:
        return [told, asked, len(pair["seeds"]), *[""] * 7]
    low, high = pair["difference_low"], pair["difference_high"]
    nll = pair["nll_difference"]
    return [
        told,
        asked,
        len(pair["seeds"]),
        pair["fixed"],
        pair["broken"],
        f"{pair['difference']:+.1%}",
        f"{low:+.1%} to {high:+.1%}",
        f"{pair['p_value']:.3g}",
        "" if nll["mean"] is None else f"{nll['mean']:+.3f}",
        "" if nll["low"] is None else f"{nll['low']:+.3f} to {nll['high']:+.3f}",
    ]


def _solutions(results: Results) -> list[tuple[str, str]]:
    found = results["selection"]
    counts = [("drawn or read", found["samples"]), ("right", found["right"])]
    counts += [(_LEFT_OUT + reason, n) for reason, n in found["left_out"].items()]
    counts += [("kept", found["kept"]), ("questions", found["questions"])]
    counts += [("questions without a kept one", found["questions_without"])]
    return [(name, f"{count:,}") for name, count in counts]


def _alignment(name: str, found: Results) -> list[object]:
    mass = found["kept_mass"]
    return [
        name,
        f"{found['solutions']:,}",
        f"{found['examples']:,}",
        f"{found['student_tokens']:,}",
        f"{found['soft_share']:.1%}",
        f"{found['hard_share']:.1%}",
        "" if mass is None else f"{mass:.1%}",
        *(f"{found[count]:,}" for count in ("matched", "missing", "refused")),
    ]


def _aligned(path: Path) -> list[dict[str, object]]:
    """Returns some solutions with what each token is learned from."""
    if not path.is_file():
        return []
    shown = []
    for _, row in itertools.islice(read_json_lines(path, any_text=True), 3):
        rows = [
            (piece, ", ".join(f"{text} {probability:.1%}" for text, probability in target))
            for piece, target in zip(row["pieces"], row["targets"])
        ]
        shown.append({"title": f"aligned: {row['id']}", "text": row["text"], "rows": rows})
    return shown


def _run(run: Results, columns: Sequence[tuple[str, str]]) -> dict[str, object]:
    """Returns the table of a student's checkpoints."""
    rows = [
        [
            one["step"],
            f"{one['special']:.1%}",
            "" if one["general"] is None else f"{one['general']:.1%}",
            *(_accuracy(one["evaluation"][data_set][prompt]) for data_set, prompt in columns),
            *(
                _accuracy(one["evaluation"][data_set][prompt]["also"])
                for data_set, prompt in columns
                if "also" in one["evaluation"][data_set][prompt]
            ),
        ]
        for one in run["steps"]
    ]
    first = run["steps"][0]["evaluation"]
    also = [
        f"{_column(column)}, {first[column[0]][column[1]]['also']['rule']}"
        for column in columns
        if "also" in first[column[0]][column[1]]
    ]
    headers = ["step", "special", "general", *map(_column, columns), *also]
    cut = [f"{n} of {form.replace('_', ' ')}" for form, n in run["cut_prompts"].items() if n]
    told = f"; of {run['looked_at']:,} solutions demonstrations had no room in {', '.join(cut)}"
    return {
        "title": f"all checkpoints: {_titled(run)}{told if cut else ''}",
        "headers": headers,
        "rows": rows,
        "numeric": range(len(headers)),
    }
