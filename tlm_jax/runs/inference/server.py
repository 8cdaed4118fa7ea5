"""Draws samples from a model behind an OpenAI-compatible server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.remote.api_key import ApiKey
from tlm_jax.remote.cache import ResponseCache
from tlm_jax.remote.client import Client, Server
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.meter import Meter
from tlm_jax.remote.wire import Completion, Request
from tlm_jax.runs.inference.config import InferenceConfig, SamplingConfig
from tlm_jax.runs.inference.jobs import Backend, Failed, Generated, Job
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.system.home import expanded


class ServerBackend(Backend):
    """Asks the server that MODEL=openai:URL,NAME names.

    Each sample is a request of its own with its own seed, so that any one can be drawn again alone.
    """

    def __init__(self, config: InferenceConfig, output_dir: Path):
        """Connects to nothing yet.

        Raises:
          UserError: the URL, the key or a limit is none.
        """
        assert config.remote is not None
        _check_extra(config.server.extra)
        if config.sampling.max_repeats:
            raise UserError("MAX_REPEATS is for local models: no server knows it; leave it at 0")
        if config.prompts.chat_template is not None:
            raise UserError(
                "CHAT_TEMPLATE is for local models: a server has its own; leave it out, or see "
                "its manual for a field of REQUEST_EXTRA"
            )
        settings = config.server
        url, model = config.remote
        self._sampling, self._extra = config.sampling, dict(settings.extra)
        self._server = Server(
            url,
            model,
            concurrency=settings.concurrency,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            retries=settings.retries,
            timeout_s=settings.timeout_s,
        )
        directory, cache = settings.response_cache_dir, None
        if directory != "":
            cache = ResponseCache(
                output_dir / "responses" if directory is None else expanded(directory)
            )
        self._meter = Meter(input_price=settings.input_price, output_price=settings.output_price)
        self._client = Client(
            self._server,
            ApiKey.from_environment(settings.api_key_variable),
            cache=cache,
            meter=self._meter,
        )
        self._without_logprobs = 0

    def __exit__(self, *unused: object) -> None:
        self._client.__exit__()

    def identity(self) -> Mapping[str, Any]:
        """Returns URL and name, and what is sent beside the sampling."""
        return {"url": self._server.url, "name": self._server.model, "extra": self._extra}

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """Nothing: how long a prompt may be, only the server knows."""

    def generate(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Generated | Failed]]:
        """Asks for all samples, several at a time."""
        requests = ((n, _request(job, self._sampling, self._extra)) for n, job in enumerate(jobs))
        for number, answer in self._client.complete_all(requests):
            if isinstance(answer, Fault):
                of_the_prompt = not (answer.retryable or answer.of_the_run)
                yield jobs[number], Failed(answer.message, answer.of_the_run, of_the_prompt)
            else:
                self._without_logprobs += answer.logprobs is None
                yield jobs[number], _generated(answer, self._sampling)

    def figures(self) -> Mapping[str, Any]:
        """Returns what the meter counted."""
        wanted = self._sampling.logprobs
        missing = {"samples_without_logprobs": self._without_logprobs} if wanted else {}
        return {**self._meter.figures(), **missing}

    def notes(self) -> Sequence[str]:
        """Returns the meter's line, and whether the server left something out."""
        lines = [f"server  {self._meter.line()}"]
        if self._sampling.logprobs and self._without_logprobs:
            lines.append(
                f"note: the server gave {self._without_logprobs:,} samples without "
                "log-probabilities; LOGPROBS=False does not ask for them"
            )
        return lines


def _check_extra(extra: Mapping[str, Any]) -> None:
    """Raises UserError where a further field is one that the run itself sets, or no JSON."""
    for name in extra:
        if name in _OWN_FIELDS:
            raise UserError(
                f"REQUEST_EXTRA holds {name!r}, which the run sets itself; leave it out"
            )
        if extra[name] and name in _OTHER_ANSWERS:
            raise UserError(
                f"REQUEST_EXTRA holds {name!r}, with which a server answers "
                f"{_OTHER_ANSWERS[name]}; leave it out"
            )
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"REQUEST_EXTRA cannot be sent as JSON: {error}") from None


_OWN_FIELDS = Request().payload("").keys() | {
    *("prompt", "messages", "seed", "stop", "n", "best_of", "stream", "top_logprobs")
}
_OTHER_ANSWERS = {
    "echo": "the prompt as a part of the text",
    "return_tokens_as_token_ids": "ids in place of tokens' texts ('return_token_ids' gives both)",
}


def _request(job: Job, sampling: SamplingConfig, extra: Mapping[str, Any]) -> Request:
    return Request(
        prompt=job.prompt.text if job.prompt.messages is None else None,
        messages=job.prompt.messages,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        stop=tuple(sampling.stop),
        seed=job.seed,
        logprobs=sampling.logprobs,
        top_logprobs=sampling.num_candidates,
        extra=extra,
    )


def _generated(answer: Completion, sampling: SamplingConfig) -> Generated:
    wanted = sampling.num_candidates > 0 and answer.top_logprobs is not None
    return Generated(
        text=answer.text,
        finish_reason=answer.finish_reason,
        num_tokens=answer.completion_tokens or len(answer.tokens or ()),
        token_ids=answer.token_ids,
        tokens=answer.tokens,
        logprobs=answer.logprobs if sampling.logprobs else None,
        candidates=[
            {"tokens": list(top), "logprobs": list(top.values())}
            for top in answer.top_logprobs or ()
        ]
        if wanted
        else None,
        reasoning=answer.reasoning or None,
        stop=list(sampling.stop) or None,
    )
