"""Draws samples from a model of our own or of any format that `tlm_jax.convert` reads."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tlm_jax.checkpoints.fingerprint import model_fingerprint
from tlm_jax.checkpoints.loading import with_run_choices
from tlm_jax.checkpoints.pretrained import Pretrained, open_pretrained
from tlm_jax.checkpoints.token_ids import end_ids
from tlm_jax.data.reading import Reading
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Candidates, Request, Sample, Sampling
from tlm_jax.decoding.stop_strings import StopStrings
from tlm_jax.errors import UserError
from tlm_jax.runs.inference.config import InferenceConfig
from tlm_jax.runs.inference.jobs import Backend, Failed, Generated, Job
from tlm_jax.runs.inference.prompts import Prompt
from tlm_jax.runs.inference.tokens import PromptEncoder, TokenizerFiles, model_vocabulary
from tlm_jax.runs.opened.parameters import params_on_mesh
from tlm_jax.runs.opened.reading import ReadingSettings, reading_of
from tlm_jax.runs.opened.window import window_of
from tlm_jax.sharding import mesh as meshes
from tlm_jax.sharding import rules
from tlm_jax.system.home import expanded
from tlm_jax.vocabularies import Vocabulary, check_vocabulary_fits


class LocalBackend(Backend):
    """A model on the devices of this host, which hold it whole."""

    def __init__(self, config: InferenceConfig):
        """Opens the model; its parameters are read when the first sample is drawn.

        Raises:
          UserError: there is no model, or no tokenizer for it.
        """
        self._config = config
        self._source = open_pretrained(config.model)
        self._model = with_run_choices(self._source.config, dtype=config.dtype)
        self._tokens: dict[str, list[int]] = {}
        with contextlib.ExitStack() as opened:
            files = opened.enter_context(TokenizerFiles(self._source))
            prompts = config.prompts
            self._vocabulary = model_vocabulary(
                config.vocabulary, files, prompts.mixture_or_task_name, prompts.modules
            )
            check_vocabulary_fits(self._vocabulary, self._model.vocab_size, "VOCABULARY")
            settings = ReadingSettings(prompts.add_bos, prompts.add_eos)
            self._reading = reading_of(self._model, self._vocabulary, self._source, settings)
            self._encoder = PromptEncoder(
                self._vocabulary,
                files,
                prompts,
                reading=self._reading,
                longest=_longest_prompt(config, self._source),
            )
            self._opened = opened.pop_all()

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the model."""
        return self._vocabulary

    @property
    def reading(self) -> Reading:
        """How the model reads prompts."""
        return self._reading

    def __exit__(self, *unused: object) -> None:
        self._opened.close()

    def identity(self) -> Mapping[str, Any]:
        """Returns what model it is: where, its training step, its content."""
        return {
            "path": str(expanded(self._config.model).absolute()),
            "format": self._source.source_format,
            "step": self._source.step,
            "content": model_fingerprint(self._source),
            "vocabulary": self._vocabulary.fingerprint,
            "dtype": self._config.dtype,
            "prompts": self._encoder.rules(),
        }

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """Makes the prompts into tokens: one that is too long is told before hours of work."""
        self._tokens = {prompt.id: self._encoder.encode(prompt) for prompt in prompts}

    def generate(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Generated | Failed]]:
        """Draws all samples; those of one prompt share the work on it."""
        groups = [list(group) for _, group in itertools.groupby(jobs, lambda job: job.prompt.id)]
        prompts = [self._tokens[group[0].prompt.id] for group in groups]
        engine = self._engine(max(len(prompt) for prompt in prompts))
        stop = StopStrings(self._config.sampling.stop, self._vocabulary)
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
        for sample in engine.run(requests):
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

    def _engine(self, longest_prompt: int) -> Engine:
        mesh = meshes.make_mesh(self._config.mesh, jax.local_devices())
        divisor = rules.batch_divisor(mesh)
        return Engine(
            params_on_mesh(self._source, self._model, mesh),
            self._model,
            rows=-(-self._config.batch_size // divisor) * divisor,
            eos_ids=tuple(dict.fromkeys([self._vocabulary.eos_id, *end_ids(self._source)])),
            max_prompt_tokens=longest_prompt,
            num_candidates=self._config.sampling.num_candidates,
            start_id=self._reading.start_id or 0,
            mesh=mesh if mesh.size > 1 else None,
        )

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
        text = self._vocabulary.decode(written)
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


def _longest_prompt(config: InferenceConfig, source: Pretrained) -> int | None:
    """Returns the most tokens of a prompt; None for no limit.

    Raises:
      UserError: the window has no room for a prompt.
    """
    limit = config.prompts.max_tokens
    window = window_of(source)
    if window is None:
        return limit
    room = window - config.sampling.max_tokens
    if room < 1:
        raise UserError(
            f"MAX_TOKENS is {config.sampling.max_tokens}, but the model's window has {window} "
            "tokens, prompt included; lower MAX_TOKENS"
        )
    return room if limit is None else min(limit, room)
