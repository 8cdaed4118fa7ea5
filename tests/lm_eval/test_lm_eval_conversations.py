"""Conversations end where the model goes on; a template without system messages gets none."""

from __future__ import annotations

import pytest

from tlm_jax.data.chat import ChatTemplate
from tlm_jax.errors import UserError
from tlm_jax.lm_eval.conversations import write_conversation

TEMPLATE = ChatTemplate(
    "{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}"
    "[{{ m.role }}] {{ m.content | trim }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "2 + 2?"}


def begun(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_an_answer_begins_or_goes_on():
    assert (
        write_conversation([QUESTION], TEMPLATE, add_generation_prompt=True)
        == "[user] 2 + 2?;[assistant]"
    )
    assert (
        write_conversation([QUESTION, begun("It is ")], TEMPLATE, add_generation_prompt=False)
        == "[user] 2 + 2?;[assistant] It is"
    )


def test_spaces_at_the_end_are_kept_where_the_template_keeps_them():
    keeping = ChatTemplate(TEMPLATE.source.replace(" | trim", ""))
    text = write_conversation([QUESTION, begun("It is ")], keeping, add_generation_prompt=False)
    assert text.endswith("[assistant] It is ")


def test_the_system_message_is_left_out_where_the_template_refuses_it(caplog):
    found = write_conversation([SYSTEM, QUESTION], TEMPLATE, add_generation_prompt=True)
    assert found == "[user] 2 + 2?;[assistant]"
    (record,) = caplog.records
    assert "no system; the system message is left out" in record.getMessage()


def test_other_refusals_are_errors():
    refusing = ChatTemplate("{{ raise_exception('never') }}")
    with pytest.raises(UserError, match="refuses these messages: never"):
        write_conversation([QUESTION], refusing, add_generation_prompt=True)
    changing = ChatTemplate("{{ messages[-1].content | upper }}")
    with pytest.raises(UserError, match="changes the begun answer 'it is'"):
        write_conversation([QUESTION, begun("it is")], changing, add_generation_prompt=False)
