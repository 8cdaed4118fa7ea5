"""Imports make caches and records: what is kept, what is counted, what comes again."""

from __future__ import annotations

import importlib.util
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from json_lines import write

from tlm_jax.data.formats import FORMATS
from tlm_jax.data.records import read_records
from tlm_jax.errors import UserError
from tlm_jax.runs.cache_teacher.commands import import_captured
from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.steps import StepDistributions, content_key
from tlm_jax.vocabularies import ByteVocabulary


def run(source: str, *files: Path, to: Path, options: tuple[str, ...] = ()) -> TeacherCache:
    named = ["--output_dir", str(to), "--teacher", "codex", *options]
    assert import_captured([source, *map(str, files), *named]) == 0
    return TeacherCache.open(to)


def answer(text: str, number: int = 0, **changes: Any) -> dict[str, Any]:
    """An answer of a server, one token a word, with two candidates besides."""
    words = [word + " " for word in text.split(" ")]
    content = [
        {
            "token": word,
            "bytes": list(word.encode()),
            "logprob": math.log(0.6),
            "top_logprobs": [
                {"token": word, "bytes": list(word.encode()), "logprob": math.log(0.6)},
                {"token": "x", "bytes": [120], "logprob": math.log(0.3)},
            ],
        }
        for word in words
    ]
    choice = {"message": {"content": text}, "logprobs": {"content": content}}
    return {
        "id": f"q{number}",
        "question": f"Question {number}?",
        "answer": "4",
        "response": {"choices": [{**choice, "finish_reason": "stop"}]},
        **changes,
    }


RIGHT = "2 + 2 is 4.\nThe answer is 4"


def test_an_import_makes_rows_and_records(tmp_path, capsys):
    cut = answer(RIGHT, 3)
    cut["response"]["choices"][0]["finish_reason"] = "length"
    silent = answer(RIGHT, 4)
    silent["response"]["choices"][0]["logprobs"] = None
    over = answer(RIGHT, 5)
    for entry in over["response"]["choices"][0]["logprobs"]["content"]:
        entry["top_logprobs"][1]["logprob"] = 0.0
    path = write(
        tmp_path / "answers.jsonl",
        answer(RIGHT),
        answer("The answer is 5", 1),
        answer(RIGHT, 0, id="again"),
        answer("It is four: 4.", 2),
        *(cut, silent, over),
    )
    cache = run("openai", path, to=tmp_path / "cache", options=("--only_correct",))
    told = capsys.readouterr().out
    assert "kept      2 solutions" in told
    for line in ("1 not right", "1 repeated", "1 unfinished", "1 without log-probabilities"):
        assert f"left out  {line}" in told
    assert "left out  1 probabilities sum to more than 1" in told
    assert "1 solutions are not what the formats write" in told
    records = list(read_records(tmp_path / "cache" / "examples.jsonl"))
    assert [(r.id, r.answer, r.rationale) for r in records] == [
        ("q0", "4", "2 + 2 is 4."),
        ("q2", "4", "It is four: 4."),
    ]
    assert FORMATS["cot_zero_shot"].targets(records[0]) == RIGHT
    assert records[1].generated["targets"] == "It is four: 4."
    # The key is that of the example that a task makes of the record.
    row = cache.get(content_key("Question 0?", RIGHT))
    assert row is not None
    assert row.example_id == "q0"
    assert b"".join(cache.table.pieces[i] for i in row.token_ids).decode().strip() == RIGHT
    assert isinstance(row.steps, StepDistributions)
    np.testing.assert_allclose(np.exp(row.steps.logprobs[:, 0]), 0.6, atol=6e-3)
    np.testing.assert_allclose(np.exp(row.steps.tail_logprobs), 0.1, atol=1e-3)


