"""`python -m tlm_jax.grade` finds the published labels and accuracies on the published outputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def figures(path, *arguments):
    command = [sys.executable, "-m", "tlm_jax.grade", path, *arguments, "--json=-"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def solutions(shared_dir, rule):
    return figures(
        shared_dir / "data/gsm8k_model_solutions.jsonl.gz",
        f"--rule={rule}",
        "--prediction=meta.solutions.solution",
        "--gold=answer",
        "--group=meta.solutions.model",
        "--label=meta.solutions.is_correct",
    )


def test_the_strict_rule_and_published_labels(shared_dir):
    found = solutions(shared_dir, "numeric")
    assert (found["correct"], found["count"], found["agreeing"]) == (1008, 2640, 2640)
    assert {name: group["correct"] for name, group in found["groups"].items()} == {
        "6b_finetuning": 146,
        "6b_verification": 266,
        "175b_finetuning": 225,
        "175b_verification": 371,
    }


def test_the_last_number_and_published_labels(shared_dir):
    found = solutions(shared_dir, "official_last_number")
    assert (found["agreeing"], found["labelled"]) == (2634, 2640)
    # A minus sign was lost in every false positive, a comma in the false negative.
    assert len(found["false_positives"]) == 5
    for item in found["false_positives"]:
        assert item["prediction"].endswith(f"A: -{item['gold']}")
    assert [item["prediction"][-5:] for item in found["false_negatives"]] == ["3,000"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("bbh_exact", {}), ("official_bbh_substring", {"ruin_names": (68.4, 75.6)})],
)
def test_published_accuracies_of_bbh(shared_dir, rule, expected):
    found = figures(
        shared_dir / "data/bbh_codex_cot_outputs.jsonl.gz",
        f"--rule={rule}",
        "--prediction=prediction",
        "--gold=target",
        "--group=task",
        "--published=task_accuracy",
    )
    assert len(found["groups"]) == 14
    differing = {
        task: (round(group["published"], 6), round(100 * group["accuracy"], 6))
        for task, group in found["groups"].items()
        if f"{100 * group['accuracy']:.6f}" != f"{group['published']:.6f}"
    }
    assert differing == expected
