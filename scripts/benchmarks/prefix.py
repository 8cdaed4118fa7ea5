"""Times few-shot answers with and without the prefix cache: SmolLM2-135M on GSM8K, on this CPU.

Six demonstrations of STaR's published prompt (star_prompts.jsonl.gz) before each of some test
questions, in float32. `generate` draws a greedy answer to each, all of one length, with the
demonstrations worked on once, and with each prompt worked on whole; `score` finds the
log-probabilities of given answers. Both ways take turns in one process, so that whatever else the
machine does hits both alike, and the rate of a matrix product is measured in between.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

CASES = ("generate", "score")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark prefix", description=__doc__)
    parser.add_argument("--model", metavar="DIR", help="as scripts/get_smollm2 DIR writes it")
    data = os.environ.get("TLM_JAX_DATA_DIR")
    parser.add_argument("--data", metavar="DIR", default=data, help="default: $TLM_JAX_DATA_DIR")
    parser.add_argument("--case", choices=CASES, action="append", help="default: both")
    parser.add_argument("--demonstrations", type=int, default=6)
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--rows", type=int, default=32, help="decoded or scored at once")
    parser.add_argument("--new", type=int, default=96, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3, help="timed turns of each")
    options = parser.parse_args(arguments)
    lacking = _lacking(options)
    if lacking:
        print(f"prefix: skipped, {lacking}")
        return 0
    os.environ["JAX_PLATFORMS"] = "cpu"
    sys.path.insert(0, str(Path(__file__).parent / "workers"))
    _compare(options)
    return 0


def _lacking(options: argparse.Namespace) -> str | None:
    """Returns what is not there; None if all is."""
    if options.model is None or not (Path(options.model) / "model.json").exists():
        return "there is no model: scripts/get_smollm2 DIR, then --model=DIR"
    for name in ("star_prompts.jsonl.gz", "gsm8k_test.jsonl.gz"):
        if options.data is None or not (Path(options.data) / name).exists():
            return f"there is no {name}: set TLM_JAX_DATA_DIR or --data to the folder that has it"
    return None


def _compare(options: argparse.Namespace) -> None:
    from tlm_jax.checkpoints.loading import load_params
    from tlm_jax.checkpoints.pretrained import open_pretrained
    from tlm_jax.decoding.common_prefixes import common_prefixes
    from tlm_jax.vocabularies import vocabulary_from_name

    source = open_pretrained(Path(options.model))
    params = load_params(source, source.config, announce=lambda line: None)
    prompts = _prompts(options, vocabulary_from_name(options.model))
    (prefix,) = common_prefixes(prompts, options.rows)
    own = statistics.median(len(prompt) - len(prefix) for prompt in prompts)
    print(
        f"{len(prompts)} prompts that begin with the same {len(prefix)} tokens, then {own:.0f} of "
        f"their own; answers of {options.new}, {options.rows} rows, median of {options.rounds}"
    )
    for case in options.case or CASES:
        make = {"generate": _generating, "score": _scoring}[case]
        _time(case, make(params, source.config, prompts, prefix, options), options, len(prompts))


def _time(
    case: str,
    turns: dict[str, Callable[[], Any]],
    options: argparse.Namespace,
    samples: int,
) -> None:
    """Times what has been run before, so that it is compiled."""
    from tlm_jax_step import matrix_product_rate

    seconds: dict[str, list[float]] = {name: [] for name in turns}
    peaks = []
    for _ in range(options.rounds):
        for name, run in turns.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
        peaks.append(matrix_product_rate()["flops_per_second"])
    print(f"  {case}")
    for name, times in seconds.items():
        print(
            f"    {name:8}{samples / statistics.median(times):7.2f} samples/s, "
            f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
        )
    whole, shared = (statistics.median(seconds[name]) for name in ("without", "with"))
    print(
        f"    with the prefix cache {whole / shared:.2f} times as many; float32 product rate "
        f"{statistics.median(peaks) / 1e9:.0f} GFLOP/s",
        flush=True,
    )


def _generating(
    params: Any, config: Any, prompts: Sequence[list[int]], prefix: Any, options: argparse.Namespace
) -> dict[str, Callable[[], Any]]:
    from tlm_jax.decoding.engine import Engine
    from tlm_jax.decoding.requests import Request, Sampling

    longest = max(map(len, prompts))
    engine = Engine(params, config, rows=options.rows, eos_ids=(), max_prompt_tokens=longest)
    sampling = Sampling(max_new_tokens=options.new, temperature=0.0)
    requests = [Request(id=n, prompt=p, sampling=sampling) for n, p in enumerate(prompts)]

    def texts(prefixes: Sequence[Any]) -> dict[Any, tuple[int, ...]]:
        return {sample.request_id: sample.tokens for sample in engine.run(requests, prefixes)}

    apart, together = texts([]), texts([prefix])
    same = sum(apart[name] == together[name] for name in apart)
    print(f"  {same} of {len(prompts)} greedy answers are token for token the same")
    return {"without": lambda: texts([]), "with": lambda: texts([prefix])}


def _scoring(
    params: Any, config: Any, prompts: Sequence[list[int]], prefix: Any, options: argparse.Namespace
) -> dict[str, Callable[[], Any]]:
    import numpy as np

    from tlm_jax.scoring.continuations import Scorer
    from tlm_jax.scoring.rows import Request

    random = np.random.default_rng(0)
    answers = random.integers(3, config.vocab_size, (len(prompts), options.new))
    requests = [Request(np.asarray(p), [answer]) for p, answer in zip(prompts, answers)]
    scorer = Scorer(config, batch_size=options.rows)

    def shared() -> list[float]:
        return [score.logprob_nats for (score,) in scorer.score(params, requests)]

    def whole() -> list[float]:
        with mock.patch("tlm_jax.scoring.forced.common_prefixes", return_value=[]):
            return shared()

    difference = np.abs(np.asarray(shared()) - np.asarray(whole())).max()
    print(f"  log-probabilities of answers of {options.new} tokens differ by {difference:.1e} nats")
    return {"without": whole, "with": shared}


def _prompts(options: argparse.Namespace, vocabulary: Any) -> list[list[int]]:
    """Returns the demonstrations with each question, as tokens."""
    published = _records(options.data, "star_prompts.jsonl.gz")
    (few_shot,) = [one for one in published if (one["task"], one["name"]) == ("gsm", "prompts")]
    demonstrations = "\n\n".join(few_shot["examples"][: options.demonstrations])
    questions = _records(options.data, "gsm8k_test.jsonl.gz")[: options.questions]
    texts = [f"{demonstrations}\n\nQ: {record['question']}\nA:" for record in questions]
    return [[int(token) for token in vocabulary.encode(text)] for text in texts]


def _records(directory: str, name: str) -> list[dict[str, Any]]:
    with gzip.open(Path(directory) / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
