"""The extracted answer is marked where the model wrote it."""

import pytest

from tlm_jax.evaluation.grading import extract
from tlm_jax.reports.marks import answer_span, marked_answer


@pytest.mark.parametrize(
    ("kind", "text", "place"),
    [
        ("numeric", "3 + 4 = 7. The answer is [7].", "7"),
        ("numeric", "7 and 7 and [7]", "7"),
        ("numeric", "The answer is [$1,000] of 1000.", "$1,000"),
        ("numeric", "17 is not it. The answer is [17], not 17.5.", "17"),
        ("numeric", "It was 17.5, or 170, or 17 (no). #### [-3]", "-3"),
        ("numeric", "The answer is [3/4].", "3/4"),
        ("numeric", "The answer is [48 / 2 apples.]", "48 / 2 apples."),
        ("numeric", "Answer: Janet makes [18] dollars in 1 day, not 18.", "18"),
        ("numeric", "<think>the answer is 18</think> It is [18].", "18"),
        ("numeric", "So [18].\nQ: 9 + 9?\nThe answer is 18.", "18"),
        ("numeric", "The answer is [18].\n\nTom has 5 and 13. How many in all?\n#### 18", "18"),
        ("numeric", "It is 18, so \\boxed{[18]} of 18.", "18"),
        ("numeric", "The answer is the next one: \\boxed{[48/2]}", "48/2"),
        ("boolean", "Is it true? The answer is [True].", "True"),
        ("boolean", "No, wait. The answer is [yes].", "yes"),
        ("boolean", "The answer is [not true].", "not true"),
        ("choice", "A bank. The answer is [(b)].", "(b)"),
        ("choice", "A or B? The answer is [C].", "C"),
        ("text", "So the answer is [red, blue].", "red, blue"),
    ],
)
def test_places(kind, text, place):
    plain = text.replace("[", "").replace("]", "")
    extracted = extract(kind, plain, ("river", "bank", "tree"))
    assert extracted is not None
    start, end = answer_span(plain, extracted)
    assert plain[:start] + "[" + plain[start:end] + "]" + plain[end:] == text
    assert plain[start:end] == place


def test_nothing_to_mark():
    assert answer_span("no idea", None) is None
    assert answer_span("no idea", "7") is None
    assert answer_span("The answer is", "7") is None
    assert marked_answer("a < b", None) == "a &lt; b"


def test_text_and_mark_are_escaped():
    marked = marked_answer("<b>x</b> The answer is <i>&</i>", "<i>&</i>")
    assert marked == ("&lt;b&gt;x&lt;/b&gt; The answer is <mark>&lt;i&gt;&amp;&lt;/i&gt;</mark>")
