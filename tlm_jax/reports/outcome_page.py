"""One self-contained page on an evaluation: scores, curves, comparisons, readable samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tlm_jax.evaluation.outcomes import Outcome, Question, hardest
from tlm_jax.reports.chart import Series, colours, interval_bar, line_chart
from tlm_jax.reports.question_blocks import Answers, Block, question_block, size_of
from tlm_jax.reports.templating import printable, render_page

_HARDEST = 20
_MOST_CHARACTERS = 50_000_000
"""Of questions and samples in a page: beyond that, browsers become slow."""

_TITLES = {
    "greedy": "greedy decoding",
    "rank": "rank classification",
    "self_consistency": "majority of samples",
}
_COUNTS = {"ungraded": "not graded", "truncated_prompts": "prompts cut"}
_BY = {
    "words": "words of the question",
    "steps": "steps of the gold rationale",
    "operations": "operations of the gold solution",
    "options": "number of options",
}


def render(
    outcomes: Sequence[Outcome],
    summaries: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
    *,
    show_questions: int | None = None,
    most_characters: int = _MOST_CHARACTERS,
) -> str:
    """Returns the page as HTML; whatever a model wrote is shown as text.

    Args:
      outcomes: all of them.
      summaries: `Outcome.summary` of each, in the same order.
      comparisons: of `outcomes.compared`.
      known: test questions found in training sets, a dict for each task and set.
      show_questions: how many of each task and mode can be read; None means all.
      most_characters: of all questions and samples in the page; what goes beyond is left out and
        counted.
    """
    parts = [
        _Part(task, mode, [o for o in outcomes if (o.task, o.mode) == (task, mode)])
        for task, mode in dict.fromkeys((o.task, o.mode) for o in outcomes)
    ]
    by_key = {(part.task, part.mode): part for part in parts}
    room = most_characters
    lists = []
    for part in parts:
        shown, room = part.readable(show_questions, room)
        lists.append(shown)
    return render_page(
        "evaluation.html",
        title="Evaluation",
        subtitle="Intervals hold 95 %: Wilson's for accuracies, bootstrap over questions for "
        "curves and differences.",
        styles=("chart.css", "questions.css", "evaluation.css"),
        scripts=("chart.js", "questions.js"),
        scores=_scores(summaries),
        curves=_curves(summaries),
        difficulty=[found for part in parts if (found := _difficulty(part, summaries))["tables"]],
        known=_known(known),
        comparisons=[_comparison(c, by_key[c["task"], c["mode"]]) for c in comparisons],
        hardest=[found for part in parts if (found := part.hardest())["questions"]],
        readable=lists,
    )


class _Part:
    """All checkpoints on one task in one mode."""

    def __init__(self, task: str, mode: str, outcomes: Sequence[Outcome]):
        self.task, self.mode, self.outcomes = task, mode, outcomes
        self.names = [outcome.checkpoint for outcome in outcomes]
        self.title = f"{task}, {_TITLES.get(mode, mode)}"
        self.answers: dict[str, dict[str, Question]] = {}
        for outcome in outcomes:
            for question in outcome.questions:
                self.answers.setdefault(question.id, {})[outcome.checkpoint] = question
        self.places = {name: place for place, name in enumerate(self.answers)}
        self.ranks = {name: place for place, name in enumerate(hardest(outcomes))}

    def block(self, name: str, checkpoints: Sequence[str] | None = None) -> Block:
        answers: Answers = self.answers[name]
        if checkpoints is not None:
            answers = {c: answers[c] for c in checkpoints}
        rank = self.ranks.get(name, len(self.ranks))
        return question_block(answers, order=self.places[name], hardness=rank)

    def hardest(self) -> dict[str, Any]:
        wrong = [
            name
            for name in self.ranks
            if any(answer.share_right < 1 for answer in self.answers[name].values())
        ]
        return {
            "title": self.title,
            "note": "By the share of samples that are right, over all checkpoints, then by the "
            f"margin ({_MARGINS[self.mode]}).",
            "questions": [self.block(name) for name in wrong[:_HARDEST]],
        }

    def readable(self, show: int | None, room: int) -> tuple[dict[str, Any], int]:
        """Returns the list of questions, and how many characters are left for other lists."""
        blocks: list[Block] = []
        for name, answers in self.answers.items():
            room -= size_of(answers)
            if room < 0 or (show is not None and len(blocks) >= show):
                break
            blocks.append(self.block(name))
        complete = len(blocks) == len(self.answers)
        number = f"{len(blocks):,}" if complete else f"{len(blocks):,} of {len(self.answers):,}"
        note = "The extracted answer is marked."
        if not complete:
            note += " All of them are in the folder samples beside this page."
        listed = {
            "title": self.title,
            "note": note,
            "number": number,
            "questions": blocks,
            "names": self.names,
        }
        return listed, max(room, 0)


def _scores(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a table with a row for each task and mode, and in each all checkpoints."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(s["checkpoint"] for s in summaries))}
    # Columns of noughts would push the others off a screen.
    counts = [name for name in _COUNTS if any(summary[name] for summary in summaries)]
    rows: list[list[object]] = []
    for task, mode in dict.fromkeys((s["task"], s["mode"]) for s in summaries):
        cells = [
            _score_cells(summary, counts, numbers[summary["checkpoint"]])
            for summary in summaries
            if (summary["task"], summary["mode"]) == (task, mode)
        ]
        name = Markup('{}<div class="unit">{}</div>').format(
            printable(task), _TITLES.get(mode, mode)
        )
        rows.append([name, *(_stacked(column) for column in zip(*cells))])
    headers = ["task", "accuracy", "", "right", "no answer", *(_COUNTS[name] for name in counts)]
    return {
        "legend": colours(numbers.items()) if len(numbers) > 1 else (),
        "headers": headers,
        "rows": rows,
        "numeric": (1, *range(3, len(headers))),
    }


def _score_cells(
    summary: Mapping[str, Any], counts: Sequence[str], colour: int
) -> tuple[object, ...]:
    end = [f"{summary[name]:,}" for name in counts]
    if summary["accuracy"] is None:
        return "–", "", "–", "–", *end
    share, bar = _share_cells(summary, colour)
    right = f"{summary['right']:,} of {summary['questions']:,}"
    return share, bar, right, f"{summary['unparsable_share']:.1%}", *end


def _share_cells(found: Mapping[str, Any], colour: int = 0) -> tuple[Markup, Markup]:
    """Returns a share with its interval in figures, and drawn."""
    share, low, high = (found[f"accuracy{end}"] for end in ("", "_low", "_high"))
    figures = Markup('<b>{:.1%}</b><span class="unit"> {:.1f}–{:.1f}</span>')
    return figures.format(share, 100 * low, 100 * high), interval_bar(share, low, high, colour)


def _curves(summaries: Sequence[Mapping[str, Any]]) -> list[Markup]:
    return [
        line_chart(
            f"{summary['task']}, {summary['checkpoint']}",
            [
                Series(
                    f"{name}@k",
                    [(row["k"], row[name]) for row in summary["curve"]],
                    band=[(row["k"], row[f"{name}_low"], row[f"{name}_high"]) for row in curve],
                    dots=True,
                    colour=colour,
                )
                for colour, name in enumerate(("maj", "pass"))
            ],
            unit="over k samples",
            over="k",
            percent=True,
        )
        for summary in summaries
        if (curve := summary.get("curve"))
    ]


def _difficulty(part: _Part, summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a table for each trait: its groups down, and in each all checkpoints."""
    by = [
        summary.get("by", {})
        for summary in summaries
        if (summary["task"], summary["mode"]) == (part.task, part.mode)
    ]
    names = dict.fromkeys(name for traits in by for name in traits)
    return {
        "title": part.title,
        "legend": colours(
            (name, number) for number, name in enumerate(part.names) if len(part.names) > 1
        ),
        "tables": [_by(name, by) for name in names],
    }


