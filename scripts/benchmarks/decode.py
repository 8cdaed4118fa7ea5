"""Times generation of T5 1.1 small and of a 58M Llama on this machine's CPU, beside transformers.

Float32, random weights (the same shapes in both libraries; no sequence ends before the limit),
prompts of 256 tokens, 64 new ones: greedy for 8 prompts, and 8 samples for each of 2 prompts, whose
prompt work ours does once. Both libraries run in processes of their own and take turns, so that
whatever else the machine does hits both alike. CPU time is what a busy machine distorts least.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import train_step

MODELS = ("t5", "llama")
CASES = {"greedy": "greedy, 8 prompts", "shared": "8 samples for each of 2 prompts"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark decode", description=__doc__)
    parser.add_argument("--vs", choices=["hf"], help="hf: transformers on torch")
    parser.add_argument("--peer-python", default=train_step.peer_python(), metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of each library")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one")
    parser.add_argument("--prompt", type=int, default=256, help="tokens")
    parser.add_argument("--new", type=int, default=64, help="tokens")
    options = parser.parse_args(arguments)
    for model in options.model or MODELS:
        _compare(model, options)
    return 0


def _compare(model: str, options: argparse.Namespace) -> None:
    shape = (model, options.prompt, options.new)
    workers = {
        "tlm_jax": train_step.Worker(sys.executable, "tlm_jax_decode.py", options.cores, *shape)
    }
    if options.vs:
        workers["hf"] = train_step.Worker(
            options.peer_python, "hf_decode.py", options.cores, *shape
        )
    print(f"{model}, prompt {options.prompt}, {options.new} new tokens, {options.cores} cores")
    for case, described in CASES.items():
        times = {name: [] for name in workers}
        for turn in range(options.rounds + 1):
            for name, worker in workers.items():
                answer = worker.ask(case)
                if turn:  # the first compiles
                    times[name].append(answer)
        print(f"  {described}, median of {options.rounds}")
        rates = {}
        for name, answers in times.items():
            for unit in ("seconds", "cpu_seconds"):
                rates[name, unit] = statistics.median(a["tokens"] / a[unit] for a in answers)
            print(
                f"    {name:8}{rates[name, 'seconds']:7.0f} new tokens/s, "
                f"{rates[name, 'cpu_seconds']:5.0f} a second of CPU time"
            )
        if options.vs:
            wall, cpu = (
                rates["tlm_jax", unit] / rates["hf", unit] for unit in ("seconds", "cpu_seconds")
            )
            print(f"    ours is {wall:.2f} times hf's, {cpu:.2f} times by CPU time", flush=True)
    for worker in workers.values():
        worker.close()
