"""Chat templates give the text that transformers gives, and cannot do anything else."""

import contextlib
import json

import pytest

from tlm_jax.data import chat
from tlm_jax.data.chat import ChatTemplate, read_chat_template, render_chat
from tlm_jax.errors import UserError
from tlm_jax.system.limited_process import LimitedProcess
from tlm_jax.vocabularies import HuggingFaceVocabulary

TURNS = (
    "{% for message in messages %}\n"
    "    {%- if message['role'] == 'bad' %}"
    "{{ raise_exception('only user and assistant') }}{% endif %}"
    "{{ bos_token + message['role'] + ': ' + message['content'] }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
HELLO = [{"role": "user", "content": "Hello {{ 1 + 1 }}"}]


def test_smollm2_writes_its_system_prompt_and_where_the_answer_begins(shared_dir):
    folder = shared_dir / "fixtures" / "tokenizers" / "smollm2"
    template = read_chat_template(folder)
    messages = [{"role": "user", "content": "What is 12 + 7?"}]
    text = render_chat(messages, template, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is 12 + 7?<|im_end|>\n<|im_start|>assistant\n"
    )
    own = [{"role": "system", "content": "Be brief."}, *messages]
    assert render_chat(own, template) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 12 + 7?<|im_end|>\n"
    )
    assert template.special_tokens["eos_token"] == "<|im_end|>"
    vocabulary = HuggingFaceVocabulary(str(folder / "tokenizer.json"))
    assert list(vocabulary.encode(text)[:2]) == [1, 9690]


def test_blocks_leave_no_blank_lines_and_messages_are_not_run():
    template = ChatTemplate(TURNS, {"bos_token": "<s>"})
    assert render_chat(HELLO, template) == "<s>user: Hello {{ 1 + 1 }}\n"
    assert render_chat(HELLO, template, add_generation_prompt=True).endswith("\nassistant:")


def test_json_and_loop_controls_are_there():
    template = "{% for m in messages %}{{ m | tojson }}{% break %}{% endfor %}"
    assert render_chat([{"role": "user", "content": "é<"}] * 2, template) == (
        '{"role": "user", "content": "é<"}'
    )
    year = render_chat([], "{{ strftime_now('%Y') }}")
    assert year.isdigit()
    assert len(year) == 4


def test_what_is_marked_as_generated_is_written():
    """Templates of models that can be trained on conversations mark what the assistant writes."""
    template = (
        "{% set who = 'a' %}{% for m in messages %}{% if m['role'] == 'assistant' %}\n"
        "{% generation %}{% set who = 'b' %}{{ who + m['content'] }}{% endgeneration %}\n"
        "{% else %}{{ who + m['content'] }}{% endif %}{% endfor %}"
    )
    messages = [{"role": role, "content": role[0]} for role in ("user", "assistant", "user")]
    assert render_chat(messages, template) == "aubaau"
    with pytest.raises(UserError, match=r"the chat template is damaged: line 1: "):
        render_chat(messages, "{% generation %}")


@pytest.mark.parametrize(
    ("case", "file", "expected"),
    [
        (
            "31-template-generation/model",
            "31-template-generation/prompts.jsonl",
            "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("39-template-features/break", None, None),
        ("39-template-features/jinja-file", None, None),
        ("39-template-features/namespace-macro", None, None),
        ("39-template-features/strftime", None, None),
        ("39-template-features/tojson", None, None),
        ("36-tokenizer-config/template-list", None, None),
    ],
)
def test_published_templates_are_written(shared_dir, case, file, expected):
    cases = shared_dir / "cases"
    messages = [{"role": "user", "content": "2+2?"}]
    if file is not None:
        messages = json.loads((cases / file).read_text())["messages"]
    text = render_chat(messages, read_chat_template(cases / case), add_generation_prompt=True)
    assert "2+2?" in text
    assert expected in (None, text)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("39-template-features/alternate", r"refuses these messages: roles must alternate"),
        ("39-template-features/index-error", r"^the chat template \w+"),
        ("39-template-features/zero-division", r"fails on these messages: "),
        ("36-tokenizer-config/trailing-comma", r"trailing-comma/tokenizer_config.json is not JSON"),
        ("36-tokenizer-config/bom", r"bom/tokenizer_config.json is not JSON"),
        ("36-tokenizer-config/array", r"array/tokenizer_config.json is not a JSON object"),
        (
            "36-tokenizer-config/template-list-no-default",
            r"several chat templates .tool_use. and none",
        ),
    ],
)
def test_published_templates_are_refused_in_one_line(shared_dir, case, message):
    cases = shared_dir / "cases"
    messages = json.loads((cases / "39-template-features/two-users.jsonl").read_text())["messages"]
    messages = messages[:1] if "zero" in case else messages
    with pytest.raises(UserError, match=message) as error:
        render_chat(messages, read_chat_template(cases / case))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"chat_template": "A", "bos_token": {"content": "<s>"}, "add_bos_token": True}, "A"),
        ({"chat_template": [{"name": "tool_use", "template": "B"},
                            {"name": "default", "template": "C"}]}, "C"),
    ],
)  # fmt: skip
def test_templates_in_tokenizer_config(tmp_path, config, expected):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = read_chat_template(tmp_path)
    assert found.source == expected
    assert found.special_tokens == ({"bos_token": "<s>"} if expected == "A" else {})
    (tmp_path / "chat_template.jinja").write_text("D")
    assert read_chat_template(tmp_path).source == "D"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (TURNS, "refuses these messages: only user and assistant"),
        ("{{ messages[0].nothing.more }}", "refuses these messages: .*no"),
        ("{% for %}", "is damaged: line 1: "),
        ("{{ messages.append(1) }}", "refuses these messages: .*unsafe"),
        ("{{ ''.__class__.__mro__ }}", "refuses these messages: .*unsafe"),
        ("{{ messages + 1 }}", "fails on these messages: can only concatenate list"),
        ("{{ 1 / 0 }}", "fails on these messages: division by zero"),
        ("{{ messages[0].content % (1, 2) }}", "fails on these messages: not all arguments"),
        ("{% for i in range(10**9) %}{% endfor %}", "fails on these messages: Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself without an end"),
        ("{{ 'ab' * 10**9 }}", "needs more memory for these messages than it may have"),
        ("{{ 'ab' * 10**7 }}", "writes 20,000,000 characters for these messages, more than 16"),
    ],
)  # fmt: skip
def test_errors_are_one_line(template, message):
    messages = [{"role": "bad", "content": "x"}]
    with pytest.raises(UserError, match=message) as raised:
        render_chat(messages, ChatTemplate(template, {"bos_token": ""}))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ lipsum(n=10**7) }}",
        "{{ 9 ** (9**9) }}",
    ],
)
def test_a_template_that_does_not_end_is_stopped_and_the_next_is_run(template, monkeypatch):
    with contextlib.closing(
        LimitedProcess("tlm_jax.data.chat_worker", limit_seconds=0.5, memory_bytes=1 << 30)
    ) as worker:
        monkeypatch.setattr(chat, "_worker", worker)
        with pytest.raises(UserError, match=r"has not ended after 0\.5 seconds on these messages$"):
            render_chat(HELLO, template)
        assert render_chat(HELLO, "{{ messages[0].role }}") == "user"


def test_a_model_without_a_template_is_told_so(tmp_path):
    with pytest.raises(UserError, match=r"has no chat template: expected chat_template\.jinja, or"):
        read_chat_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config\.json is not JSON"):
        read_chat_template(tmp_path)
