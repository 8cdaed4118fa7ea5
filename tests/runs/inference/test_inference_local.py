"""Samples of local models: what is written of each, and what must not change them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tlm_jax import infer
from tlm_jax.errors import UserError


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two samples are the same, but for what rounding does to log-probabilities."""
    near = [pytest.approx(value, abs=1e-4) for value in other["logprobs"]]
    rounded = {"logprobs": None, "candidates": None}
    return {**one, **rounded} == {**other, **rounded} and one["logprobs"] == near


def test_samples_of_a_local_model(drawn):
    found = drawn.samples
    ids = ["one", "two", "three", "four"]
    assert list(found) == [(name, n) for name in ids for n in range(3)]
    for sample in found.values():
        count = sample["num_tokens"]
        assert len(sample["token_ids"]) == len(sample["logprobs"]) == count
        assert len(sample["candidates"]) == count
        assert sample["finish_reason"] in ("eos", "length")
        assert (count == 6) or sample["finish_reason"] == "eos"
        for token, logprob, top in zip(
            sample["token_ids"], sample["logprobs"], sample["candidates"]
        ):
            assert top["logprobs"][0] >= top["logprobs"][1]
            if token in top["token_ids"]:
                place = top["token_ids"].index(token)
                assert top["logprobs"][place] == pytest.approx(logprob, abs=1e-4)
    assert len({sample["seed"] for sample in found.values()}) == 12
    assert found["one", 0]["gold"] == "42"
    assert found["one", 0]["correct"] is False
    assert "gold" not in found["three", 0]
    assert found["four", 0]["correct"] is None  # "forty" is no number
    assert "jsonl:4: the answer 'forty' cannot be read; not graded" in drawn.shown
    assert re.search(r"drawn   12 samples, [\d.,]+ samples/s, [\d.,]+ tokens/s", drawn.shown)
    summary = json.loads((drawn.output / "summary-host-00000.json").read_text())
    assert summary["unreadable_answers"] == ["four"]
    assert summary["graded"] == 6
    assert summary["new_samples"] == 12


def test_further_samples_and_several_hosts_change_no_sample(
    drawn, run, samples, llama, prompts, tmp_path
):
    grown, shared = tmp_path / "grown", tmp_path / "shared"
    run(llama, prompts, grown, *drawn.settings, "NUM_SAMPLES=1")
    run(llama, prompts, grown, *drawn.settings, "BATCH_SIZE=16")
    run(llama, prompts, shared, *drawn.settings, "NUM_HOSTS=2", "HOST_INDEX=1")
    assert not (shared / "samples.jsonl").exists()
    run(llama, prompts, shared, *drawn.settings, "NUM_HOSTS=2", "HOST_INDEX=0")
    for other in (samples(grown), samples(shared)):
        assert list(other) == list(drawn.samples)
        assert all(same(other[key], drawn.samples[key]) for key in drawn.samples)
    lines = [(shared / "parts" / f"host-0000{n}.jsonl").read_text().count("\n") for n in (0, 1)]
    assert lines == [6, 6]


def test_an_encoder_decoder_on_a_task_with_its_own_vocabulary(make_model, samples, tmp_path):
    model = make_model(tmp_path / "mt5", "mt5")
    arguments = [
        f"MODEL={model}",
        "MIXTURE_OR_TASK_NAME=addition_zero_shot_cot",
        "SPLIT=test",
        "NUM_EXAMPLES=2",
        f"OUTPUT_DIR={tmp_path / 'out'}",
        "MAX_TOKENS=4",
        "TEMPERATURE=0",
    ]
    with pytest.raises(UserError, match=r"no task or mixture named 'addition_zero_shot_cot'"):
        infer.main(arguments)
    arguments[1] = "MIXTURE_OR_TASK_NAME=word_problems_easy_cot_zero_shot"
    arguments[2] = "SPLIT=validation"
    assert infer.main(arguments) == 0
    found = samples(tmp_path / "out")
    assert len(found) == 2
    assert all(isinstance(sample["correct"], bool) for sample in found.values())


def test_stop_strings_end_a_sample_and_are_left_out(drawn, run, samples, llama, prompts, tmp_path):
    stops = ("w1", "w2")
    run(llama, prompts, tmp_path / "stopped", *drawn.settings, f"STOP={list(stops)}")
    found = samples(tmp_path / "stopped")
    stopped = 0
    for key, free in drawn.samples.items():
        held = found[key]
        places = [free["text"].find(stop) for stop in stops if stop in free["text"]]
        if not places:  # never reached
            assert held["finish_reason"] in ("eos", "length")
            assert held["text"] == free["text"]
            continue
        stopped += 1
        assert held["finish_reason"] == "stop"
        assert held["text"] == free["text"][: min(places)]
        assert held["token_ids"] == free["token_ids"][: len(held["token_ids"])]
    assert 0 < stopped < len(found)


def test_a_prompt_beyond_the_window(run, samples, write_prompts, llama, tmp_path, capsys):
    long = write_prompts(
        tmp_path / "long.jsonl",
        {"id": "a", "prompt": "w5"},
        {"id": "b", "prompt": "w6 " * 70},
        {"id": "c", "prompt": "w6 " * 58},
    )
    with pytest.raises(UserError, match=r"long.jsonl:2: .*'b' has 70 tokens, .* for 58"):
        run(llama, long, tmp_path / "out")
    assert run(llama, long, tmp_path / "out", "TOO_LONG=keep_end", "TEMPERATURE=0") == 0
    found = samples(tmp_path / "out")
    assert found["b", 0]["token_ids"] == found["c", 0]["token_ids"]
    assert "note: of 1 prompts only the last 58 tokens were kept" in capsys.readouterr().out
    with pytest.raises(UserError, match="MAX_TOKENS is 64, but the model's window has 64"):
        run(llama, long, tmp_path / "other", "MAX_TOKENS=64")
