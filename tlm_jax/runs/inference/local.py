"""Draws samples from a model of our own or of any format that `tlm_jax.convert` reads."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tlm_jax.data.reading import Reading
from tlm_jax.decoding.common_prefixes import common_prefixes
from tlm_jax.decoding.requests import Candidates, Request, Sample, Sampling
from tlm_jax.decoding.stop_strings import StopStrings
from tlm_jax.errors import UserError
from tlm_jax.runs.inference.config import InferenceConfig
from tlm_jax.runs.inference.jobs import Backend, Failed, Generated, Job
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.runs.inference.tokens import PromptEncoder
from tlm_jax.runs.opened.model import OpenedModel, of_task
from tlm_jax.runs.opened.reading import ReadingSettings
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.system.home import expanded
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.vocabularies import Vocabulary


class LocalBackend(Backend):
    """A model on the devices of this host, which hold it whole."""

    def __init__(self, config: InferenceConfig, compiled: ProgramCache | None = None):
        """Opens the model; its parameters are read when the first sample is drawn.

        Args:
          config: the run.
          compiled: programs that runs in this process share.

        Raises:
          UserError: there is no model, or no tokenizer for it.
        """
        self._config, prompts = config, config.prompts
        self._tokens: dict[str, list[int]] = {}
        settings = ModelSettings(
            config.model,
            config.dtype,
            config.mesh,
            config.vocabulary,
            ReadingSettings(prompts.add_bos, prompts.add_eos),
            prompts.chat_template,
        )
        fallback = of_task(prompts.mixture_or_task_name, prompts.modules)
        with contextlib.ExitStack() as opened:
            self._model = opened.enter_context(OpenedModel(settings, fallback, compiled=compiled))
            longest = _longest_prompt(config, self._model.window)
            self._encoder = PromptEncoder(self._model, too_long=prompts.too_long, longest=longest)
            self._opened = opened.pop_all()

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the model."""
        return self._model.vocabulary

    @property
    def reading(self) -> Reading:
        """How the model reads prompts."""
        return self._model.reading

    def __exit__(self, *unused: object) -> None:
        self._opened.close()

    @property
    def chat_template(self) -> str | None:
        """A hash of how the model writes conversations."""
        return hashlib.sha256(repr(self._model.template).encode()).hexdigest()[:16]

    def identity(self) -> Mapping[str, Any]:
        """Returns what model it is: where, its training step, its content."""
        return {
            "path": str(expanded(self._config.model).absolute()),
            "format": self._model.source.source_format,
            "step": self._model.source.step,
            "content": self._model.fingerprint,
            "vocabulary": self.vocabulary.fingerprint,
            "dtype": self._config.dtype,
            "prompts": self._encoder.rules(),
        }

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """Makes the prompts into tokens: one that is too long is told before hours of work."""
        self._tokens = {prompt.id: self._encoder.encode(prompt) for prompt in prompts}

    def generate(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Generated | Failed]]:
        """Draws all samples; those of one prompt share the work on it.

        Prompts share that on what they begin with. It is found among all of a host's prompts, so
        that a run that goes on works on the same ones as before.
        """
        groups = [list(group) for _, group in itertools.groupby(jobs, lambda job: job.prompt.id)]
        prompts = [self._tokens[group[0].prompt.id] for group in groups]
        engine = self._model.engine(
            self._config.batch_size,
            max_prompt_tokens=max(len(prompt) for prompt in prompts),
            num_candidates=self._config.sampling.num_candidates,
        )
        stop = StopStrings(self._config.sampling.stop, self.vocabulary)
        requests = (
            Request(
                id=number,
                prompt=prompt,
                seeds=[job.seed for job in group],
                sampling=self._sampling(),
                stop=stop.kept_tokens if stop else None,
            )
            for number, (group, prompt) in enumerate(zip(groups, prompts))
        )
        every = list(self._tokens.values())
        for sample in engine.run(requests, common_prefixes(every, self._config.batch_size)):
            yield groups[sample.request_id][sample.index], self._generated(sample, stop)

    def figures(self) -> Mapping[str, Any]:
        """Returns how many prompts were cut."""
        return {"cut_prompts": self._encoder.cut}

    def notes(self) -> Sequence[str]:
        """Says so, if any were."""
        if not self._encoder.cut:
            return ()
        return [
            f"note: of {self._encoder.cut:,} prompts only the last {self._encoder.longest:,} "
            "tokens were kept"
        ]

    def _sampling(self) -> Sampling:
        chosen = self._config.sampling
        return Sampling(
            max_new_tokens=chosen.max_tokens,
            temperature=float(chosen.temperature),
            top_k=chosen.top_k or 0,
            top_p=float(chosen.top_p),
            min_p=float(chosen.min_p),
            repetition_penalty=float(chosen.repetition_penalty),
            max_repeats=chosen.max_repeats,
        )

    def _generated(self, sample: Sample, stop: StopStrings) -> Generated:
        tokens = list(sample.tokens)
        written = tokens[:-1] if sample.finish_reason == "eos" else tokens
        text = self.vocabulary.decode(written)
        return Generated(
            text=stop.before(text) if sample.finish_reason == "stop" else text,
            finish_reason=sample.finish_reason,
            num_tokens=len(tokens),
            token_ids=tokens,
            logprobs=sample.logprobs if self._config.sampling.logprobs else None,
            candidates=_candidates(sample.candidates),
        )


def _candidates(found: Candidates | None) -> list[dict[str, Any]] | None:
    """Returns at each token the candidates' ids and log-probabilities, and the mass outside."""
    if found is None:
        return None
    return [
        {
            "token_ids": ids.tolist(),
            "logprobs": [round(float(value), 6) for value in logprobs],
            "outside_logprob": round(float(outside), 6) if np.isfinite(outside) else None,
        }
        for ids, logprobs, outside in zip(found.ids, found.logprobs, found.outside_logprob)
    ]


def _longest_prompt(config: InferenceConfig, window: int | None) -> int | None:
    """Returns the most tokens of a prompt; None for no limit.

    Raises:
      UserError: the window has no room for a prompt.
    """
    limit = config.prompts.max_tokens
    if window is None:
        return limit
    room = window - config.sampling.max_tokens
    if room < 1:
        raise UserError(
            f"MAX_TOKENS is {config.sampling.max_tokens}, but the model's window has {window} "
            "tokens, prompt included; lower MAX_TOKENS"
        )
    return room if limit is None else min(limit, room)
