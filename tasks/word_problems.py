"""Embedded word problems: no files needed."""

import dataclasses
import functools

from tlm_jax.data.formatted import register_formats
from tlm_jax.data.generators.word_problems import EASY, WordProblems, word_problem
from tlm_jax.data.record_sets import GeneratedRecords

THREE = dataclasses.replace(EASY, min_steps=3, max_steps=3)
SPLITS = ("train", "validation", "test", "ood")

for _name, _problems, _description in (
    ("word_problems", WordProblems(), "Word problems of 2 to 6 steps, endless"),
    ("word_problems_easy", EASY, "Word problems of 2 steps with small numbers, endless"),
    ("word_problems_three", THREE, "Word problems of 3 steps with small numbers, endless"),
    (
        "word_problems_two_three",
        dataclasses.replace(THREE, min_steps=2),
        "Word problems of 2 or 3 steps with small numbers, endless",
    ),
):
    register_formats(
        _name,
        GeneratedRecords(_name, SPLITS, functools.partial(word_problem, _problems)),
        description=_description,
    )
