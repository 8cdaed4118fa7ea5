"""`generation_kwargs` become the engine's settings, or one clear line; answers end where asked."""

from __future__ import annotations

import pytest
import tokenizers

from tlm_jax.decoding.requests import Sampling
from tlm_jax.errors import UserError
from tlm_jax.lm_eval.generation import Stops, read_generation
from tlm_jax.vocabularies import ByteVocabulary, HuggingFaceVocabulary


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"do_sample": False, "temperature": 1}, {}),
        ({"do_sample": False, "temperature": 0.0, "top_p": 0.9}, {"top_p": 0.9}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        (
            {"do_sample": True, "temperature": "0.2", "top_p": 0.95, "top_k": 40, "min_p": 0.1},
            {"temperature": 0.2, "top_p": 0.95, "top_k": 40, "min_p": 0.1},
        ),
        ({"repetition_penalty": 1.2, "num_beams": 1}, {"repetition_penalty": 1.2}),
        ({"max_gen_toks": 5, "max_new_tokens": 9}, {"max_new_tokens": 5}),
        ({"max_new_tokens": 9, "max_tokens": 3}, {"max_new_tokens": 9}),
        ({"max_completion_tokens": 3}, {"max_new_tokens": 3}),
        ({"temperature": None, "top_k": None}, {}),
    ],
)
def test_settings_are_those_of_the_engine(given, expected):
    found = read_generation(given, default_tokens=17)
    assert found.sampling == Sampling(**{"max_new_tokens": 17, "temperature": 0.0, **expected})
    assert found.sampled == (found.sampling.temperature > 0)
    assert found.until == ()


@pytest.mark.parametrize(
    ("until", "expected"), [("\n", ("\n",)), (["a", "", "b"], ("a", "b")), (None, ()), ([], ())]
)
def test_until_is_a_text_or_several(until, expected):
    assert read_generation({"until": until}, default_tokens=1).until == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stop": ["\n"]}, "no setting 'stop'.*Expected some of until, do_sample"),
        ({"temprature": 1.0}, "no setting 'temprature'. Did you mean 'temperature'"),
        ({"num_beams": 4}, "num_beams is 4, but answers are greedy or sampled here"),
        ({"do_sample": "no"}, "do_sample is 'no', expected True or False"),
        ({"do_sample": True}, "temperature is not above 0; add temperature=1.0"),
        ({"temperature": -1.0, "do_sample": True}, "temperature is not above 0"),
        ({"temperature": "hot"}, "temperature is 'hot', expected a number"),
        ({"max_gen_toks": 0}, "generation_kwargs: .*max_new_tokens is 0: expected at least 1"),
        ({"max_gen_toks": 2.5}, "max_gen_toks is 2.5, expected a whole number"),
        ({"top_p": 1.5}, "generation_kwargs: .*top_p is 1.5"),
        ({"top_k": -1, "temperature": 1.0}, "top_k is -1: expected 0 .off. or more"),
        ({"until": 3}, "until is 3, expected text or a list of texts"),
        ({"until": ["a", 3]}, "expected text or a list of texts"),
    ],
)
def test_what_cannot_be_done_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        read_generation(given, default_tokens=8)
    assert "\n" not in str(caught.value)


def test_an_answer_ends_before_the_first_text_of_until():
    vocabulary = ByteVocabulary()
    stops = Stops(("\n\n", "Q:"), vocabulary)
    tokens = vocabulary.encode("4 Q: 5\n\n6").tolist()
    kept = stops.kept_tokens(tokens)
    assert kept is not None
    assert vocabulary.decode(tokens[:kept]) == "4 Q:"
    assert stops.text(tokens) == stops.text(tokens[:kept]) == "4 "
    assert stops.kept_tokens(vocabulary.encode("4").tolist()) is None
    assert Stops((), vocabulary).kept_tokens(tokens) is None
    assert Stops((), vocabulary).text(tokens) == "4 Q: 5\n\n6"


def test_a_special_token_ends_an_answer_though_no_text_shows_it(tmp_path):
    words = {"</s>": 0, "<|eot|>": 1, "a": 2, "b": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(words, []))
    tokenizer.add_special_tokens(["</s>", "<|eot|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    stops = Stops(("<|eot|>", "b"), HuggingFaceVocabulary(str(tmp_path / "tokenizer.json")))
    assert stops.kept_tokens([2, 1, 2, 3]) == 2
    assert stops.text([2, 1, 2, 3]) == "a"
    assert stops.kept_tokens([2, 3, 1]) == 2
    assert stops.kept_tokens([2, 2]) is None
