"""Prompts that are too long or empty, before anything is decoded."""

import numpy as np
import pytest

from tlm_jax.data import tasks
from tlm_jax.data.sources import ListSource
from tlm_jax.errors import UserError
from tlm_jax.evaluation.batching import count_truncated_prompts
from tlm_jax.evaluation.eval_set import EvalSet, fit_prompts, load_eval_sets
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.vocabularies import ByteVocabulary

WHY = "the window of tiny, 16 tokens with the answer,"


def eval_set(*prompts, texts=None):
    ids = tuple(f"q{n}" for n in range(len(prompts)))
    arrays = [np.asarray(prompt, np.int32) for prompt in prompts]
    records = tuple({"id": i, "inputs": t} for i, t in zip(ids, texts or ["text"] * len(ids)))
    features = {
        "inputs": Ragged.from_arrays(arrays, np.int32),
        "targets": Ragged.from_arrays([np.asarray([9, 1], np.int32)] * len(ids), np.int32),
    }
    return EvalSet(
        "sums", TokenizedExamples(features, ids, records), ByteVocabulary(), {"inputs": 9}
    )


def prompts_of(found):
    inputs = found.examples.features["inputs"]
    return [inputs[i].tolist() for i in range(len(inputs))]


def test_the_end_is_kept_and_counted():
    made = eval_set([5, 1], [2, 3, 4, 5, 6, 1], [7, 8, 9, 1])
    found = fit_prompts(made, 3, "keep_end", WHY)
    assert prompts_of(found) == [[5, 1], [5, 6, 1], [8, 9, 1]]
    assert found.cut_prompts == 2
    assert count_truncated_prompts(found) == 2
    assert found.feature_lengths["inputs"] == 3
    targets = found.examples.features["targets"]
    assert [targets[i].tolist() for i in range(3)] == [[9, 1]] * 3
    assert prompts_of(made)[1] == [2, 3, 4, 5, 6, 1]


def test_what_fits_stays_as_it_is():
    made = eval_set([5, 1], [2, 3, 1])
    for choice in ("error", "keep_end"):
        found = fit_prompts(made, 3, choice, WHY)
        assert prompts_of(found) == prompts_of(made)
        assert count_truncated_prompts(found) == 0


def test_the_error_names_the_first_and_the_remedies():
    with pytest.raises(UserError) as error:
        fit_prompts(eval_set([1], [2, 3, 4, 1], [2, 3, 4, 5, 1]), 3, "error", WHY)
    assert str(error.value) == (
        "2 of 3 prompts of sums are too long, the first is 'q1' with 4 tokens: the window of tiny, "
        "16 tokens with the answer, leaves room for 3. Give them more room, or set TOO_LONG to "
        "'keep_end' to keep the end of such prompts"
    )


@pytest.mark.parametrize(
    ("prompt", "text"), [([1], " \n"), ([], np.zeros(0, np.int32))], ids=["text", "tokens"]
)
def test_an_empty_prompt_is_named(prompt, text):
    with pytest.raises(UserError, match="sums: the prompt of 'q1' is empty; give it text or leave"):
        fit_prompts(eval_set([5, 1], prompt, texts=["a", text]), 3, "keep_end", WHY)


def test_a_task_of_targets_only_has_no_prompts():
    made = eval_set([5, 1])
    targets = {"targets": made.examples.features["targets"]}
    bare = EvalSet(
        "x", TokenizedExamples(targets, ("a",), ({"id": "a"},)), made.vocabulary, {"targets": 4}
    )
    assert fit_prompts(bare, 3, "error", WHY) is bare


@pytest.fixture
def grouped():
    """Forty examples, ten of each subject one behind the other."""
    examples = [
        {"id": f"{subject}-{n}", "inputs": f"{subject} {n}", "targets": "x"}
        for subject in "abcd"
        for n in range(10)
    ]
    tasks.register_task("eval_set_grouped", ListSource({"test": examples}))
    yield "eval_set_grouped"
    tasks.unregister("eval_set_grouped")


def ids_of(name, **settings):
    lengths = {"inputs": 9, "targets": 4}
    (found,) = load_eval_sets(name, "test", feature_lengths=lengths, **settings)
    return list(found.examples.ids)


def test_some_examples_are_of_every_subject(grouped):
    every = ids_of(grouped)
    found = ids_of(grouped, num_examples=12)
    assert len(found) == 12
    assert {name[0] for name in found} == set("abcd")
    assert found == [name for name in every if name in found]
    assert ids_of(grouped, num_examples=12) == found
    assert set(found) < set(ids_of(grouped, num_examples=20))
    assert ids_of(grouped, num_examples=12, examples_seed=1) != found
    assert ids_of(grouped, num_examples=12, examples_seed=None) == every[:12]
    assert ids_of(grouped, num_examples=99) == every
