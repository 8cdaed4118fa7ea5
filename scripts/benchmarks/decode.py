"""Times generation of T5 1.1 small and a 58M Llama on this machine's CPU, beside other libraries.

Float32 and the same weights everywhere: ours, written with `tlm_jax.convert` for transformers and
from there with CTranslate2's converter. Prompts of 256 tokens, 64 new ones, no sequence ends
before: greedy for 8 prompts, and 8 samples for each of 2 prompts. Ours alone: 40 samples of one
prompt beside 40 rows that begin from a single token, without any prompt to work on. All libraries
run in processes of their own and take turns, so that whatever else the machine does hits them
alike. CPU time is what a busy machine distorts least.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import train_step

MODELS = ("t5", "llama")
PEERS = {"hf": "hf_decode.py", "ct2": "ct2_decode.py"}
CASES = {"greedy": "greedy, 8 prompts", "shared": "8 samples for each of 2 prompts"}
OURS = {"forty": "40 samples of one prompt", "rows": "40 rows without prompt work"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark decode", description=__doc__)
    parser.add_argument(
        "--vs",
        type=lambda text: text.split(","),
        default=[],
        metavar="hf,ct2",
        help="hf: transformers on torch; ct2: CTranslate2",
    )
    parser.add_argument("--peer-python", default=train_step.peer_python(), metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of each library")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one")
    parser.add_argument("--prompt", type=int, default=256, help="tokens")
    parser.add_argument("--new", type=int, default=64, help="tokens")
    options = parser.parse_args(arguments)
    for name in options.vs:
        if name not in PEERS:
            parser.error(f"--vs={name}: expected {' or '.join(PEERS)}")
    for model in options.model or MODELS:
        with tempfile.TemporaryDirectory() as directory:
            _write(model, Path(directory), options)
            _compare(model, directory, options)
    return 0


def _write(model: str, directory: Path, options: argparse.Namespace) -> None:
    """Writes the model in our format and in transformers', and the prompts."""
    numbers = random.Random(0)
    prompts = [[numbers.randrange(3, 31000) for _ in range(options.prompt)] for _ in range(8)]
    (directory / "prompts.json").write_text(json.dumps(prompts))
    native = directory / "native"
    train_step.Worker(
        sys.executable, "tlm_jax_decode.py", options.cores, "write", model, str(native)
    ).close()
    convert = [sys.executable, "-m", "tlm_jax.convert", str(native), str(directory / "hf")]
    subprocess.run([*convert, "--to=hf"], check=True, stdout=subprocess.DEVNULL)


def _compare(model: str, directory: str, options: argparse.Namespace) -> None:
    shape = (directory, options.new)
    workers = {
        "tlm_jax": train_step.Worker(
            sys.executable, "tlm_jax_decode.py", options.cores, "run", *shape
        )
    }
    for name in options.vs:
        workers[name] = train_step.Worker(options.peer_python, PEERS[name], options.cores, *shape)
    print(f"{model}, prompt {options.prompt}, {options.new} new tokens, {options.cores} cores")
    _check_ids(workers)
    for case, described in CASES.items():
        print(f"  {described}, median of {options.rounds}")
        rates = _rates({name: (worker, case) for name, worker in workers.items()}, options.rounds)
        for name in options.vs:
            print(f"    ours is {_ratio(rates, 'tlm_jax', name)} {name}'s", flush=True)
    print("  ours alone")
    rates = _rates({name: (workers["tlm_jax"], name) for name in OURS}, options.rounds)
    print(
        f"    a sample takes {_ratio(rates, 'rows', 'forty')} the time of a row alone", flush=True
    )
    for worker in workers.values():
        worker.close()


def _check_ids(workers: dict[str, train_step.Worker]) -> None:
    """Prints how many greedy texts are the same token for token."""
    ids = {name: worker.ask("ids")["ids"] for name, worker in workers.items()}
    ours = ids.pop("tlm_jax")
    for name, other_ids in ids.items():
        same = sum(left == right for left, right in zip(ours, other_ids, strict=True))
        print(f"  {same} of {len(ours)} greedy texts are token for token those of {name}")


def _rates(
    turns: dict[str, tuple[train_step.Worker, str]], rounds: int
) -> dict[tuple[str, str], float]:
    """Times cases in turns. Returns the median of new tokens per second and per CPU second."""
    times: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for turn in range(rounds + 1):
        for name, (worker, case) in turns.items():
            answer = worker.ask(case)
            if turn:  # the first compiles
                times[name].append(answer)
    rates = {
        (name, unit): statistics.median(answer["tokens"] / answer[unit] for answer in answers)
        for name, answers in times.items()
        for unit in ("seconds", "cpu_seconds")
    }
    for name in turns:
        wall, cpu = rates[name, "seconds"], rates[name, "cpu_seconds"]
        described = OURS.get(name, name)
        print(f"    {described:28}{wall:7.0f} new tokens/s, {cpu:5.0f} a second of CPU time")
    return rates


def _ratio(rates: dict[tuple[str, str], float], one: str, other: str) -> str:
    wall, cpu = (rates[one, unit] / rates[other, unit] for unit in ("seconds", "cpu_seconds"))
    return f"{wall:.2f} times (by CPU time {cpu:.2f} times)"
