"""Solutions of any form become numbered steps."""

from __future__ import annotations

import pytest

from tlm_jax.data.records import read_json_lines
from tlm_jax.evaluation.grading import grade
from tlm_jax.recipes.lema.paths import is_answer, numbered, steps_of


@pytest.mark.parametrize(
    ("solution", "answer", "steps"),
    [
        (
            "She eats 3 + 4 = <<3+4=7>>7 eggs\nShe sells 16 - 7 = <<16-7=9>>9\nA: 9",
            "9",
            ("She eats 3 + 4 = 7 eggs", "She sells 16 - 7 = 9", "The answer is 9."),
        ),
        ("It is 2.\n\n#### 2", "2", ("It is 2.", "The answer is 2.")),
        (
            "Mr. Lee has $2.50. So he pays 2 * 3 = 6. The answer is 6.",
            "6",
            ("Mr. Lee has $2.50.", "So he pays 2 * 3 = 6.", "The answer is 6."),
        ),
        (
            "Let's think step by step.\nStep 1: a\nStep 3: b\nand more\nThe answer is $57.",
            "57",
            ("a", "b and more", "The answer is $57."),
        ),
        (
            "2 + 2 = 4\nSo the total is 4",
            "4",
            ("2 + 2 = 4", "So the total is 4", "The answer is 4."),
        ),
        (
            "2 + 2 = 4\nSo it is 4. The answer is 4",
            None,
            ("2 + 2 = 4", "So it is 4.", "The answer is 4."),
        ),
        (
            "We have\n\\[x =\n\\begin{cases}\n1\\\\\n2\n\\end{cases}\\]\n"
            "The answer is $\\frac{1}{2}$.",
            None,
            (
                "We have",
                "\\[x = \\begin{cases} 1\\\\ 2 \\end{cases}\\]",
                "The answer is $\\frac{1}{2}$.",
            ),
        ),
        ("The answer is 4.", "4", ("The answer is 4.",)),
        ("no idea", None, None),
    ],
)
def test_steps(solution, answer, steps):
    assert steps_of(solution, answer) == steps


def test_numbered_steps_are_read_back():
    steps = ("2 + 2 = 4", "The answer is 4.")
    assert numbered(steps) == "Step 1: 2 + 2 = 4\nStep 2: The answer is 4."
    assert steps_of(numbered(steps)) == steps
    assert numbered(steps, 3).startswith("Step 3: ")


def test_real_solutions_of_real_models(shared_dir):
    path = shared_dir / "data/gsm8k_model_solutions.jsonl.gz"
    count = wrong = unanswered = 0
    for _, row in read_json_lines(path):
        for one in row["meta"]["solutions"]:
            steps = steps_of(one["solution"])
            count += 1
            wrong += not one["is_correct"]
            if steps is None:
                unanswered += 1
                continue
            assert is_answer(steps[-1])
            assert len(steps) > 1
            assert steps_of(numbered(steps)) == steps
            assert grade("numeric", steps[-1], row["answer"]).correct == one["is_correct"]
    assert (count, wrong, unanswered) == (2640, 1632, 7)
