"""Pre-training until enough is right: where it ends, and going on after a kill between periods."""

from __future__ import annotations

import dataclasses
import types

import pytest

from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.star import work
from tlm_jax.recipes.star.forms import AdditionScratchpad
from tlm_jax.recipes.star.pretraining import Pretraining
from tlm_jax.system.program_cache import ProgramCache

PRETRAINING = Pretraining(
    shares={1: 1.0},
    hinted_shares={1: 0.5, 2: 0.5},
    num_examples=20,
    min_steps=150,
    period_steps=50,
    max_steps=250,
)
FORM = AdditionScratchpad(num_demonstrations=0)


@pytest.fixture
def pretrain(monkeypatch, star, tmp_path):
    """Returns what pre-trains with answers of given accuracies; None stands for a kill there."""
    trained: list[int] = []
    monkeypatch.setattr(work, "run_training", lambda run, *_: trained.append(run.train_steps))

    def run(*accuracies: float | None):
        found = iter(accuracies)

        def ask(folder, *_):
            folder.mkdir(parents=True)
            accuracy = next(found)
            if accuracy is None:
                folder.rmdir()
                raise KeyboardInterrupt
            return {"accuracy": accuracy}

        config = dataclasses.replace(star().config, form=FORM)
        asker = types.SimpleNamespace(
            config=config, data=RunData(), compiled=ProgramCache(), ask=ask
        )
        trained.clear()
        stage = work.StarStages(asker, "").pretrain(0, PRETRAINING)  # pyright: ignore[reportArgumentType]
        return stage.work(tmp_path), list(trained)

    return run


def test_it_ends_where_enough_is_right(pretrain):
    figures, trained = pretrain(0.05, 0.2)
    assert (figures["steps"], figures["accuracy"], trained) == (200, 0.2, [150, 200])


def test_what_was_asked_before_a_kill_is_not_asked_of_a_model_that_went_on(pretrain):
    with pytest.raises(KeyboardInterrupt):
        pretrain(0.05, None)
    figures, trained = pretrain(0.3)
    assert (figures["steps"], figures["accuracy"], trained) == (200, 0.3, [200])


@pytest.mark.parametrize("accuracies", [(0.0, 0.01, 0.02), (0.9,)])
def test_too_little_and_too_much_are_errors(pretrain, accuracies):
    with pytest.raises(UserError, match=r"of pre-training .* are right, expected 10% to 50%"):
        pretrain(*accuracies)


def test_shares_and_hints_of_the_texts():
    texts = dataclasses.replace(PRETRAINING, num_examples=400, known_sums=5).examples(FORM, 0)
    hinted = [text for text in texts if FORM.holds_hint(text.get("inputs"), text)]
    plain = [text for text in texts if text not in hinted]
    assert 150 < len(hinted) < 250
    assert len({text.question for text in plain}) <= 5
    assert {len(text.question.split(" + ")[0].split()) for text in hinted} == {1, 2}
    assert all(text.get("targets").endswith(f"\n{text.answer}") for text in texts)


def test_a_loop_repeats_only_texts_with_a_hint():
    again = dataclasses.replace(PRETRAINING, rehearsed=0.5)
    texts = again.rehearsal(FORM, 0, 30)
    assert len(texts) == 15
    assert all(FORM.holds_hint(text.get("inputs"), text) for text in texts)
    assert len(again.rehearsal(FORM, 0, 1000)) == PRETRAINING.num_examples
    assert PRETRAINING.rehearsal(FORM, 0, 30) == []
