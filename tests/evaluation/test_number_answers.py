"""The number that a text gives as its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.evaluation.number_answers import extract_number, whole_number


def same(found, number):
    return found == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("He has 3 * 4 = 12 pens.\nThe answer is 12", 12),
        ("The answer is 5. No, the answer is 7.", 7),
        ("THE ANSWER IS: $1,250.50.", 1250.5),
        ("the answer is -3 degrees", -3),
        ("The answer is 3 boxes of 4", 3),
        ("The answer is 3 + 4 = 7 apples", 7),
        ("The answer is x = 5", 5),
        ("The answer is 48 / 2", 24),
        ("The answer is 48 / 2 dollars", 24),
        ("The answer is 3/4.", 0.75),
        ("The answer is 1 1/2 cups", 1.5),
        ("The answer is 50%", 50),
        ("The answer is **42**", 42),
        ("The answer is:\n\n42 apples", 42),
        ("work 1\n#### 1,234", 1234),
        ("#### -7", -7),
        ("a b 3\n#### ", None),
        ("There are 12. The answer is twelve.", None),
        ("The answer is 1e999", None),
        ("The answer is 2/0", None),
        ("So 3 + 4 = 7.", 7),
        ("She spends $1,000", 1000),
        ("", None),
        ("nothing here", None),
        ("A: 26", 26),
        ("The answer is 9**9**9", None),
        ("The answer is (((((1", 1),
    ],
)
def test_numbers(text, number):
    assert same(extract_number(text), number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("<think>the answer is 41</think> \\boxed{42}", 42),
        ("So \\boxed{42} apples in 7 boxes.", 42),
        ("18 (check: 18/2=9)", 18),
        ("<think>the answer is 41, so", None),
        ("the answer is 41</think> It is 42.", 42),
        ("The answer is 10-15.", None),
        ("10-15", None),
        ("1.5 million", 1500000.0),
        ("1 000", 1000),
        ("½", 0.5),
        ("–5", -5),
        ("3,4", 3.4),
        ("3 × 10^5", 300000.0),
        ("The answer is \\frac{3}{4}.", 0.75),
        ("\\boxed{\\dfrac{3}{4}}", 0.75),
        ("The answer is $\\frac{1}{2}$.", 0.5),
        ("The answer is 1\\frac{1}{4}.", 1.25),
        ("The final answer is 42. Note that 2 were lost.", 42),
        ("The correct answer is 42; 3 are wrong", 42),
        ("**Final Answer**\n\n42\n\nI used 2 steps.", 42),
        ("Final Answer: 42 of 50", 42),
        ("### Final Answer\n42", 42),
        ("<answer>42</answer>", 42),
        ("<answer> The answer is 42 </answer> 7", 42),
        ("3 + 4 = 7\n\nQ: How many are 4 + 5?\nA: The answer is 9", 7),
        ("The answer is \\boxed{42}, not 43.", 42),
        ("The answer is not 43 but 42.", 42),
        ("The answer is 42 because 50-8=42, and 3+4=7.", 42),
        ("The answer is 42 (50-8=42; 3+4=7).", 42),
        ("The answer is 3:30.", None),
        ("The answer is 3:30 pm", None),
        ("It is due on 2024-05-12", None),
        ("The answer is May 12, 2024", None),
        ("The answer is 5 dollars and 30 cents.", 5.3),
        ("The answer is 2 hours and 30 minutes.", None),
        ("The answer is 2 hours.", 2),
        ("The answer is 3 or 4.", None),
        ("The answer is 0.5 or 1/2.", 0.5),
        ("The answer is 5€.", 5),
        ("The answer is 5 €.", 5),
        ("The answer is 1.234,56 €.", 1234.56),
        ("The answer is 2\\sqrt{3}", None),
        ("\\boxed{2\\sqrt{3}}", None),
        ("\\boxed{12\\pi}", None),
        ("The answer is 3x.", None),
        ("The answer is x = 3, y = 4", None),
        ("The answer is (3, 4).", None),
        ("The answer is 12%.", 12),
        ("The answer is 12\\%.", 12),
        ("The answer is Rs. 500.", 500),
        ("The answer is approx. 3.5", 3.5),
        ("The answer is about 42.", 42),
        ("The answer is $3.50.", 3.5),
        ("The answer is US$5 million.", 5000000.0),
        ("The answer is $5k.", 5000),
        ("Answer: 18 dollars", 18),
        ("Answer: 3 pens and 4 pens make 7 pens.", 7),
        ("Answer: Mia has 3 pens. She buys 4. In all she has 7.", 7),
        ("Answer:\nStep 1: 3 + 4 = 7\nStep 2: done", 7),
        ("1. We add 3 + 4 = 7\n2. So done.", 7),
        ("The total is 18.\nCheck: 18/2 = 9", 18),
        ("The total is 18. Check: 18/2 = 9.", 18),
        ("The answer is 3 moles of CO2", 3),
        ("3 moles of CO2", 3),
        ("#### Step 1: Add\n3+4=7\nSo 7 pens.", 7),
        ("The answer is 18<|endoftext|>The answer is 5", 18),
        ("18 apples.<|im_end|>\n<|im_start|>user\nWhat is 5+6?", 18),
        ("The answer is 6.02 x 10^23.", 6.02e23),
        ("The answer is 3*10^{-2}.", 0.03),
        ("The answer is 2^5.", 32),
        ("The answer is 1,00,000.", 100000.0),
        ("The answer is 1e-3", 0.001),
        ("The answer is \\$1{,}234.50", 1234.5),
        ("The answer is minus 3", -3),
        ("The answer is - 3", -3),
        ("The answer is -\\frac{1}{2}", -0.5),
        ("The answer is 2 and a half cups", 2.5),
        ("The answer is 42!", 42),
        ("The answer is 5 apples + 3 apples = 8 apples", 8),
        ("The answer is 5 apples + 3 apples", 8),
        ("The answer is 12.", 12),
        ("The answer is 12.0.", 12),
        ("The answer is therefore 12 apples", 12),
        ("The answer is (2+3)*4", 20),
        ("The answer is 3 times 14", 42),
        ("The answer is 18 (9 * 2 = 18).", 18),
        ("The answer is [18]", 18),
        ("The answer is `18`.", 18),
        ("The answer is ４２.", 42),
        ("Answer = 42", 42),
        ("So the answer would be 42 apples.", 42),
        ("La respuesta es 42.", 42),
        ("答案是42。", 42),
        ("\\[ \\boxed{42} \\]\nThis took 3 steps.", 42),
        ("The answer is 0,5.", 0.5),
        ("The answer is 5 - 3", 2),
        ("#### 18\n\nMia has 3 pens and buys 4. How many pens has she?\n3+4=7\n#### 7", 18),
        ("The answer is 1/3 ≈ 0.333", 0.3333333333333333),
        ("The answer is 24/7.", 3.4285714285714284),
        ("The answer is 25 km/h.", 25),
        ("The answer is 5 m^2.", 5),
        ("The answer is 5 m².", 5),
        ("The answer is 10 cm^3", 10),
        ("The answer is 100,000,000", 100000000.0),
        ("Question 1: How many? Answer 1: 3.\nQuestion 2: In all? Answer 2: 7. The answer is 7", 7),
        ("Human: and 5+6?\nAssistant: 11", 11),
        ("The answer is 3.5 hours (210 minutes)", 3.5),
        ("The answer is 4 quarters, or $1.", 4),
    ],
)
def test_answers_among_other_numbers(text, number):
    assert same(extract_number(text), number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("18", 18), ("$18", 18), ("1,234", 1234), ("50%", 50), ("1/3", 1 / 3), ("½", 0.5)),
        *(("\\frac{3}{4}", 0.75), ("$\\frac{3}{4}$", 0.75), ("3 * 6", 18), ("–5", -5)),
        *(("five", None), ("5 apples", None), ("3:30", None), ("10-15", None), ("1e999", None)),
    ],
)
def test_whole_numbers(text, number):
    assert same(whole_number(text), number)


@given(
    st.integers(-(10**9), 10**9),
    st.sampled_from(["", "$", "€"]),
    st.sampled_from(["", ".", " apples.", "%", " dollars", ".00"]),
)
def test_a_number_is_read_whatever_stands_round_it(number, currency, behind):
    text = f"Some 17 steps.\nThe answer is {currency}{number:,}{behind}"
    assert extract_number(text) == number
