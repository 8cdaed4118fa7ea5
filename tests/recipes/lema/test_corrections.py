"""Answers of correctors are read line by line; each that cannot be used has its reason."""

from __future__ import annotations

import pytest

from tlm_jax.data.records import read_json_lines
from tlm_jax.recipes.lema import corrections
from tlm_jax.recipes.lema.corrections import Correction, read_answer, read_steps
from tlm_jax.recipes.lema.paths import steps_of

PATH = ("She has 5 + 4 = 8.", "She eats 2, so 8 - 2 = 6.", "The answer is 6.")
RIGHT = "Step 2: She eats 2, so 9 - 2 = 7.\nStep 3: The answer is 7."


def answer(
    step: str = " Step 1.", explanation: str = "5 + 4 is 9.", solution: str | None = None
) -> str:
    solution = solution or f"{{\nStep 1: She has 5 + 4 = 9.\n{RIGHT}\n}}"
    return f"{step}\nExplanation: {explanation}\nCorrect Solution:\n{solution}"


def test_the_three_fields_are_read():
    assert read_steps(answer(), PATH) == Correction(
        1,
        "5 + 4 is 9.",
        ("She has 5 + 4 = 9.", "She eats 2, so 9 - 2 = 7.", "The answer is 7."),
    )
    found = read_steps(answer(" Step 2.", solution=f"{{\n...\n{RIGHT}\n}}"), PATH)
    assert found.step == 2
    # A full chain of thought: the untouched steps, then the corrected ones.
    assert found.chain(PATH) == (PATH[0], "She eats 2, so 9 - 2 = 7.", "The answer is 7.")


@pytest.mark.parametrize(
    "text",
    [
        answer() + "\n\nQuestion: another\nOriginal Solution:\n{\nStep 1: x\n}",
        "Incorrect Step:" + answer(),
        answer(solution=None).replace("Correct Solution:\n{", "Correct Solution: {"),
        answer().removesuffix("\n}"),  # ended by a stop text
        answer(explanation="5 + 4\nis 9."),
    ],
)
def test_what_is_read_all_the_same(text):
    assert read_steps(text, PATH) == read_steps(answer(), PATH)


def test_untouched_steps_that_are_written_out_are_no_corrected_ones():
    written = answer(" Step 2.", solution=f"{{\nStep 1: {PATH[0]}\n{RIGHT}\n}}")
    assert read_steps(written, PATH).steps == ("She eats 2, so 9 - 2 = 7.", "The answer is 7.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\nExplanation: 5 + 4 is 9.\nCorrect Solution:\n{\n}", corrections.NO_STEP),
        (answer(" Steps 2 and 3."), corrections.UNREADABLE_STEP),
        (answer(" Step 2 and Step 3."), corrections.UNREADABLE_STEP),
        (answer(" Step two."), corrections.UNREADABLE_STEP),
        (answer(" None, all steps are right."), corrections.UNREADABLE_STEP),
        (answer(" Step 4."), corrections.STEP_BEYOND),
        (answer(" Step 0."), corrections.STEP_BEYOND),
        (" Step 1.", corrections.NO_EXPLANATION),
        (answer(explanation=""), corrections.NO_EXPLANATION),
        (" Step 1.\nCorrect Solution:\n{\nStep 1: x\n}", corrections.NO_EXPLANATION),
        (" Step 1.\nExplanation: 5 + 4 is 9.", corrections.NO_SOLUTION),
        (answer(solution="{\n...\n}"), corrections.NO_SOLUTION),
        (answer(solution=RIGHT), corrections.NOT_IN_BRACES),
        (answer(" Step 1.", solution=f"{{\n...\n{RIGHT}\n}}"), corrections.NOT_CONTINUING),
        (
            answer(solution="{\nStep 1: 5 + 4 = 9.\nStep 3: The answer is 9.\n}"),
            corrections.NOT_CONTINUING,
        ),
        (answer(solution="{\nShe has 9.\nThe answer is 9.\n}"), corrections.NOT_CONTINUING),
        (answer(solution="{\nStep 1: She has 5 + 4 = 9.\n}"), corrections.NO_ANSWER),
        (answer(solution="{\nStep 1: She has 5 +"), corrections.CUT_OFF),
        (
            answer(" Step 2.", solution=f"{{\n...\nStep 2: {PATH[1]}\nStep 3: {PATH[2]}\n}}"),
            corrections.REPEATS,
        ),
        ("The solution is wrong: she has 9 apples,\nnot 8, and eats two.", corrections.PROSE),
    ],
)
def test_what_cannot_be_used_has_its_reason(text, reason):
    assert read_steps(text, PATH) == reason


def test_braces_within_latex_are_text():
    path = (r"We have \[x = \begin{cases} 1\\ 2 \end{cases}\]", "The answer is 1.")
    solution = (
        "{\n...\nStep 2: So \\[\n\\frac{\n1\n}\nStep 3: and $\\boxed{\\frac{1}{2}}$.\n"
        "Step 4: The answer is \\frac{1}{2}.\n}"
    )
    found = read_steps(answer(" Step 2.", "It is not { nor }.", solution), path)
    assert found.explanation == "It is not { nor }."
    assert found.steps == (
        "So \\[\n\\frac{\n1\n}",
        r"and $\boxed{\frac{1}{2}}$.",
        r"The answer is \frac{1}{2}.",
    )


CHOICE_PATH = ("Explanations:", "Floor - no.", "Reasons and Final Answer:", "The answer is floor.")
CORRECTED = (
    "{\nExplanations:\nFloor - no.\nReasons and Final Answer:\nSo.\nThe answer is trouble.\n}"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f" Trouble is apt.\nCorrected Answer:\n{CORRECTED}",
            Correction(None, "Trouble is apt.", tuple(CORRECTED.split("\n")[1:-1])),
        ),
        (" It is all wrong, I say.", corrections.PROSE),
        ("\nCorrected Answer:\n{\n}", corrections.NO_EXPLANATION),
        (" No.\nCorrected Answer:\n{\nThe answer is floor.\n}", corrections.NO_PARTS),
        (" No.\nCorrected Answer:\nThe answer is floor.", corrections.NOT_IN_BRACES),
        (
            " No.\nCorrected Answer:\n{\n" + "\n".join(CHOICE_PATH) + "\n}",
            corrections.REPEATS,
        ),
    ],
)
def test_answers_with_candidates(text, expected):
    assert read_answer(text, CHOICE_PATH) == expected


def test_all_published_demonstrations_are_read(shared_dir):
    count = 0
    for _, row in read_json_lines(shared_dir / "data/lema_correction_prompts.jsonl.gz"):
        for one in row["demonstrations"]:
            original = one["original"].strip("{}\n")
            if row["task"] == "csqa":
                path = tuple(original.split("\n"))
                text = f" {one['explanation']}\nCorrected Answer:\n{one['corrected']}"
                found = read_answer(text, path)
            else:
                path = steps_of(original)
                text = (
                    f" {one['incorrect_step']}\nExplanation: {one['explanation']}\n"
                    f"Correct Solution:\n{one['corrected']}"
                )
                found = read_steps(text, path)
                assert f"Step {found.step}." == one["incorrect_step"]
            assert isinstance(found, Correction), (row["task"], found)
            count += 1
    assert count == 12