def test_a_second_import_adds_and_repeats_nothing(tmp_path, capsys):
    one = write(tmp_path / "one.jsonl", answer(RIGHT))
    two = write(tmp_path / "two.jsonl", answer("4 it is. New words!", 1))
    run("openai", one, to=tmp_path / "cache")
    cache = run("openai", one, two, to=tmp_path / "cache")
    told = capsys.readouterr().out
    assert "kept      1 solutions" in told
    assert "there     1 already" in told
    assert len(cache) == 2
    for number, text in enumerate([RIGHT, "4 it is. New words!"]):
        row = cache.get(content_key(f"Question {number}?", text))
        assert b"".join(cache.table.pieces[i] for i in row.token_ids).decode().strip() == text
    assert len(list(read_records(tmp_path / "cache" / "examples.jsonl"))) == 2
    clash = write(tmp_path / "three.jsonl", answer("Another 4", 1))
    with pytest.raises(UserError, match="two solutions have the id 'q1'"):
        run("openai", clash, to=tmp_path / "cache")


def test_fewer_alternatives_than_usual_are_counted(tmp_path, capsys):
    poor = answer(RIGHT, 1)
    poor["response"]["choices"][0]["logprobs"]["content"][0]["top_logprobs"].pop()
    path = write(tmp_path / "a.jsonl", answer(RIGHT), poor)
    cache = run("openai", path, to=tmp_path / "cache")
    assert "note: 1 of 16 tokens have fewer than the usual 2 candidates" in capsys.readouterr().out
    row = cache.get(content_key("Question 1?", RIGHT))
    tails = np.exp(row.steps.tail_logprobs)
    np.testing.assert_allclose(tails, [0.4] + [0.1] * 7, atol=4e-3)


STEP = " step"


def codex_sample(
    text: str, ending: tuple[str, ...] = ("\n", "\n")
) -> list[list[tuple[str, float]]]:
    words = [" " + word if n else word for n, word in enumerate(text.split(" "))]
    tokens = [STEP, "\n", *words, *ending]
    return [[(token, 0.9), ("<<", 0.0999), (token, 0.9)] for token in tokens]


def test_codex_pickles_and_dumps_give_the_same(tmp_path, capsys):
    """With the filter of the paper's code: right, and framed by newlines; tokens [2:-2]."""
    texts = ["2 and 2.\nThe answer is 4", "The answer is 5", "Odd end. The answer is 4"]
    decodes = [codex_sample(text) for text in texts[:2]]
    decodes.append(codex_sample(texts[2], ("\n", "x")))
    directory = tmp_path / "pickles"
    directory.mkdir()
    held = {
        "codex_questions": ["Question 0: How many?\n"],
        "codex_answers": ["Answer: 2 + 2\n#### 4\n"],
        "codex_predictions": [[f"Model output {k}: \n{t}\n" for k, t in enumerate(texts)]],
        "codex_per_step_probs": [decodes],
    }
    for name, value in held.items():
        (directory / f"{name}.pkl").write_bytes(pickle.dumps(value))
    dump = tmp_path / "dump.txt"
    with dump.open("w") as file:
        file.write(held["codex_questions"][0] + held["codex_answers"][0])
        for text, decode in zip(held["codex_predictions"][0], decodes):
            steps = [" ".join(f"<<{t!r}>> {p:.4f}" for t, p in step) for step in decode]
            file.write(text + "Per-step decode: " + "".join(f"{s} ||| " for s in steps) + "\n")
    caches = [
        run("codex_pickles", directory, to=tmp_path / "a"),
        run("codex", dump, to=tmp_path / "b"),
    ]
    told = capsys.readouterr().out
    assert told.count("kept      1 solutions") == 2
    assert told.count("left out  1 not right") == 2
    assert told.count("left out  1 the tokens around the solution are not") == 2
    rows = [cache.get(content_key("How many?", texts[0])) for cache in caches]
    for row, cache in zip(rows, caches):
        assert b"".join(cache.table.pieces[i] for i in row.token_ids).decode() == texts[0]
        np.testing.assert_allclose(np.exp(row.steps.logprobs).sum(-1), 0.9999, atol=1e-4)
    np.testing.assert_array_equal(rows[0].steps.logprobs, rows[1].steps.logprobs)
    (record,) = read_records(tmp_path / "a" / "examples.jsonl")
    assert (record.answer, record.rationale) == ("4", "2 and 2.")


