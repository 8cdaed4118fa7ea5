"""`cache_teacher score` as a person meets it: caches of local models, kills, hosts, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from json_lines import write
from scored_solutions import PROMPT, ROOT, SOLUTIONS, run

from tlm_jax import infer
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.records import read_records
from tlm_jax.scoring.continuations import Scorer
from tlm_jax.scoring.rows import Request
from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions, content_key
from tlm_jax.vocabularies import vocabulary_from_name


def key(row: dict[str, Any]) -> str:
    return content_key(row["question"], row["solution"])


def test_rows_are_the_model_s_distributions(llama, solutions, tmp_path, capsys):
    cache = run(llama, tmp_path / "c", f"SOLUTIONS={solutions}", f"PROMPT={PROMPT}")
    assert set(cache.keys()) == {key(row) for row in SOLUTIONS}
    assert cache.header.key_fields == ("question", "options", "targets")
    vocabulary = vocabulary_from_name(str(llama))
    source = open_pretrained(llama)
    params = jax.tree.map(jnp.asarray, load_params(source, source.config))
    requests = []
    for row in SOLUTIONS:
        found = cache.get(key(row))
        assert found.example_id == f"{row['id']}/{row['sample']}"
        assert vocabulary.decode(found.token_ids) == row["solution"]
        assert found.token_ids[-1] == vocabulary.eos_id
        prompt = vocabulary.encode(PROMPT.format(question=row["question"]))
        requests.append(Request(prompt, [found.token_ids]))
        sums = np.exp(found.steps.logprobs).sum(-1) + np.exp(found.steps.tail_logprobs)
        np.testing.assert_allclose(sums, 1, atol=1e-4)
    scores = Scorer(source.config, batch_size=4).score(params, requests)
    for row, (expected,) in zip(SOLUTIONS, scores):
        found = cache.get(key(row))
        chosen = found.steps.logprobs[found.steps.ids == found.token_ids[:, None]]
        # Each is rounded to 0.01 nat at most.
        assert chosen.sum() == pytest.approx(expected.logprob_nats, abs=0.01 * len(chosen))
    records = list(read_records(tmp_path / "c" / "examples.jsonl"))
    assert [record.id for record in records] == ["a/0", "a/1", "b/0"]
    assert records[0].rationale == "2+2=4"
    assert "3 solutions, " in capsys.readouterr().out


def test_only_right_ones_and_again(llama, solutions, tmp_path, capsys):
    settings = [f"SOLUTIONS={solutions}", f"PROMPT={PROMPT}", "ONLY_CORRECT=True"]
    cache = run(llama, tmp_path / "c", *settings)
    assert set(cache.keys()) == {key(SOLUTIONS[0]), key(SOLUTIONS[2])}
    assert "1 not right" in capsys.readouterr().out
    cache = run(llama, tmp_path / "c", *settings[:2])
    assert len(cache) == 3
    assert "3, of which 2 are there" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["topk", "hidden"])
def test_a_run_killed_between_its_last_row_and_its_examples_is_finished(
    llama, solutions, tmp_path, encoding
):
    settings = [f"SOLUTIONS={solutions}", f"PROMPT={PROMPT}", f"ENCODING={encoding}"]
    run(llama, tmp_path / "c", *settings)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    (tmp_path / "c" / "examples.jsonl").unlink()
    run(llama, tmp_path / "c", *settings)
    assert {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()} == whole


def test_two_hosts_are_one(llama, solutions, tmp_path):
    settings = [f"SOLUTIONS={solutions}", f"PROMPT={PROMPT}"]
    alone = run(llama, tmp_path / "alone", *settings)
    for host in (1, 0):
        both = run(llama, tmp_path / "both", *settings, "NUM_HOSTS=2", f"HOST_INDEX={host}")
    assert same(alone, both)


@pytest.mark.slow
def test_two_processes_of_a_job_are_one(run_processes, llama, solutions, tmp_path):
    """As above, by JAX's own count of processes, on a mesh of each one's devices."""
    settings = [f"SOLUTIONS={solutions}", f"PROMPT={PROMPT}", "NUM_CANDIDATES=104"]
    settings += [f"MODEL={llama}", "BATCH_SIZE=8", "--gin.mesh.MeshShape.tensor=2"]
    found = []
    for processes in (1, 2):
        cache = tmp_path / str(processes)
        arguments = ["score", f"OUTPUT_DIR={cache}", *settings]
        run_processes("tlm_jax.cache_teacher", *arguments, processes=processes, devices=4)
        found.append(TeacherCache.open(cache))
    hosts = [{path.name[:11] for path in (tmp_path / n).glob("shard-*")} for n in "12"]
    assert hosts == [{"shard-00000"}, {"shard-00000", "shard-00001"}]
    assert same(*found)


def same(one: Any, other: Any) -> bool:
    names = sorted(one.keys())
    assert names == sorted(other.keys())
    for name in names:
        a, b = one.get(name), other.get(name)
        np.testing.assert_array_equal(a.token_ids, b.token_ids)
        np.testing.assert_array_equal(a.steps.ids[:, :3], b.steps.ids[:, :3])
        np.testing.assert_allclose(a.steps.logprobs, b.steps.logprobs, atol=0.02)
    return True


def test_draws_and_hidden_states(llama, t5, solutions, tmp_path):
    settings = [f"SOLUTIONS={solutions}", f"PROMPT={PROMPT}"]
    drawn = run(llama, tmp_path / "d", *settings, "ENCODING=sampled", "NUM_DRAWS=7")
    again = run(llama, tmp_path / "e", *settings, "ENCODING=sampled", "NUM_DRAWS=7")
    for row in SOLUTIONS:
        steps = drawn.get(key(row)).steps
        counts = np.exp(steps.logprobs) * 7
        np.testing.assert_allclose(counts.sum(-1), 7, rtol=1e-5)
        np.testing.assert_array_equal(steps.ids, again.get(key(row)).steps.ids)
    hidden = run(t5, tmp_path / "h", *settings, "ENCODING=hidden")
    whole = run(t5, tmp_path / "t", *settings)
    for row in SOLUTIONS:
        kept, expected = hidden.get(key(row)), whole.get(key(row))
        assert isinstance(kept.steps, HiddenSteps)
        assert isinstance(expected.steps, StepDistributions)
        logits = hidden.unembedding.logits(np.asarray(kept.steps.hidden, np.float32))
        logprobs = np.asarray(jax.nn.log_softmax(logits))
        found = np.take_along_axis(logprobs, expected.steps.ids[:, :3], axis=1)
        np.testing.assert_allclose(found, expected.steps.logprobs[:, :3], atol=0.15)


def test_targets_of_a_task_and_samples_of_its_questions(llama, tmp_path):
    task = ["MIXTURE_OR_TASK_NAME=addition_direct", "SPLIT=train", "NUM_EXAMPLES=3"]
    cache = run(llama, tmp_path / "task", *task)
    assert len(cache) == 3
    assert not (tmp_path / "task" / "examples.jsonl").exists()
    out = tmp_path / "samples"
    asked = ["NUM_SAMPLES=4", "MAX_TOKENS=5", "NUM_CANDIDATES=104", "BATCH_SIZE=8", "DTYPE=float32"]
    infer.main([f"MODEL={llama}", f"OUTPUT_DIR={out}", *task, *asked])
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    samples = [row for row in samples if row["text"].strip()]
    scored = run(llama, tmp_path / "own", *task, f"SOLUTIONS={out / 'samples.jsonl'}")
    compared = 0
    for row in samples:
        found = scored.get(content_key(row["question"], row["text"].strip()))
        assert found is not None
        # The sampler may have written the text in other tokens than the tokenizer does.
        for t, (token, written) in enumerate(zip(found.token_ids, row["token_ids"])):
            if token != written:
                break
            chosen = found.steps.logprobs[t][found.steps.ids[t] == token]
            assert float(chosen[0]) == pytest.approx(row["logprobs"][t], abs=0.011)
            compared += 1
    assert compared


def test_chat_and_other_places_of_the_solution(llama, tmp_path):
    row = {"id": 1, "question": "2+2?", "all": {"found": [{"text": "4", "good": 1}, {"text": "5"}]}}
    row["all"]["found"][1]["good"] = 0
    path = write(tmp_path / "s.jsonl", row)
    settings = [f"SOLUTIONS={path}", "PROMPT={question} {inputs}", "CHAT=True"]
    fields = ["SOLUTION_FIELD=all.found.text", "CORRECT_FIELD=all.found.good", "ONLY_CORRECT=True"]
    cache = run(llama, tmp_path / "c", *settings, *fields)
    assert list(cache.keys()) == [content_key("2+2?", "4")]
    assert "prompt.chat_template" in cache.header.settings


def test_a_killed_run_goes_on_where_it_was(llama, tmp_path):
    rows = [
        {"id": n, "question": f"{n}+{n}?", "solution": f"{n}+{n}={2 * n}\nThe answer is {2 * n}"}
        for n in range(60)
    ]
    path = write(tmp_path / "s.jsonl", *rows)
    settings = [f"SOLUTIONS={path}", f"PROMPT={PROMPT}", "ROWS_PER_SHARD=3"]
    cache = tmp_path / "c"
    command = [sys.executable, "-m", "tlm_jax.cache_teacher", "score", f"MODEL={llama}"]
    process = subprocess.Popen(
        [*command, f"OUTPUT_DIR={cache}", "NUM_CANDIDATES=104", "BATCH_SIZE=1", *settings],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while len(list(cache.glob("shard-*.rows"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = len(TeacherCache.open(cache))
    assert 3 <= kept < 60
    assert same(run(llama, cache, *settings), run(llama, tmp_path / "whole", *settings))
    assert len(TeacherCache.open(cache)) == 60
