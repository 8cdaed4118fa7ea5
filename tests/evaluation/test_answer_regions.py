"""Where an answer is looked for: no thoughts, one question at a time."""

import pytest

from tlm_jax.evaluation.answer_regions import regions


def test_a_region_knows_where_it_stands():
    text = "a<think>b</think>cd\nQ: e<think>f</think>g"
    first, second = regions(text)
    assert [text[first.place_in_output(i)] for i in range(len(first.text))] == [*"acd"]
    assert [text[second.place_in_output(i)] for i in range(len(second.text))] == [*" eg"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It is 4.", ["It is 4."]),
        ("", []),
        ("<think>a</think>b", ["b"]),
        ("a</think>b", ["b"]),
        ("<think>a", []),
        ("a<think>b</think>c<think>d", ["ac"]),
        ("<think>a<think>b</think>c</think>d", ["d"]),
        ("[THINK]a[/THINK]b", ["b"]),
        ("<|channel|>analysis<|message|>a<|channel|>final<|message|>b", ["b"]),
        ("4\n\nQ: 5?\nA: 6", ["4\n", " 5?\nA: 6"]),
        ("Question: 5?\nAnswer: 6", [" 5?\nAnswer: 6"]),
        ("4\n### Instruction\n5", ["4", "\n5"]),
        ("4<|im_end|>\n<|im_start|>user\n5", ["4", "\n5"]),
        ("4</s>5", ["4", "5"]),
        ("Question 1: a\nQuestion 2: b", ["Question 1: a\nQuestion 2: b"]),
        ("4\nQuestion 7: b", ["4", " b"]),
        ("#### 4\nHow many then?\n#### 5", ["#### 4", "How many then?\n#### 5"]),
        ("#### 4\nThat is all.", ["#### 4\nThat is all."]),
        (
            "The answer is 4.\n\nTom has 5 pens. How many has he?\n5",
            ["The answer is 4.", "Tom has 5 pens. How many has he?\n5"],
        ),
        (
            "The answer is 4.\nWait, it has 5 pens. How many?",
            ["The answer is 4.\nWait, it has 5 pens. How many?"],
        ),
        ("The answer is 4.\nIs it? Yes.", ["The answer is 4.\nIs it? Yes."]),
        ("She sells 9.\nTom has 5. How many?", ["She sells 9.\nTom has 5. How many?"]),
        ("The problem: none", ["The problem: none"]),
        ("<scratchpad>a</scratchpad>b", ["b"]),
        ('<think mode="deep">a</think>b', ["b"]),
        ("< think >a</ think >b", ["b"]),
        ("<|think|>a<|/think|>b", ["b"]),
        ("<think>marks: <think> <reasoning></think>b", ["b"]),
        ("<think>a</thinking>b", ["b"]),
    ],
)
def test_regions(text, parts):
    assert [region.text for region in regions(text)] == parts
