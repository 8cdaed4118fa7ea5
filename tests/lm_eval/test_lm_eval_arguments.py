"""`--model_args` are checked before anything is opened."""

from __future__ import annotations

import pytest

from tlm_jax.errors import UserError
from tlm_jax.lm_eval.arguments import ModelArguments, parse_arguments


def test_texts_and_numbers_alike():
    given = {"pretrained": "a", "max_length": "128", "add_bos_token": "True", "batch_size": 4}
    assert parse_arguments(given) == ModelArguments(
        pretrained="a", max_length=128, add_bos_token=True, batch_size=4
    )
    assert parse_arguments(
        {"pretrained": "a", "batch_size": "auto:4", "max_batch_size": None, "device": "cuda:0"}
    ) == ModelArguments(pretrained="a", batch_size=None, device="cuda:0")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "pretrained=PATH is missing"),
        ({"pretrain": "a"}, "no argument 'pretrain'. Did you mean 'pretrained'"),
        ({"pretrained": "a", "dtype": "auto"}, "dtype='auto': expected float32 or bfloat16"),
        ({"pretrained": "a", "batch_size": "big"}, "batch_size='big': expected a whole number"),
        ({"pretrained": "a", "max_length": 1}, "max_length=1: expected a whole number from 2"),
        ({"pretrained": "a", "max_length": 9.5}, "max_length=9.5: expected a whole number"),
        ({"pretrained": "a", "add_bos_token": "maybe"}, "'maybe': expected True or False"),
        ({"pretrained": "a", "seed": -1}, "seed=-1"),
    ],
)
def test_what_is_wrong_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_arguments(given)
    assert "\n" not in str(caught.value)
