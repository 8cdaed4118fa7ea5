"""Answers: greedy as the plain forward pass has it, sampled by a seed, in the order asked."""

from __future__ import annotations

import copy

import pytest

from tlm_jax.errors import UserError
from tlm_jax.lm_eval.answers import Answers
from tlm_jax.lm_eval.rows import Rows
from tlm_jax.lm_eval.texts import TextEncoder

PROMPTS = ["w10 w11 w12", "w20", "w30 w31 w32 w33 w34 w35", ""]
GREEDY = {"until": ["w0"], "max_gen_toks": 5}


@pytest.fixture(scope="module")
def answers(opened):
    """Answers of the decoder-only and of the encoder-decoder model; engines are kept."""
    return {
        kind: Answers(model, encoder_of(model), Rows(4), default_tokens=6)
        for kind, model in opened.items()
    }


def encoder_of(model):
    return TextEncoder(model.vocabulary, model.reading)


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_greedy_answers_are_those_of_the_plain_forward_pass(kind, answers, opened, plain_logits):
    model, told = opened[kind], {}
    found = answers[kind].write([(prompt, GREEDY) for prompt in PROMPTS], told.__setitem__)
    assert [told[index] for index in range(len(PROMPTS))] == found
    for prompt, answer in zip(PROMPTS, found):
        (context,) = encoder_of(model).contexts([prompt])
        tokens: list[int] = []
        while len(tokens) < 5 and not set(tokens) & set(model.eos_ids):
            tokens.append(int(plain_logits(model, context, [*tokens, 5])[-1].argmax()))
        assert answer == model.vocabulary.decode(tokens)


def test_an_answer_stops_before_a_text_of_until(answers):
    (whole,) = answers["decoder"].write([(PROMPTS[0], GREEDY)])
    (cut,) = answers["decoder"].write([(PROMPTS[0], {**GREEDY, "until": [whole[3:6]]})])
    assert len(whole) > 6
    assert cut == whole[:3]


def test_sampled_answers_depend_on_the_seed_and_not_on_what_is_asked_beside(answers, opened):
    sampled = {"do_sample": True, "temperature": 3.0, "max_gen_toks": 4}
    asked = [(PROMPTS[0], sampled), (PROMPTS[0], sampled), (PROMPTS[1], sampled)]
    first, second, other = answers["decoder"].write(asked)
    assert first != second
    assert answers["decoder"].write([(PROMPTS[1], GREEDY), asked[2], asked[0]])[1:] == [
        other,
        first,
    ]
    model = opened["decoder"]
    reseeded = Answers(model, encoder_of(model), Rows(4), seed=1)
    reseeded._engines = answers["decoder"]._engines
    assert reseeded.write(asked) != [first, second, other]


def test_equal_greedy_requests_are_answered_once(answers):
    engine = answers["decoder"]._engine(4)
    before = engine.stats()
    found = answers["decoder"].write([(PROMPTS[0], GREEDY)] * 3)
    after = engine.stats()
    assert len(set(found)) == 1
    assert (after.prompts - before.prompts, after.samples - before.samples) == (1, 1)


def test_a_prompt_that_is_too_long_keeps_its_end_and_is_counted(answers):
    words = [f"w{n}" for n in range(10, 60)]
    before = answers["decoder"].cut
    settings = {"max_gen_toks": 5}
    cut, whole = answers["decoder"].write(
        [(" ".join(words), settings), ("w5 " + " ".join(words[-19:]), settings)]
    )
    # 24 tokens of window less 5 leave 19, so that neither BOS nor w5 is read.
    assert cut == whole
    assert answers["decoder"].cut == before + 2


def test_no_room_for_a_prompt_is_one_line(answers, opened):
    with pytest.raises(UserError, match=r"max_gen_toks is 24, but the model's window has 24"):
        answers["decoder"].write([("w5", {"max_gen_toks": 24})])
    # An encoder has its own window.
    model = copy.copy(opened["encoder_decoder"])
    model.window_tokens = 2
    short = Answers(model, encoder_of(model), Rows(4))
    assert short._prompts([("w5 w6 w7", {})], [_settings(24)]) == [
        [model.vocabulary.encode("w7")[0], model.vocabulary.eos_id]
    ]
    assert short.cut == 1


def _settings(tokens):
    from tlm_jax.lm_eval.generation import read_generation

    return read_generation({"max_gen_toks": tokens}, default_tokens=1)
