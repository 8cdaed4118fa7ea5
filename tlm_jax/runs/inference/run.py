"""An inference run from its configuration to its samples: resumable, one host or several."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.metrics.sample_progress import SampleProgress
from tlm_jax.runs.inference.config import InferenceConfig, this_host
from tlm_jax.runs.inference.grading import GradeCounts, SampleGrader
from tlm_jax.runs.inference.jobs import Backend, Failed, Generated, Job, sample_seed
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.runs.inference.prompts import load_prompts
from tlm_jax.runs.inference.store import Key, SampleStore
from tlm_jax.system.home import expanded
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.system.terminal import printable

_MOST_FAILURES_IN_A_ROW = 20


def run_inference(config: InferenceConfig, compiled: ProgramCache | None = None) -> int:
    """Draws all samples that are missing in OUTPUT_DIR.

    Args:
      config: the run.
      compiled: programs that runs in this process share.

    Returns:
      How many of this host's samples are still missing, because the model gave none.

    Raises:
      UserError: nothing could be drawn, or an earlier run there had other settings.
    """
    output_dir = expanded(config.output_dir)
    host_index, num_hosts = _hosts(config)
    grader = SampleGrader(config.grading_rule)
    with (
        SampleStore(output_dir, host_index) as store,
        _backend(config, output_dir, compiled) as backend,
    ):
        prompts = load_prompts(config.prompts, backend.vocabulary, backend.reading)
        ours = prompts[host_index::num_hosts]
        backend.prepare(ours)
        store.check_settings(_settings(config, backend, prompts))
        done = store.done()
        jobs = _jobs(config, ours)
        missing = [job for job in jobs if (job.prompt.id, job.sample) not in done]
        unreadable = grader.unreadable(prompts)
        _print_start(config, prompts, unreadable, there=len(jobs) - len(missing), jobs=len(jobs))
        counts = _Counts()
        with SampleProgress(len(jobs), done=len(jobs) - len(missing)) as progress:
            if missing:
                _draw(missing, backend, grader, store, counts, progress)
            rates = progress.rates()
        keys = [(prompt.id, n) for prompt in prompts for n in range(config.sampling.num_samples)]
        merged = store.merge(keys, counts.failed)
        grades = _grades(store, set(keys))
        summary = {
            "prompts": len(prompts),
            "unreadable_answers": [prompt.id for prompt in unreadable],
            **grades.figures(),
            **counts.figures(),
            **backend.figures(),
        }
        path = store.write_summary(f"summary-host-{host_index:05d}.json", summary)
        _print_end(counts, rates, backend, grades)
        parts = store.merged_path.parent / "parts"
        print(f"samples {merged or f'{parts} (not complete yet)'}\nsummary {path}", flush=True)
        return len(counts.failed)


def _draw(
    jobs: Sequence[Job],
    backend: Backend,
    grader: SampleGrader,
    store: SampleStore,
    counts: _Counts,
    progress: SampleProgress,
) -> None:
    in_a_row: set[tuple[str, int | None]] = set()
    for job, result in backend.generate(jobs):
        if isinstance(result, Failed):
            counts.failed[job.prompt.id, job.sample] = result.reason
            # A prompt that the server refuses says nothing of others, however often it is asked.
            in_a_row.add((job.prompt.id, None if result.of_the_prompt else job.sample))
            progress.line(f"no sample {job.sample} of {job.prompt.id!r}: {result.reason}")
            if result.of_the_run or len(in_a_row) >= _MOST_FAILURES_IN_A_ROW:
                raise UserError(
                    f"the model gives no samples: {result.reason}. {counts.samples:,} new ones are "
                    "safe; mend this and give the same command again."
                )
            continue
        in_a_row.clear()
        store.append(_sample(job, result, grader))
        counts.add(result)
        progress.advance(result.num_tokens)


def _sample(job: Job, result: Generated, grader: SampleGrader) -> dict[str, Any]:
    """Returns what the file holds of a sample; what the model does not tell is left out."""
    prompt = job.prompt
    prompt_fields = {"prompt": prompt.as_read or prompt.text}
    if prompt.messages is not None:
        prompt_fields = {"messages": prompt.messages}
    optional_fields = {
        "token_ids": result.token_ids,
        "tokens": result.tokens,
        "logprobs": result.logprobs
        and [None if value is None else round(value, 6) for value in result.logprobs],
        "candidates": result.candidates,
        "reasoning": result.reasoning,
        "stop": result.stop,
    }
    return {
        "id": prompt.id,
        "sample": job.sample,
        **({} if prompt.question is None else {"question": prompt.question}),
        **({} if prompt.options is None else {"options": prompt.options}),
        **prompt_fields,
        "text": result.text,
        "finish_reason": result.finish_reason,
        "seed": job.seed,
        "num_tokens": result.num_tokens,
        **{name: value for name, value in optional_fields.items() if value is not None},
        **grader.fields(prompt, result.text),
    }


@dataclasses.dataclass
class _Counts:
    """What happened to this host's samples in this run."""

    samples: int = 0
    failed: dict[Key, str] = dataclasses.field(default_factory=dict)
    tokens: int = 0
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, result: Generated) -> None:
        self.samples += 1
        self.tokens += result.num_tokens
        self.reasons[result.finish_reason] += 1

    def figures(self) -> dict[str, Any]:
        return {
            "new_samples": self.samples,
            "failed_samples": len(self.failed),
            "failures": [
                {"id": name, "sample": n, "reason": why} for (name, n), why in self.failed.items()
            ],
            "new_tokens": self.tokens,
            "finish_reasons": dict(sorted(self.reasons.items())),
        }


