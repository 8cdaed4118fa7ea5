"""Small inputs rebuilt from public bug reports: every verdict is the one that is expected."""

import json

import pytest

from tlm_jax.evaluation.grading import grade
from tlm_jax.evaluation.rules.registry import rule_by_name


@pytest.mark.parametrize(
    ("case", "rule"),
    [
        ("01-numeric-separators", "numeric"),
        ("04-numeric-run-on", "numeric"),
        ("05-numeric-signs", "numeric"),
        ("06-numeric-answer-line", "numeric"),
        ("08-math-false-positives", "math"),
        ("09-math-markdown-mixed", "math"),
        ("11-choice-boxed", "choice"),
        ("16-math-boxes", "math"),
    ],
)
def test_every_line_has_the_verdict_expected(shared_dir, case, rule):
    lines = (shared_dir / "cases" / case / "in.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        assert rule_by_name(rule).read_gold(row["gold"], row.get("options")) is not None
        graded = grade(rule, row["pred"], row["gold"], row.get("options"))
        assert graded.correct == row["expect"], (row, graded)