def _by(name: str, by: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    groups = [{g["group"]: g for g in traits.get(name, {}).get("groups", ())} for traits in by]
    rows: list[list[object]] = []
    for group in dict.fromkeys(group for found in groups for group in found):
        count = max(found[group]["questions"] for found in groups if group in found)
        cells = [
            _share_cells(found[group], colour) if group in found else ("–", "")
            for colour, found in enumerate(groups)
        ]
        rows.append([group, f"{count:,}", *(_stacked(column) for column in zip(*cells))])
    means = [_mean(traits[name]) if name in traits else "–" for traits in by]
    rows.append(["mean of groups", "", _stacked(means), ""])
    headers = (name, "questions", "accuracy", "")
    return {"title": _BY.get(name, name), "headers": headers, "rows": rows}


def _mean(found: Mapping[str, Any]) -> str:
    low, high = 100 * found["mean_low"], 100 * found["mean_high"]
    return f"{found['mean']:.1%} {low:.1f}–{high:.1f}"


def _stacked(cells: Sequence[object]) -> Markup:
    lines = Markup("").join(Markup("<div>{}</div>").format(cell) for cell in cells)
    return Markup('<div class="stacked">{}</div>').format(lines)


def _known(known: Sequence[Mapping[str, Any]]) -> list[list[object]]:
    return [
        [
            k["task"], k["training_set"], f"{k['questions']:,}", f"{k['found']:,}",
            *(f"{k['kinds'].get(kind, 0):,}" for kind in ("same", "part", "run")),
        ]
        for k in known
    ]  # fmt: skip


def _comparison(comparison: Mapping[str, Any], part: _Part) -> dict[str, Any]:
    names = [comparison[name] for name in ("first", "second")]
    p, change = comparison["p_value"], comparison["difference"]
    note = f"{comparison['fixed']:,} questions newly right, {comparison['broken']:,} newly wrong"
    if change is not None:
        low, high = comparison["difference_low"], comparison["difference_high"]
        note += f"; accuracy {change:+.1%} ({low:+.1%} to {high:+.1%}), McNemar p = {p:.3g}"
    lists = [
        {"title": f"{title}: {len(ids):,}", "questions": [part.block(name, names) for name in ids]}
        for title, ids in (
            ("Newly broken", comparison["newly_broken"]),
            ("Newly solved", comparison["newly_right"]),
        )
        if ids
    ]
    title = f"{part.title}: {names[0]} → {names[1]}"
    return {"title": title, "note": f"{note}.", "lists": lists, "names": names}


_MARGINS = {
    "greedy": "the geometric mean probability of the written tokens, negative where wrong",
    "rank": "the right option's log-probability less the best other one's",
    "self_consistency": "the share of right samples less that of the most frequent wrong answer",
}
