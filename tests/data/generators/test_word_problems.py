"""Word problems: rationales are checked by an evaluator that shares no code with the generator."""

import dataclasses
import itertools
import re
from collections import Counter

import pytest

from tlm_jax.data.generators import word_problems as module
from tlm_jax.data.generators.word_problems import (
    EASY,
    HELD_OUT,
    SCENARIOS,
    WordProblems,
    word_problem,
)
from tlm_jax.errors import UserError

SPLITS = ("train", "validation", "test", "ood")
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
SETTINGS = (WordProblems(), EASY, WordProblems(max_number=40, max_term=20, max_distractors=2))


def check_rationale(record):
    """Recalculates every step and checks that the last one is the answer."""
    lines = record.rationale.split("\n")
    results, stated = [], {int(n) for n in re.findall(r"\d+", record.question)}
    # Words that state a number: 'twice', 'double' and 'half'.
    stated |= {2}
    for line in lines:
        equations = EQUATION.findall(line)
        assert len(equations) == 1, line
        left, sign, right, result = equations[0]
        a, b, c = int(left), int(right), int(result)
        if sign == "/":
            assert a % b == 0, line
        assert {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign] == c, line
        # Every operand is in the question or was calculated before.
        assert a in stated | set(results), line
        assert b in stated | set(results), line
        assert line[0].isupper() or line[0].isdigit()
        assert line.endswith(".")
        results.append(c)
    assert str(results[-1]) == record.answer
    # Every result but the last is used later.
    for i, result in enumerate(results[:-1]):
        used = {
            int(n)
            for later in lines[i + 1 :]
            for m in EQUATION.findall(later)
            for n in (m[0], m[2])
        }
        assert result in used
    return len(lines)


@pytest.mark.parametrize("problems", SETTINGS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_rationale_holds_and_stays_within_the_settings(problems, split):
    steps = Counter()
    for index in range(60):
        record = word_problem(problems, split, index)
        count = check_rationale(record)
        assert problems.min_steps <= count <= problems.max_steps
        assert count == record.meta["num_steps"]
        steps[count] += 1
        numbers = re.findall(r"\d+", record.question + record.rationale)
        assert max(map(int, numbers)) <= problems.max_number
        assert "{" not in record.question + record.rationale
        assert "  " not in record.question
        assert record.question.endswith("?")
        assert record.question[0].isupper() or record.question[0].isdigit()
    assert set(steps) == set(range(problems.min_steps, problems.max_steps + 1))


def test_all_operations_scenarios_and_parts_occur():
    records = [word_problem(WordProblems(), "train", i) for i in range(2000)]
    signs = Counter(m[1] for r in records for m in EQUATION.findall(r.rationale))
    assert set(signs) == set("+-*/")
    assert min(signs.values()) > 200
    assert {r.meta["scenario"] for r in records} == {s.name for s in SCENARIOS}
    assert len(SCENARIOS) >= 10
    said = " ".join(r.rationale for r in records)
    for scenario in SCENARIOS:
        for part in (*scenario.openings, *scenario.events, *scenario.closings):
            for step in part.steps:
                fixed = re.split(r"\{\w+\}", step.sentence)
                assert max(fixed, key=len).strip() in said, (scenario.name, step.sentence)


def test_held_out_scenarios_are_in_the_ood_split_only():
    held_out = {s.name for s in HELD_OUT}
    assert not held_out & {s.name for s in SCENARIOS}
    ood = {word_problem(WordProblems(), "ood", i).meta["scenario"] for i in range(200)}
    assert ood == held_out
    for split in SPLITS[:3]:
        seen = {word_problem(WordProblems(), split, i).meta["scenario"] for i in range(200)}
        assert not seen & held_out


def test_splits_share_no_question_across_settings_and_seeds():
    small = {"max_steps": 2, "max_number": 20, "max_term": 6, "max_factor": 4}
    questions = {split: set() for split in SPLITS[:3]}
    for split, seed in itertools.product(SPLITS[:3], (0, 1)):
        for problems in (
            WordProblems(seed=seed, scenarios=("bus", "savings"), max_distractors=0, **small),
            dataclasses.replace(EASY, seed=seed),
        ):
            records = (word_problem(problems, split, index) for index in range(120))
            questions[split].update(record.question for record in records)
    for one, other in itertools.combinations(SPLITS[:3], 2):
        assert not questions[one] & questions[other]
    assert all(len(q) > 300 for q in questions.values())


def test_content_decides_the_split_whatever_the_words():
    by_content = {}
    for split in SPLITS[:3]:
        for index in range(250):
            problems = WordProblems(max_steps=2, max_number=20, max_term=5, max_factor=3)
            draws = module.Draws("word_problems", 0, split, index)
            content = repr(module._content(module._plan(problems, split, draws)))
            assert by_content.setdefault(content, split) == split


def test_distractors_add_numbers_that_no_step_uses():
    plain = WordProblems(max_distractors=0)
    rich = WordProblems(max_distractors=2)

    def spare(problems):
        total = 0
        for i in range(300):
            record = word_problem(problems, "train", i)
            stated = re.findall(r"\d+", record.question)
            used = [n for m in EQUATION.findall(record.rationale) for n in (m[0], m[2])]
            total += len([n for n in stated if n not in used])
        return total

    assert spare(plain) == 0
    assert 200 < spare(rich) < 400


def test_problems_are_pure_functions_of_seed_split_and_index():
    record = word_problem(EASY, "test", 10**9)
    assert record == word_problem(EASY, "test", 10**9)
    assert record.question != word_problem(EASY, "validation", 10**9).question
    reseeded = dataclasses.replace(EASY, seed=5)
    assert record.question != word_problem(reseeded, "test", 10**9).question


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_steps": 4, "max_steps": 3}, "min_steps=4, max_steps=3"),
        ({"max_steps": 9}, "max_steps=9"),
        ({"max_number": 5}, "max_number=5"),
        ({"max_distractors": -1}, "max_distractors"),
        ({"scenarios": ("bsu",)}, "Unknown word problem scenario 'bsu'. Did you mean 'bus'"),
        ({"scenarios": ("farm",)}, "Unknown word problem scenario 'farm'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        WordProblems(**settings)


def test_unknown_split_is_named():
    with pytest.raises(UserError, match="train, validation, test and ood, not 'dev'"):
        word_problem(EASY, "dev", 0)
