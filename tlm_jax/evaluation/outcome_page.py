"""One self-contained page on an evaluation: scores, curves, comparisons, readable samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlm_jax.evaluation import report_assets
from tlm_jax.evaluation.outcomes import Outcome, Question, Sample
from tlm_jax.evaluation.report_chart import Series, interval_bar, line_chart
from tlm_jax.evaluation.report_marks import marked_answer
from tlm_jax.html import Html, details, element, escape, join, page, section, table

_MOST_BROKEN = 30
_SAMPLES_A_QUESTION = 8


def render(
    outcomes: Sequence[Outcome],
    summaries: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
    *,
    show_questions: int,
) -> str:
    """Returns the page as HTML; whatever a model wrote is shown as text.

    Args:
      outcomes: all of them.
      summaries: `Outcome.summary` of each, in the same order.
      comparisons: of `outcomes.compared`.
      known: test questions found in training sets, a dict for each task and set.
      show_questions: how many of each outcome can be read.
    """
    by_key = {(o.checkpoint, o.task, o.mode): o for o in outcomes}
    return page(
        "Evaluation",
        _scores(summaries),
        _curves(summaries),
        _known(known),
        *(_comparison(c, by_key) for c in comparisons),
        *(_questions(outcome, show_questions) for outcome in outcomes),
        subtitle="Intervals hold 95 %: Wilson's for accuracies, bootstrap over questions for "
        "curves and differences.",
        style=report_assets.STYLE + _STYLE,
    )


def _scores(summaries: Sequence[Mapping[str, Any]]) -> Html:
    headers = ["checkpoint", "task", "mode", "right", "accuracy", "95% interval", "", "no answer"]
    return section("Scores", table(headers, map(_score_row, summaries), numeric=(3, 4, 5, 7)))


def _score_row(summary: Mapping[str, Any]) -> list[object]:
    start = [summary[name] for name in ("checkpoint", "task", "mode")]
    if summary["accuracy"] is None:
        return [*start, "–", "–", "–", "", "–"]
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    return [
        *start,
        f"{summary['right']:,} of {summary['questions']:,}",
        element("b", f"{summary['accuracy']:.1%}"),
        f"{low:.1%} to {high:.1%}",
        interval_bar(summary["accuracy"], low, high),
        f"{summary['unparsable_share']:.1%}",
    ]


def _curves(summaries: Sequence[Mapping[str, Any]]) -> Html | None:
    charts = [
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
            percent=True,
        )
        for summary in summaries
        if (curve := summary.get("curve"))
    ]
    if not charts:
        return None
    return section(
        "Majority and any of k samples",
        element("div", *charts, class_="charts"),
        note="Expected accuracy of the majority of k samples, and the chance that one is right.",
    )


def _known(known: Sequence[Mapping[str, Any]]) -> Html | None:
    if not known:
        return None
    headers = ["task", "training set", "questions", "found there", "same", "part", "13-word run"]
    rows = [
        [
            k["task"], k["training_set"], f"{k['questions']:,}", f"{k['found']:,}",
            *(f"{k['kinds'].get(kind, 0):,}" for kind in ("same", "part", "run")),
        ]
        for k in known
    ]  # fmt: skip
    return section("Test questions in training sets", table(headers, rows, numeric=range(2, 7)))


def _comparison(
    comparison: Mapping[str, Any], by_key: Mapping[tuple[str, str, str], Outcome]
) -> Html:
    names = [comparison[name] for name in ("first", "second")]
    sides = [by_key[(name, comparison["task"], comparison["mode"])] for name in names]
    first, second = ({q.id: q for q in side.questions} for side in sides)
    broken = comparison["newly_broken"]
    pairs = [
        element("div", _card(first[i], names[0]), _card(second[i], names[1]), class_="pair")
        for i in broken[:_MOST_BROKEN]
    ]
    p, change = comparison["p_value"], comparison["difference"]
    note = f"{comparison['fixed']:,} questions newly right, {comparison['broken']:,} newly wrong"
    if change is not None:
        low, high = comparison["difference_low"], comparison["difference_high"]
        note += f"; accuracy {change:+.1%} ({low:+.1%} to {high:+.1%}), McNemar p = {p:.3g}"
    return section(
        f"{comparison['task']}, {comparison['mode']}: {names[0]} → {names[1]}",
        details(f"Newly broken: {len(pairs)} of {len(broken)}", *pairs) if pairs else None,
        note=note + ".",
    )


def _questions(outcome: Outcome, show: int) -> Html:
    wrong = [q for q in outcome.questions if not q.right]
    right = [q for q in outcome.questions if q.right]
    shown = [*wrong[: show - show // 3], *right[: show // 3 or 1]]
    cards = [_card(question, outcome.checkpoint) for question in shown]
    return section(
        f"{outcome.task}, {outcome.mode}, {outcome.checkpoint}",
        details(f"{len(cards)} questions, wrong ones first", *cards),
    )


def _card(question: Question, checkpoint: str) -> Html:
    verdict, kind = ("✓ right", "good") if question.right else ("✗ wrong", "bad")
    answer = "no answer" if question.answer is None else question.answer
    facts = [checkpoint, f"answer {answer}", f"right answer {question.gold}", question.id]
    more = len(question.samples) - _SAMPLES_A_QUESTION
    return element(
        "article",
        element("header", element("b", verdict, class_=kind), " ", join(map(escape, facts), " · ")),
        element("pre", question.prompt, class_="prompt"),
        *(_sample(sample) for sample in question.samples[:_SAMPLES_A_QUESTION]),
        element("p", f"and {more} more samples", class_="note") if more > 0 else None,
        class_="card",
    )


def _sample(sample: Sample) -> Html:
    cut = "" if sample.finished else " [cut at the length limit]"
    return element("pre", marked_answer(sample.text, sample.extracted), cut, class_="sample")


_STYLE = """
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
.card header { color: var(--soft); font-size: 13px; margin-bottom: 8px; overflow-wrap: anywhere; }
.prompt { color: var(--muted); border-left: 3px solid var(--grid); padding-left: 10px;
  max-height: 14em; overflow-y: auto; margin-bottom: 8px; }
.sample { border-top: 1px solid var(--grid); padding-top: 6px; margin-top: 6px; }
"""
