"""Tasks in LEMA's wording: their questions, and one text of prompt and answer."""

from __future__ import annotations

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError


@pytest.mark.parametrize(
    ("name", "split", "rows"),
    [
        ("gsm8k", "test", 1319),
        ("math", "test", 5000),
        ("svamp", "test", 1000),
        ("asdiv", "test", 2084),  # the numeric ones
        ("commonsenseqa", "validation", 1221),
    ],
)
def test_rows_and_wording(shared_dir, name, split, rows):
    task = tasks.get_task(f"{name}_lema")
    assert task.eos_features == ("targets",)
    source = task.source.for_run(RunData(shared_dir / "data"))
    assert source.num_examples(split) == rows
    example = source.example(split, rows - 1)
    assert example["inputs"].startswith("Please ")
    assert example["inputs"].endswith("\nAnswer: Let's think step by step.\n")
    assert "The answer is " in example["targets"]


def test_asdiv_is_not_for_training():
    with pytest.raises(UserError, match="it is for evaluation only"):
        tasks.get_task("asdiv_lema").source.check_split("train")
