"""The option that a text chooses."""

import pytest

from tlm_jax.evaluation.choice_answers import extract_choice

OPTIONS = ("bank", "the new library", "mall", "bank robber", "A")
COLOURS = ("red", "green", "blue", "grey", "pink")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (B)", "B"),
        ("the answer is (c).", "C"),
        ("It is not (A). The answer is (B), not (C).", "B"),
        ("Therefore, the answer is mall (c).", "C"),
        ("(A) is wrong, so it is (D)", "D"),
        ("The answer is C", "C"),
        ("The answer is C.", "C"),
        ("The answer is c", "C"),
        ("The answer is C) mall", "C"),
        ("The answer is option D", "D"),
        ("Some thought.\nD", "D"),
        ("(c).", "C"),
        ("The answer is mall", "C"),
        ("The answer is The New Library.", "B"),
        ("The answer is a bank", None),
        ("The answer is (F)", None),
        ("The answer is", None),
        ("I do not know", None),
        ("", None),
    ],
)
def test_choices(text, letter):
    assert extract_choice(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("It must be (B).\n\nOptions: (A) red (B) green (C) blue (D) grey (E) pink", "B"),
        ("(A) red (B) green (C) blue (D) grey (E) pink", None),
        ("A. red\nB. green\nC. blue\nD. grey\nE. pink", None),
        ("Let us see: (A) red, (B) green, (C) blue, (D) grey, (E) pink. The sky is (C).", "C"),
        ("The answer is one of (A) red (B) green (C) blue (D) grey (E) pink", None),
        ("The answer is (B) or (C).", None),
        ("The answer is B or C.", None),
        ("Both A and B", None),
        ("<think>(A)</think> (B)", "B"),
        ("<think>the answer is (A)", None),
        ("The answer is (B).\n\nQ: Which? (A) x (B) y\nA: The answer is (A).", "B"),
        ("(B)\n\nQuestion: Which one?\n(A)", "B"),
        ("The answer is **B**.", "B"),
        ("B is correct.", "B"),
        ("Option B is the right one", "B"),
        ("I would choose B", "B"),
        ("The answer is B because A is wrong.", "B"),
        ("The correct option is $\\mathbf{(B)}$", "B"),
        ("\\boxed{\\text{(B) green}}", "B"),
        ("\\boxed{green}", "B"),
        ("<answer>B</answer>", "B"),
        ("**Final Answer**\n\nB", "B"),
        ("Answer: B", "B"),
        ("Answer:\nB) green", "B"),
        ("答案：B", "B"),
        ("The answer is （B）。", "B"),
        ("The answer is green, because red is not.", "B"),
        ("(A) is out. (B) is out. So (C).", "C"),
        ("The best answer is B: green.", "B"),
        ("The final answer is (B)", "B"),
        ("The answer is not A but B.", "B"),
        ("The answer is not (A) but (B).", "B"),
        ("The answer is not (A), it is (B).", "B"),
        ("Not A but B.", "B"),
        ("It's B", "B"),
        ("I think it's B.", "B"),
        ("My choice is B", "B"),
        ("So B.", "B"),
        ("(B) is the correct answer because (A) is red.", "B"),
        ("The answer seems to be B.", "B"),
        ("B\n\nExplanation: (A) is red.", "B"),
        ("<think>x</think><answer>The answer is B</answer>", "B"),
        ("The answer is Ｂ.", "B"),
        ("故选：B。", "B"),
        ("La respuesta correcta es B.", "B"),
        ("La bonne réponse est B.", "B"),
        ("Die richtige Antwort ist B.", "B"),
        ("```\nB\n```", "B"),
        ("The answer is most likely B.", "B"),
        ("A is wrong. B is correct. C is wrong.", "B"),
        ("Option A is incorrect. Option B is correct.", "B"),
        ("I would pick B — a safe choice.", "B"),
        ("We eliminate A, C, D, E. So B remains.", "B"),
        ('{"answer": "B", "confidence": 0.9}', "B"),
        ("A is not correct.", None),
        ("\\boxed{A} \\text{ and } \\boxed{C}", None),
        ("The answer is not B.", None),
    ],
)
def test_choices_among_other_letters(text, letter):
    assert extract_choice(text, COLOURS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("(B)\n\n(A) red (B) green (C) blue", "B"),
        ("A. red\nB. green\nC. blue\nD. grey", None),
        ("(A) is wrong, (B) is wrong, so (C)", "C"),
        ("The answer is (D)", "D"),
    ],
)
def test_choices_where_options_are_not_known(text, letter):
    assert extract_choice(text, ()) == letter
