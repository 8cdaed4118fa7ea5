"""Draws heat maps as one self-contained HTML page; all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlm_jax.reports.heat_map import HeatMap, StepView
from tlm_jax.reports.heat_map_terminal import percentage
from tlm_jax.reports.html import Html, details, element, page, table, tiles

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
    # Outside the cards, so that one choice colours them all.
    choices = [
        element("input", type="radio", name_="measure", id=name, checked=place == 0, class_="pick")
        for place, (name, _, _) in enumerate(_MEASURES)
    ]
    labels = [element("label", label, for_=name, title=why) for name, label, why in _MEASURES]
    scale = element("span", "none", element("span", class_="ramp"), "full", class_="scale")
    bar = element(
        "div", element("span", "Colour shows", class_="note"), *labels, scale, class_="bar"
    )
    cards = [_card(place, heat) for place, heat in enumerate(maps)]
    body = element("div", *choices, bar, *cards, class_="maps")
    return page(title, tiles(facts), body, subtitle=subtitle, style=_STYLE)


def _card(place: int, heat: HeatMap) -> Html:
    tokens = [_token(place, number, step) for number, step in enumerate(heat.steps)]
    rows = [_row(place, number, step) for number, step in enumerate(heat.steps)]
    headers = ("step", "token", "id", "probability", "the teacher's candidates", "outside")
    listed = table(headers, rows, numeric=(0, 2, 3, 5))
    known = sum(not step.dropped for step in heat.steps)
    facts = f"{len(heat.steps)} tokens, {known} with a teacher"
    if not math.isnan(heat.mean_nll_nats):
        facts += f", {heat.mean_nll_nats:.3f} nats a token"
    return element(
        "div",
        element("h3", heat.example_id),
        element("p", f"{facts} · ", element("span", heat.key, class_="mono"), class_="note"),
        element("p", *tokens, class_="heat"),
        details("Every step", listed),
        class_="card",
    )


def _token(place: int, number: int, step: StepView) -> Html:
    likely = step.probability or 0.0
    others = ", ".join(f"{text!r} {share:.1%}" for text, share in step.candidates[:5])
    outside = f"; outside {step.tail:.1%}"
    title = f"step {number}: {step.text!r} {percentage(step)}"
    if not step.dropped:
        title += f"\n{others}{outside}\nentropy at least {step.entropy_nats:.2f} nats"
    surprise, entropy = 1 - likely, min(step.entropy_nats / _FULL_ENTROPY_NATS, 1)
    shown = step.text.replace("\n", "↵")
    token = element(
        "a",
        shown,
        class_="token dropped" if step.dropped else "token",
        href=f"#s{place}-{number}",
        title=title,
        style=None
        if step.dropped
        else f"--surprise:{surprise:.3f};--entropy:{entropy:.3f};--tail:{step.tail:.3f}",
    )
    # A line break in the text breaks the line here too.
    return element("span", token, element("br")) if step.text.endswith("\n") else token


def _row(place: int, number: int, step: StepView) -> tuple[object, ...]:
    bars = [
        element(
            "span",
            element("span", _visible(text), class_="mono"),
            element("span", f"{share:.1%}", class_="share"),
            class_="candidate scored" if text == step.text else "candidate",
            style=f"--share:{share:.4f}",
        )
        for text, share in step.candidates
    ]
    return (
        element("span", number, id=f"s{place}-{number}"),
        element("span", _visible(step.text), class_="mono piece"),
        step.token_id,
        percentage(step),
        element("div", *bars, class_="candidates"),
        "" if step.dropped else f"{step.tail:.2%}",
    )


def _visible(text: str) -> str:
    """Returns a piece with its blanks shown."""
    return text.replace("\n", "↵").replace(" ", "·")


_STYLE = """
.maps { margin-top: 24px; }
.pick { position: absolute; opacity: 0; pointer-events: none; }
.bar { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 0 0 14px; }
.bar .note { margin: 0 4px 0 0; }
.bar label { border: 1px solid var(--line); border-radius: 999px; padding: 3px 12px;
  cursor: pointer; background: var(--raised); font-size: 14px; }
#surprise:checked ~ .bar label[for=surprise], #entropy:checked ~ .bar label[for=entropy],
#tail:checked ~ .bar label[for=tail] { border-color: var(--ink); font-weight: 600; }
.pick:focus-visible ~ .bar { outline: 2px solid var(--series-1); outline-offset: 4px; }
.scale { margin-left: auto; color: var(--muted); font-size: 13px; display: flex; gap: 8px;
  align-items: center; }
.ramp { width: 120px; height: 10px; border-radius: 5px; border: 1px solid var(--line);
  background: linear-gradient(to right, transparent,
    color-mix(in srgb, var(--series-3) 75%, transparent)); }
.card h3 { margin: 0 0 2px; }
.heat { line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 16px; }
.token { --value: 0; color: inherit; text-decoration: none; border-radius: 3px; padding: 3px 0;
  background: color-mix(in srgb, var(--series-3) calc(var(--value) * 75%), transparent); }
.token:hover { outline: 2px solid var(--series-1); }
#surprise:checked ~ .card .token { --value: var(--surprise, 0); }
#entropy:checked ~ .card .token { --value: var(--entropy, 0); }
#tail:checked ~ .card .token { --value: var(--tail, 0); }
.dropped { color: var(--muted); text-decoration: line-through; }
.card details { margin: 0; }
.card details .scroll { border: 0; margin: 0; border-radius: 0; }
.piece { white-space: pre; }
.candidates { display: flex; flex-wrap: wrap; gap: 4px 6px; }
.candidate { border: 1px solid var(--line); border-radius: 4px; padding: 0 6px; white-space: pre;
  background: linear-gradient(to right, color-mix(in srgb, var(--series-1) 25%, transparent)
    calc(var(--share) * 100%), transparent 0); }
.candidate .share { color: var(--muted); font-size: 12px; margin-left: 6px; }
.scored { border-color: var(--ink); }
tr:has(:target) { background: color-mix(in srgb, var(--mark) 45%, transparent); }
"""
