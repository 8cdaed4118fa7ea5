"""What stands around a prompt, and prompts too long for the window."""

from __future__ import annotations

import types
from typing import cast

import numpy as np
import pytest

from tlm_jax.data.chat import ChatTemplate
from tlm_jax.data.reading import Reading
from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import TooLong
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.runs.inference.tokens import PromptEncoder
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.vocabularies import ByteVocabulary

BYTES = ByteVocabulary()


DECODER = Reading(BYTES.bos_id, prompt_eos=True)


def encoder(
    longest: int | None, reading: Reading = DECODER, too_long: TooLong = "error"
) -> PromptEncoder:
    model = types.SimpleNamespace(vocabulary=BYTES, reading=reading)
    return PromptEncoder(cast(OpenedModel, model), too_long=too_long, longest=longest)


@pytest.mark.parametrize(
    ("reading", "before", "behind"),
    [
        (Reading(2, prompt_eos=True), [2], [BYTES.eos_id]),
        (Reading(2, prompt_eos=False), [2], []),
        (Reading(None, prompt_eos=False), [], []),
        (Reading(2, prompt_eos=True, one_sequence=False), [], [BYTES.eos_id]),
    ],
)
def test_a_prompt_of_a_file_has_around_it_what_the_model_reads(reading, before, behind):
    ab = BYTES.encode("ab").tolist()
    prompt = Prompt("1", "p.jsonl, line 1", text="ab")
    assert encoder(None, reading).encode(prompt) == [*before, *ab, *behind]
    # Those of a task have their end already.
    task = Prompt("1", "", text="ab", token_ids=np.asarray([7, 8], np.int32))
    assert encoder(None, reading).encode(task) == [*before, 7, 8]


def test_a_long_prompt_is_an_error_or_keeps_its_end():
    prompt = Prompt("q7", "p.jsonl, line 7", text="abcdefgh")
    plain = Reading(BYTES.bos_id, prompt_eos=False)
    with pytest.raises(UserError, match=r"p.jsonl, line 7: the prompt 'q7' has 9 tokens, .* for 5"):
        encoder(5, plain).encode(prompt)
    cutting = encoder(5, plain, too_long="keep_end")
    assert cutting.encode(prompt) == [BYTES.bos_id, *BYTES.encode("efgh")]
    assert cutting.encode(Prompt("q8", "", text="abcd")) == [BYTES.bos_id, *BYTES.encode("abcd")]
    assert cutting.cut == 1


def test_a_conversation_that_the_template_refuses_is_named():
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    model = types.SimpleNamespace(vocabulary=BYTES, reading=DECODER, template=template)
    reader = PromptEncoder(cast(OpenedModel, model), too_long="error", longest=None)
    prompt = Prompt("q7", "p.jsonl:7", messages=[{"role": "user", "content": "2+2?"}])
    with pytest.raises(UserError, match=r"^p.jsonl:7: the prompt 'q7': the chat template refuses "):
        reader.encode(prompt)
