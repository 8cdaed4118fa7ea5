"""Runs that were killed, stopped, or are given again with other settings."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tlm_jax.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["TEMPERATURE=0.5"], "sampling.temperature 1.0, this run has 0.5"),
        (["SEED=1"], "sampling.seed 0, this run has 1"),
        (["MAX_TOKENS=7"], "sampling.max_tokens 6, this run has 7"),
        (["NUM_EXAMPLES=2"], "prompts.sha256"),
        (["GRADING_RULE=text"], 'grading_rule null, this run has "text"'),
    ],
)
def test_goes_on_only_with_the_same_settings(
    drawn, run, llama, prompts, tmp_path, settings, message
):
    shutil.copytree(drawn.output, tmp_path / "out")
    before = (tmp_path / "out" / "parts" / "host-00000.jsonl").read_bytes()
    with pytest.raises(UserError, match=re.escape(message)):
        run(llama, prompts, tmp_path / "out", *drawn.settings, *settings)
    assert (tmp_path / "out" / "parts" / "host-00000.jsonl").read_bytes() == before


def test_a_finished_run_draws_nothing(drawn, run, samples, llama, prompts, tmp_path, capsys):
    shutil.copytree(drawn.output, tmp_path / "out")
    assert run(llama, prompts, tmp_path / "out", *drawn.settings) == 0
    assert samples(tmp_path / "out") == drawn.samples
    assert "12 samples, of which 12 are there" in capsys.readouterr().out


def test_a_run_killed_between_its_last_sample_and_its_summary_is_finished(
    drawn, run, llama, prompts, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(drawn.output, out)
    written = (out / "samples.jsonl").read_bytes()
    # What a kill while the samples are put together leaves.
    (out / "samples.jsonl").rename(out / ".samples.jsonl.12345")
    (out / "summary-host-00000.json").unlink()
    assert run(llama, prompts, out, *drawn.settings) == 0
    assert (out / "samples.jsonl").read_bytes() == written
    summary = json.loads((out / "summary-host-00000.json").read_text())
    assert (summary["graded"], summary["new_samples"]) == (6, 0)


def kill_within(command: list[str], part: Path, least: int) -> list[dict[str, Any]]:
    """Kills a run once so many samples are on disk; returns those that are whole there.

    A line that the kill has torn is put behind them.
    """
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if part.exists() and part.read_bytes().count(b"\n") >= least:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    written = part.read_bytes()
    whole = written[: written.rindex(b"\n") + 1]
    part.write_bytes(whole + b'{"id": "39", "sample": 1, "te')
    return [json.loads(line) for line in whole.splitlines()]


@pytest.mark.slow
def test_a_killed_run_of_a_local_model_loses_and_repeats_nothing(
    run, samples, write_prompts, llama, tmp_path
):
    many = write_prompts(
        tmp_path / "many.jsonl", *({"id": str(n), "prompt": f"w{3 + n} w5"} for n in range(96))
    )
    output, settings = tmp_path / "out", ["NUM_SAMPLES=4", "NUM_CANDIDATES=2"]
    command = [sys.executable, "-m", "tlm_jax.infer", f"MODEL={llama}", f"PROMPTS={many}"]
    command += ["MAX_TOKENS=6", "BATCH_SIZE=8"]  # as `run` has them
    part = output / "parts" / "host-00000.jsonl"
    before = kill_within([*command, f"OUTPUT_DIR={output}", *settings], part, least=10)
    assert 10 <= len(before) < 384
    assert run(llama, many, output, *settings) == 0
    found = samples(output)
    assert list(found) == [(str(n), sample) for n in range(96) for sample in range(4)]
    assert all(found[line["id"], line["sample"]] == line for line in before)
    lines = [json.loads(line) for line in part.read_text().splitlines()]
    assert len(lines) == 384
    assert lines[: len(before)] == before
    # What was never interrupted has the same samples.
    fewer = write_prompts(tmp_path / "few.jsonl", {"id": "7", "prompt": "w10 w5"})
    assert run(llama, fewer, tmp_path / "few", *settings) == 0
    for key, sample in samples(tmp_path / "few").items():
        assert sample["token_ids"] == found[key]["token_ids"]


def test_a_killed_run_asks_a_server_nothing_again(server, samples, write_prompts, tmp_path):
    many = write_prompts(
        tmp_path / "many.jsonl", *({"id": str(n), "prompt": f"p{n}"} for n in range(40))
    )
    output, part = tmp_path / "out", tmp_path / "out" / "parts" / "host-00000.jsonl"

    def slowly(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        time.sleep(0.02)
        choice = {"text": f"{payload['prompt']} {number}", "finish_reason": "stop"}
        return 200, {}, {"choices": [choice]}

    server.script = slowly
    command = [sys.executable, "-m", "tlm_jax.infer", f"MODEL=openai:{server.url},tiny"]
    command += [f"PROMPTS={many}", f"OUTPUT_DIR={output}", "CONCURRENCY=4", "NUM_SAMPLES=2"]
    command += ["RESPONSE_CACHE_DIR=''"]
    before = kill_within(command, part, least=15)
    assert 15 <= len(before) < 80
    asked = len(server.requests)
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True).returncode == 0
    found = samples(output)
    assert list(found) == [(str(n), sample) for n in range(40) for sample in (0, 1)]
    assert all(found[line["id"], line["sample"]] == line for line in before)
    assert len(server.requests) - asked == 80 - len(before)


def test_ctrl_c_does_not_wait_for_answers_under_way(server, prompts, tmp_path):
    over = threading.Event()
    server.script = lambda number, payload: (over.wait(60), (500, {}, b""))[1]
    command = [sys.executable, "-m", "tlm_jax.infer", f"MODEL=openai:{server.url},tiny"]
    command += [f"PROMPTS={prompts}", f"OUTPUT_DIR={tmp_path / 'out'}"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while len(server.requests) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(server.requests) == 4
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=15)
    over.set()
    assert shown == ("stopped by SIGINT; what was finished is safe, and the same command goes on\n")
    assert process.returncode == 130


def test_another_template_is_another_model_to_conversations(run, llama, write_prompts, tmp_path):
    model = shutil.copytree(llama, tmp_path / "model")
    plain = write_prompts(tmp_path / "plain.jsonl", {"prompt": "w5"})
    asked = write_prompts(
        tmp_path / "asked.jsonl", {"messages": [{"role": "user", "content": "w5"}]}
    )
    for name, path in (("plain", plain), ("asked", asked)):
        assert run(model, path, tmp_path / name, "MAX_TOKENS=2") == 0
    (model / "chat_template.jinja").write_text("w8")
    assert run(model, plain, tmp_path / "plain", "MAX_TOKENS=2") == 0
    with pytest.raises(UserError, match=r"holds samples made with model\.chat_template"):
        run(model, asked, tmp_path / "asked", "MAX_TOKENS=2")
