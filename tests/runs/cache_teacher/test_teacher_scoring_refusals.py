"""What `cache_teacher score` cannot do is one line, and told before the work."""

from __future__ import annotations

import pytest
from json_lines import write
from scored_solutions import PROMPT, run

from tlm_jax.errors import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "has a question and no prompt: set PROMPT"),
        (["PROMPT={qestion}"], r"'qestion' is none of its fields"),
        ([f"PROMPT={PROMPT}", "ENCODING=topp"], "no encoding 'topp'"),
        ([f"PROMPT={PROMPT}", "ENCODING=hidden", "TEMPERATURE=2"], "keeps no distribution"),
        ([f"PROMPT={PROMPT}", "SYSTEM=be brief"], "set CHAT to True"),
        (["PROMPT=Q: {question}\\n"], "a backslash and an n, no line break"),
        ([f"PROMPT={PROMPT}", "SOLUTION_FIELD=solutoin"], "Did you mean 'solution'"),
        ([f"PROMPT={PROMPT}", "BATCH_SIZE=0"], "BATCH_SIZE is 0"),
        ([f"PROMPT={PROMPT}", "HOST_INDEX=1"], "belong together"),
    ],
)
def test_bad_settings_are_one_line(llama, solutions, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        run(llama, tmp_path / "c", f"SOLUTIONS={solutions}", *settings)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "solution": "x"}, "s.jsonl:1 does not say what was asked"),
        ({"id": 1, "question": "x"}, "s.jsonl:1 has no solution"),
        ({"id": 1, "question": 3, "solution": "x"}, "'question' is int, expected text"),
        ({"id": 1, "question": "", "solution": "x"}, "does not say what was asked"),
        (
            {"id": 1, "messages": ["x"], "solution": "x"},
            "'messages' is expected to be a list of objects",
        ),
        (
            {"id": 1, "question": "x", "options": 5, "solution": "x"},
            "'options' is expected to be a list",
        ),
        (
            {"id": 1, "question": "x", "kind": {}, "solution": "x"},
            "'kind' of the answer is {}, expected one of",
        ),
        (
            {"id": 1, "question": "x", "solution": " "},
            "nothing to score: of 1 solutions 1 are empty",
        ),
        ({"id": 1, "question": "x" * 999, "solution": "x"}, "has 1,003 tokens, but there is room"),
        ({"id": 1, "question": "x", "solution": "x" * 999}, "tokens, but the model reads"),
    ],
)
def test_bad_lines_are_told(llama, tmp_path, row, message):
    path = write(tmp_path / "s.jsonl", row)
    with pytest.raises(UserError, match=message):
        run(llama, tmp_path / "c", f"SOLUTIONS={path}", f"PROMPT={PROMPT}")


def test_what_cannot_become_records_is_told_before_the_work(llama, tmp_path):
    twice = [{"id": 1, "question": "x", "solution": text} for text in ("y", "z")]
    path = write(tmp_path / "s.jsonl", *twice)
    with pytest.raises(UserError, match="two solutions have the id '1', and other texts"):
        run(llama, tmp_path / "c", f"SOLUTIONS={path}", f"PROMPT={PROMPT}")
    assert not (tmp_path / "c").exists()


def test_there_are_no_more_candidates_than_tokens(llama, tmp_path):
    path = write(tmp_path / "s.jsonl", {"id": 1, "question": "x", "solution": "y"})
    settings = [f"SOLUTIONS={path}", f"PROMPT={PROMPT}", "NUM_CANDIDATES=9999"]
    cache = run(llama, tmp_path / "c", *settings)
    assert cache.header.vocabulary_size < 9999
    assert cache.identity["encoding"]["num_candidates"] == cache.header.vocabulary_size


def test_another_teacher_or_prompt_is_refused(llama, t5, solutions, tmp_path):
    settings = [f"SOLUTIONS={solutions}", f"PROMPT={PROMPT}"]
    run(llama, tmp_path / "c", *settings)
    with pytest.raises(UserError, match="teacher"):
        run(t5, tmp_path / "c", *settings)
    with pytest.raises(UserError, match=r"prompt.template is .*Q: "):
        run(llama, tmp_path / "c", settings[0], "PROMPT=A: {question}\n")
