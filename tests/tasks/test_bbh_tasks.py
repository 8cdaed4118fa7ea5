"""BIG-Bench Hard's published prompts without their chains of thought."""

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.run_data import RunData


@pytest.fixture
def source(shared_dir):
    data = RunData(shared_dir / "data")
    return tasks.get_task("bbh_published_prompt_answer_only").source.for_run(data)


def test_every_question_has_three_answers_before_it_and_no_thought(source):
    seen = set()
    for index in range(0, source.num_examples("test"), 50):
        example = source.example("test", index)
        seen.add(example["id"].rsplit("-", 1)[0])
        description, *blocks = example["inputs"].split("\n\nQ: ")
        assert description
        assert "Q: " not in description
        assert len(blocks) == 4
        assert blocks[-1] == f"{example['question']}\nA:"
        assert "step by step" not in example["inputs"]
        assert example["targets"] == example["answer"]
    assert len(seen) == 27


def test_by_eye(source):
    assert source.example("test", 0)["inputs"] == (
        "Evaluate the result of a random Boolean expression.\n\n"
        "Q: not ( ( not not True ) ) is\nA: False\n\n"
        "Q: True and False and not True and True is\nA: False\n\n"
        "Q: not not ( not ( False ) ) is\nA: True\n\n"
        "Q: not ( True ) and ( True ) is\nA:"
    )
