"""Prompts of files and tasks, and what is wrong with them, by line."""

from __future__ import annotations

import gzip
import json

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.sources import ListSource
from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import load_eval_sets
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompts import load_prompts
from tlm_jax.vocabularies import ByteVocabulary


def write(path, *lines) -> str:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_reads_text_conversations_and_answers(tmp_path):
    path = write(
        tmp_path / "p.jsonl",
        {"id": "a", "prompt": "2+2=", "answer": 4},
        "",
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"id": 7, "prompt": "?", "answer": "B", "kind": "choice", "options": ["x", "y"]},
    )
    one, two, three = load_prompts(PromptsConfig(file=path), None)
    assert (one.id, one.text, one.gold, one.kind) == ("a", "2+2=", "4", "numeric")
    assert (two.id, two.text, two.gold) == ("3", None, None)
    assert two.messages == ({"role": "user", "content": "Hi"},)
    assert (three.id, three.gold, three.kind, three.options) == ("7", "B", "choice", ("x", "y"))


def test_parts_of_a_message_are_joined(tmp_path):
    parts = [{"type": "text", "text": text} for text in ("What is ", "2+2?")]
    path = write(tmp_path / "p.jsonl", {"messages": [{"role": "user", "content": parts}]})
    (prompt,) = load_prompts(PromptsConfig(file=path), None)
    assert prompt.messages == ({"role": "user", "content": "What is 2+2?"},)
    for odd in (None, [], [{"type": "image_url"}], ["text"], [{"type": "text", "text": 4}]):
        write(tmp_path / "p.jsonl", {"messages": [{"role": "user", "content": odd}]})
        with pytest.raises(UserError, match=r"jsonl:1: 'messages' is expected .* parts of type"):
            load_prompts(PromptsConfig(file=path), None)


def test_reads_gzip_and_the_first_few(tmp_path):
    path = tmp_path / "p.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"prompt": str(n)}) + "\n" for n in range(5))
    config = PromptsConfig(file=str(path), num_examples=2, examples_seed=None)
    prompts = load_prompts(config, None)
    assert [prompt.text for prompt in prompts] == ["0", "1"]


def test_asks_text_as_a_conversation(tmp_path):
    path = write(tmp_path / "p.jsonl", {"prompt": "2+2="})
    (prompt,) = load_prompts(PromptsConfig(file=path, chat=True, system="Be brief."), None)
    assert prompt.text is None
    assert [m["role"] for m in prompt.messages or ()] == ["system", "user"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"p.jsonl:2: not valid JSON"),
        ("[" * 100_000, r"p.jsonl:2: not valid JSON"),
        ('"text"', "jsonl:2: expected a JSON object, got str"),
        ({"prompt": "  "}, "jsonl:2: the prompt '2' is empty"),
        ({"messages": []}, "jsonl:2: the prompt '2' is empty"),
        ({"prompt": "x", "messages": []}, "jsonl:2 has both"),
        ({"prompt": "\ud83d"}, "jsonl:2: the text holds .ud83d, half of a surrogate pair"),
        ({"promt": "x"}, r"jsonl:2 has neither .* Did you mean 'prompt' by 'promt'\?"),
        ({"prompt": 5}, "jsonl:2: 'prompt' is int"),
        ({"messages": [{"role": "user"}]}, "jsonl:2: 'messages' is expected to be"),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}]},
            "jsonl:2: message 1 of 'messages' has 'tool_calls', but only 'role' and 'content'",
        ),
        ({"prompt": "x", "options": "AB"}, "jsonl:2: 'options'"),
        ({"prompt": "x", "answer": "1", "kind": "numerc"}, r"jsonl:2.* Did you mean 'numeric'\?"),
        ({"id": "1", "prompt": "x"}, r"jsonl:2: the id '1' is taken by .*jsonl:1"),
    ],
)
def test_names_the_line_that_is_wrong(tmp_path, line, message):
    path = write(tmp_path / "p.jsonl", {"prompt": "right"}, line)
    with pytest.raises(UserError, match=message):
        load_prompts(PromptsConfig(file=path), None)


def test_a_system_message_needs_a_conversation(tmp_path):
    path = write(tmp_path / "p.jsonl", {"prompt": "x"})
    with pytest.raises(UserError, match="set CHAT to True"):
        load_prompts(PromptsConfig(file=path, system="Be brief."), None)
    with pytest.raises(UserError, match=r"CHAT_TEMPLATE is set, but .* set CHAT to True"):
        load_prompts(PromptsConfig(file=path, chat_template="rag"), None)


def test_files_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(UserError, match=r"absent.jsonl: no such file"):
        load_prompts(PromptsConfig(file=str(tmp_path / "absent.jsonl")), None)
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "x"}\n' * 99)[:-12])
    with pytest.raises(UserError, match=r"p.jsonl.gz:\d+: cannot be read"):
        load_prompts(PromptsConfig(file=str(path)), None)
    with pytest.raises(UserError, match="holds no prompts"):
        load_prompts(PromptsConfig(file=write(tmp_path / "empty.jsonl")), None)


def test_a_file_or_a_task():
    with pytest.raises(UserError, match="not neither"):
        PromptsConfig()
    with pytest.raises(UserError, match="not both"):
        PromptsConfig(file="a", mixture_or_task_name="b")


def test_a_task_gives_text_tokens_and_answers():
    config = PromptsConfig(
        mixture_or_task_name="word_problems_easy_cot_zero_shot", split="validation", num_examples=3
    )
    vocabulary = ByteVocabulary()
    prompts = load_prompts(config, vocabulary)
    assert len({prompt.id for prompt in prompts}) == 3
    for prompt in prompts:
        assert prompt.kind == "numeric"
        assert prompt.gold is not None
        assert prompt.gold.isdigit()
        assert prompt.token_ids is not None
        assert vocabulary.decode(prompt.token_ids) == prompt.text
        assert prompt.token_ids[-1] == vocabulary.eos_id


def test_an_endless_split_needs_a_number():
    config = PromptsConfig(mixture_or_task_name="word_problems_easy_cot_zero_shot", split="train")
    with pytest.raises(UserError, match="set NUM_EXAMPLES"):
        load_prompts(config, ByteVocabulary())


def test_some_prompts_of_a_file_are_spread_over_it(tmp_path):
    path = write(tmp_path / "p.jsonl", *({"prompt": f"{n}"} for n in range(40)))
    found = [p.id for p in load_prompts(PromptsConfig(file=path, num_examples=12), None)]
    assert found == [str(i + 1) for i in chosen(40, 12, 0)]  # the numbers of their lines
    first = PromptsConfig(file=path, num_examples=12, examples_seed=None)
    assert [p.id for p in load_prompts(first, None)] == [str(n) for n in range(1, 13)]


def test_some_prompts_of_a_task_are_those_that_are_evaluated():
    examples = [{"id": f"q{n}", "inputs": f"{n}", "targets": "x"} for n in range(40)]
    tasks.register_task("prompts_listed", ListSource({"test": examples}))
    try:
        lengths = {"inputs": 9, "targets": 9}
        (eval_set,) = load_eval_sets(
            "prompts_listed", "test", feature_lengths=lengths, num_examples=12
        )
        config = PromptsConfig(mixture_or_task_name="prompts_listed", num_examples=12)
        prompts = load_prompts(config, ByteVocabulary())
    finally:
        tasks.unregister("prompts_listed")
    assert [prompt.id for prompt in prompts] == list(eval_set.examples.ids)
    assert all(prompt.place.endswith(f"example {prompt.text}") for prompt in prompts)
    assert prompts[-1].text != "11"