def _print_start(
    config: InferenceConfig,
    prompts: Sequence[Prompt],
    unreadable: Sequence[Prompt],
    *,
    there: int,
    jobs: int,
) -> None:
    print(f"model   {config.model}")
    print(f"prompts {len(prompts):,}, {config.sampling.num_samples} samples of each")
    if there or jobs < len(prompts) * config.sampling.num_samples:
        print(f"here    {jobs:,} samples, of which {there:,} are there")
    for prompt in unreadable[:10]:
        print(f"note: {prompt.place}: the answer {prompt.gold!r} cannot be read; not graded")
    if len(unreadable) > 10:
        print(f"note: and {len(unreadable) - 10:,} more; the summary lists all of them")
    print(end="", flush=True)


def _print_end(counts: _Counts, rates: str, backend: Backend, grades: GradeCounts) -> None:
    if counts.samples:
        reasons = ", ".join(
            f"{n:,} {_short(reason)}" for reason, n in sorted(counts.reasons.items())
        )
        print(f"drawn   {counts.samples:,} samples, {rates}; ended by {reasons}")
    if counts.failed:
        print(
            f"note: {len(counts.failed):,} samples are missing; the same command tries them again"
        )
    for line in backend.notes():
        print(line)
    if grades.line() is not None:
        print(f"graded  {grades.line()}")


def _short(reason: str) -> str:
    """Returns a server's word so that it can be printed."""
    return printable(reason if len(reason) <= 40 else reason[:37] + "...")


def _grades(store: SampleStore, keys: set[Key]) -> GradeCounts:
    """Counts the grades of all samples on disk, this run's and earlier ones', of all hosts."""
    counts = GradeCounts()
    for key, sample in store.samples():
        if key in keys:
            counts.add(sample)
    return counts


def _jobs(config: InferenceConfig, prompts: Sequence[Prompt]) -> list[Job]:
    """Returns all of a host's jobs; samples of one prompt follow each other."""
    seed = config.sampling.seed
    return [
        Job(prompt, sample, sample_seed(seed, prompt.id, sample))
        for prompt in prompts
        for sample in range(config.sampling.num_samples)
    ]


def _settings(
    config: InferenceConfig, backend: Backend, prompts: Sequence[Prompt]
) -> dict[str, Any]:
    """Returns what decides a sample; not how many there are, or how fast."""
    sampling = dataclasses.asdict(config.sampling)
    del sampling["num_samples"]
    questions = {p.id: [p.text, p.messages, p.question, p.gold, p.kind, p.options] for p in prompts}
    text = json.dumps(questions, sort_keys=True)
    conversations = any(p.messages is not None for p in prompts)
    return {
        **{f"sampling.{name}": value for name, value in sampling.items()},
        "grading_rule": config.grading_rule,
        **{f"model.{name}": value for name, value in backend.identity().items()},
        "model.chat_template": backend.chat_template if conversations else None,
        "prompts.sha256": hashlib.sha256(text.encode("ascii")).hexdigest(),
    }


def _backend(config: InferenceConfig, output_dir: Path, compiled: ProgramCache | None) -> Backend:
    if config.remote is not None:
        from tlm_jax.runs.inference.server import ServerBackend

        return ServerBackend(config, output_dir)
    from tlm_jax.runs.inference.local import LocalBackend

    return LocalBackend(config, compiled)


def _hosts(config: InferenceConfig) -> tuple[int, int]:
    """Returns this host's number and how many there are; a server needs no JAX to be asked."""
    if config.remote is not None and config.host_index is None:
        return 0, 1
    return this_host(config.host_index, config.num_hosts)
