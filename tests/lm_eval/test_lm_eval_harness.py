"""The harness itself runs local tasks with our model and with its own `hf` on the same weights.

It lives in the environment of `scripts/setup peers`; skips, saying so, where it is absent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers"
TASKS = "tests/lm_eval/tasks"

# Ours needs JAX and the harness, which live in two environments; ours comes first.
_RUN_OURS = (
    "import runpy, site, sys; site.addsitedir(sys.argv.pop(1)); "
    "runpy.run_module('tlm_jax.lm_eval', run_name='__main__', alter_sys=True)"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packages() -> Path:
    """Where the harness is installed."""
    found = list(PEERS.glob("lib/python*/site-packages/lm_eval"))
    if not found:
        pytest.skip("no lm_eval in .venv-peers: run scripts/setup peers")
    return found[0].parent


def run_harness(command: list[Any], output: Path, *arguments: Any) -> tuple[dict, dict, str]:
    """Returns results by task, samples by task and number, and what was printed."""
    whole = [*command, *arguments, "--include_path", TASKS]
    whole += ["--output_path", output, "--log_samples"]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(output.parent / "hf_home"),
        "XLA_FLAGS": "",
    }
    done = subprocess.run(
        [str(word) for word in whole],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = output.glob("*/results_*.json")
    samples = {}
    for file in output.glob("*/samples_*.jsonl"):
        task = file.name.removeprefix("samples_").rpartition("_")[0]
        for line in file.read_text().splitlines():
            sample = json.loads(line)
            samples[task, sample["doc_id"]] = sample
    return json.loads(results.read_text()), samples, done.stdout + done.stderr


def compare(
    ours: dict[tuple[str, int], dict[str, Any]], theirs: dict[tuple[str, int], dict[str, Any]]
) -> None:
    """Checks that prompts and answers are the same, and log-likelihoods to 1e-3."""
    assert ours.keys() == theirs.keys()
    for key, sample in ours.items():
        other = theirs[key]
        assert sample["arguments"] == other["arguments"], key
        if key[0].endswith("choice"):
            for (logprob, greedy), (expected, same) in zip(
                sample["filtered_resps"], other["filtered_resps"], strict=True
            ):
                assert float(logprob) == pytest.approx(float(expected), abs=1e-3), key
                assert greedy == same, key
        elif key[0].endswith("rolling"):
            (ours_nats,), (theirs_nats,) = sample["filtered_resps"], other["filtered_resps"]
            # A sum over a whole text, of hundreds of tokens.
            assert float(ours_nats) == pytest.approx(float(theirs_nats), rel=1e-4, abs=1e-3), key
        else:
            assert sample["filtered_resps"] == other["filtered_resps"], key


def metrics(results: dict[str, Any]) -> dict[str, float]:
    """Returns the figures of a run by task and name."""
    return {
        f"{task} {name}": value
        for task, figures in results["results"].items()
        for name, value in figures.items()
        if isinstance(value, float)
    }


def run_ours(packages: Path, output: Path, model_args: str, *arguments: Any):
    """Runs `python -m tlm_jax.lm_eval --model tlm_jax`; see `run_harness`."""
    command = [sys.executable, "-c", _RUN_OURS, packages, "--model", "tlm_jax"]
    model = ["--model_args", model_args, "--batch_size", "auto"]
    return run_harness(command, output, *model, *arguments)


def run_hf(output: Path, model_args: str, *arguments: Any):
    """Runs `lm_eval --model hf`; see `run_harness`."""
    command = [PEERS / "bin" / "python", "-m", "lm_eval", "--model", "hf", "--device", "cpu"]
    model = ["--model_args", f"{model_args},dtype=float32", "--batch_size", "3"]
    return run_harness(command, output, *model, *arguments)


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_tiny_models_get_the_figures_of_hf(kind, request, packages, tmp_path):
    """Every kind of request; some contexts are longer than the window.

    No answers of an encoder-decoder: `hf` lets them grow by the length of the prompt.
    """
    tasks = ["words_choice", "words_rolling"]
    if kind == "decoder":
        model = request.getfixturevalue("model_directories")[kind]
        tasks.append("words_generate")
    else:
        model = request.getfixturevalue("tied_t5")
    asked = ["--tasks", ",".join(tasks), "--num_fewshot", "2"]
    arguments = f"pretrained={model},max_length=24"
    found, ours, _ = run_ours(packages, tmp_path / "ours", arguments, *asked)
    expected, theirs, _ = run_hf(tmp_path / "theirs", arguments, *asked)
    compare(ours, theirs)
    assert metrics(found) == pytest.approx(metrics(expected), rel=1e-3)
    assert found["config"]["cut_contexts"] > 0


def test_a_second_run_takes_its_answers_from_the_harnesss_cache(
    model_directories, packages, tmp_path
):
    arguments = f"pretrained={model_directories['decoder']},max_length=24"
    asked = ["--tasks", "words_choice,words_generate", "--use_cache", tmp_path / "cache"]
    first, samples, printed = run_ours(packages, tmp_path / "first", arguments, *asked)
    assert "Cached requests: 0, Requests remaining: 24" in printed
    second, same, printed = run_ours(packages, tmp_path / "second", arguments, *asked)
    assert "Cached requests: 24, Requests remaining: 0" in printed
    assert "Cached requests: 4, Requests remaining: 0" in printed
    compare(same, samples)
    assert metrics(second) == metrics(first)


def test_a_chat_model_gets_the_figures_of_hf(packages, tmp_path):
    """SmolLM2 by its template: examples as turns, a system message, answers begun by the task."""
    native = Path(os.environ.get("TLM_JAX_SMOLLM2", tmp_path / "smollm2"))
    if not native.exists():
        subprocess.run([ROOT / "scripts" / "get_smollm2", native], check=True)
    convert = [sys.executable, "-m", "tlm_jax.convert", native, tmp_path / "hf", "--to=hf"]
    subprocess.run(convert, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    asked = ["--tasks", "english_choice,english_generate,english_prefilled,english_rolling"]
    asked += ["--num_fewshot", "2", "--apply_chat_template", "--system_instruction", "Be brief."]
    window = "max_length=96"  # too short for some
    found, ours, _ = run_ours(packages, tmp_path / "o", f"pretrained={native},{window}", *asked)
    expected, theirs, _ = run_hf(tmp_path / "t", f"pretrained={tmp_path / 'hf'},{window}", *asked)
    compare(ours, theirs)
    assert metrics(found) == pytest.approx(metrics(expected), rel=1e-3)
    assert found["config"]["cut_prompts"] > 0
    assert found["chat_template_sha"] == expected["chat_template_sha"]
