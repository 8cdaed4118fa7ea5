"""Draws heat maps as one self-contained HTML page; all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from tlm_jax.reports.heat_map import HeatMap, StepView
from tlm_jax.reports.heat_map_terminal import percentage
from tlm_jax.reports.templating import printable, render, render_page

_MEASURES = (
    ("surprise", "surprise", "how improbable the token is: 1 less its probability"),
    ("entropy", "entropy", "how undecided the teacher is; full colour at 3 nats"),
    ("tail", "mass outside", "what the candidates do not hold"),
)
_FULL_ENTROPY_NATS = 3.0


def document(
    maps: Sequence[HeatMap], title: str, subtitle: str, facts: Sequence[tuple[str, object, str]]
) -> str:
    """Returns the page: facts of the cache, then a card for each text."""
    return render_page(
        "heat_map.html",
        title=title,
        subtitle=subtitle,
        styles=("heat_map.css",),
        scripts=(),
        facts=facts,
        measures=[{"name": name, "label": label, "why": why} for name, label, why in _MEASURES],
        cards=[_card(place, heat) for place, heat in enumerate(maps)],
    )


def _card(place: int, heat: HeatMap) -> dict[str, object]:
    known = sum(not step.dropped for step in heat.steps)
    facts = f"{len(heat.steps)} tokens, {known} with a teacher"
    if not math.isnan(heat.mean_nll_nats):
        facts += f", {heat.mean_nll_nats:.3f} nats a token"
    return {
        "example_id": heat.example_id,
        "key": heat.key,
        "facts": facts,
        "tokens": [_token(f"s{place}-{n}", n, step) for n, step in enumerate(heat.steps)],
        "rows": [_row(f"s{place}-{n}", n, step) for n, step in enumerate(heat.steps)],
    }


def _token(target: str, number: int, step: StepView) -> dict[str, object]:
    likely = step.probability or 0.0
    others = ", ".join(f"{text!r} {share:.1%}" for text, share in step.candidates[:5])
    title = f"step {number}: {step.text!r} {percentage(step)}"
    if not step.dropped:
        entropy = f"entropy at least {step.entropy_nats:.2f} nats"
        title += f"\n{others}; outside {step.tail:.1%}\n{entropy}"
    surprise, entropy = 1 - likely, min(step.entropy_nats / _FULL_ENTROPY_NATS, 1)
    colours = f"--surprise:{surprise:.3f};--entropy:{entropy:.3f};--tail:{step.tail:.3f}"
    return {
        "target": target,
        "text": step.text.replace("\n", "↵"),
        "title": title,
        "style": None if step.dropped else colours,
        "dropped": step.dropped,
        "breaks": step.text.endswith("\n"),
    }


def _row(target: str, number: int, step: StepView) -> tuple[object, ...]:
    candidates = [
        {
            "text": _visible(text),
            "scored": text == step.text,
            "share": f"{share:.4f}",
            "percent": f"{share:.1%}",
        }
        for text, share in step.candidates
    ]
    piece = printable(_visible(step.text))
    return (
        Markup('<span id="{}">{}</span>').format(target, number),
        Markup('<span class="mono piece">{}</span>').format(piece),
        step.token_id,
        percentage(step),
        render("candidates.html", candidates=candidates),
        "" if step.dropped else f"{step.tail:.2%}",
    )


def _visible(text: str) -> str:
    """Returns a piece with its blanks shown."""
    return text.replace("\n", "↵").replace(" ", "·")