def test_our_own_samples(tmp_path):
    text = "4"
    ids = [*ByteVocabulary().encode(text).tolist(), 1]
    candidate = {"logprobs": [math.log(0.75)], "outside_logprob": math.log(0.25)}
    sample = {
        "id": "q",
        "sample": 2,
        "question": "2+2?",
        "text": text,
        "finish_reason": "eos",
        "token_ids": ids,
        "candidates": [{**candidate, "token_ids": [i]} for i in ids],
        "gold": "4",
        "rule": "numeric",
        "correct": True,
    }
    path = write(tmp_path / "samples.jsonl", sample)
    cache = run("samples", path, to=tmp_path / "cache", options=("--vocabulary", "byte"))
    row = cache.get(content_key("2+2?", "4"))
    assert (row.example_id, row.token_ids.tolist()) == ("q/2", ids)
    assert row.steps.ids.tolist() == [[i] for i in ids]
    assert cache.header.tokenizer_fingerprint == ByteVocabulary().fingerprint
    (record,) = read_records(tmp_path / "cache" / "examples.jsonl")
    assert (record.id, record.meta["question_id"]) == ("q/2", "q")


def test_without_beam_one_line_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", answer(RIGHT))
    with pytest.raises(UserError, match="--runner needs --num_candidates"):
        run("openai", path, to=tmp_path / "c", options=("--runner", "DirectRunner"))
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    options = ("--runner", "DirectRunner", "--num_candidates", "3")
    with pytest.raises(UserError, match=r"pip install 'tlm_jax\[beam\]'"):
        run("openai", path, to=tmp_path / "c", options=options)


@pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="the extra `beam` is not installed"
)
def test_beam_makes_the_same_cache(tmp_path):
    paths = [
        write(tmp_path / "one.jsonl", *(answer(f"{n} it is.", n) for n in range(6)), answer("", 7)),
        write(tmp_path / "two.jsonl", answer("2 it is.", 2, id="again"), answer("8 it is.", 8)),
    ]
    named = ["--output_dir", str(tmp_path / "beam"), "--teacher", "codex", "--num_candidates=3"]
    command = [sys.executable, "-m", "tlm_jax.cache_teacher", "import", "openai", *map(str, paths)]
    done = subprocess.run(
        [*command, *named, "--runner=DirectRunner", "--parts=3"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b7 kept", done.stdout), done.stdout
    assert re.search(r"\b1 the text is empty", done.stdout), done.stdout
    beam = TeacherCache.open(tmp_path / "beam")
    alone = run("openai", *paths, to=tmp_path / "alone", options=("--num_candidates=3",))
    assert beam.table == alone.table
    assert sorted(beam.keys()) == sorted(alone.keys())
    for name in list(alone.keys()):
        one, other = alone.get(name), beam.get(name)
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
        np.testing.assert_array_equal(one.steps.ids, other.steps.ids)
        np.testing.assert_array_equal(one.steps.logprobs, other.steps.logprobs)
    ids = [
        sorted(r.id for r in read_records(tmp_path / d / "examples.jsonl"))
        for d in ("beam", "alone")
    ]
    assert ids[0] == ids[1]


def test_half_a_surrogate_pair_is_left_out(tmp_path):
    path = write(tmp_path / "a.jsonl", answer(RIGHT, question="\ud800?"))
    with pytest.raises(UserError, match="can be cached: 1 halves of surrogate pairs"):
        run("openai", path, to=tmp_path / "cache")


def test_probabilities_that_sum_above_one_are_named_where_nothing_is_left(tmp_path):
    row = answer("The answer is 4")
    tops = row["response"]["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    tops[1]["logprob"] = math.log(0.5)
    with pytest.raises(UserError, match="can be cached: 1 probabilities sum to more than 1"):
        run("openai", write(tmp_path / "a.jsonl", row), to=tmp_path / "cache")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("samples", (), "samples need --vocabulary"),
        ("openai", ("--vocabulary", "byte"), "--vocabulary is for samples"),
        ("codex", ("--questions", "q.jsonl"), "--questions is for openai"),
        ("openai", ("--grading_rule", "numerik"), "Did you mean 'numeric'"),
        ("openai", ("--only_corect",), "unknown argument '--only_corect'"),
        ("openai", ("--only_correct",), "can be cached: 1 not right"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, source, options, message):
    path = write(tmp_path / "a.jsonl", answer("The answer is 5"))
    with pytest.raises(UserError, match=message):
        run(source, path, to=tmp_path / "cache", options=options)
