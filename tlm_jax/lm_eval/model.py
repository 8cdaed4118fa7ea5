"""The model class that the harness finds by the name `tlm_jax`; only here it is imported."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]
from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
from tqdm import tqdm

from tlm_jax import models
from tlm_jax.errors import UserError
from tlm_jax.lm_eval.answers import Answers
from tlm_jax.lm_eval.arguments import parse_arguments
from tlm_jax.lm_eval.conversations import write_conversation
from tlm_jax.lm_eval.likelihood import Likelihoods, Scored
from tlm_jax.lm_eval.opened import open_model
from tlm_jax.lm_eval.rows import Rows
from tlm_jax.lm_eval.texts import TextEncoder
from tlm_jax.runs.command_line import environment
from tlm_jax.sharding import rules

_log = logging.getLogger("lm_eval.tlm_jax")


class TlmJaxLM(LM):
    """`--model tlm_jax`; `--model_args` are the fields of `arguments.ModelArguments`."""

    def __init__(self, **arguments: Any):
        """Opens the model.

        Raises:
          UserError: an argument is wrong, or the model cannot be opened.
        """
        super().__init__()
        chosen = parse_arguments(arguments)
        environment.prepare()
        self._model = open_model(chosen)
        self._rows = Rows(
            chosen.batch_size,
            most=chosen.max_batch_size,
            divisor=rules.batch_divisor(self._model.mesh),
        )
        self._encoder = TextEncoder(
            self._model.vocabulary,
            self._model.reading,
            prefix_id=chosen.prefix_token_id,
        )
        self._likelihoods = Likelihoods(self._model, self._rows)
        self._answers = Answers(
            self._model,
            self._encoder,
            self._rows,
            default_tokens=chosen.max_gen_toks,
            seed=chosen.seed,
        )

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Returns log P(continuation | context) and whether greedy decoding would write it."""
        arguments = [request.args for request in requests]
        pairs = self._encoder.pairs(arguments)
        with _progress(len(arguments), "loglikelihood", disable_tqdm) as bar:

            def keep(index: int, scored: Scored) -> None:
                self.cache_hook.add_partial("loglikelihood", arguments[index], scored)
                bar.update()

            found = self._likelihoods.score(pairs, keep)
        self._note_cut()
        return found

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Returns log P of whole texts, window after window."""
        window = self._model.window_tokens
        windows = [list(self._encoder.windows(request.args[0], window)) for request in requests]
        owners = [index for index, some in enumerate(windows) for _ in some]
        missing, totals = [len(some) for some in windows], [0.0] * len(requests)
        with _progress(len(owners), "loglikelihood_rolling", disable_tqdm) as bar:

            def add(number: int, scored: Scored) -> None:
                owner = owners[number]
                totals[owner] += scored[0]
                missing[owner] -= 1
                if not missing[owner]:
                    args = requests[owner].args
                    self.cache_hook.add_partial("loglikelihood_rolling", args, totals[owner])
                bar.update()

            self._likelihoods.score([pair for some in windows for pair in some], add)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Returns answers up to one of the texts in `until`."""
        arguments = [request.args for request in requests]
        with _progress(len(arguments), "generate_until", disable_tqdm) as bar:

            def keep(index: int, text: str) -> None:
                self.cache_hook.add_partial("generate_until", arguments[index], text)
                bar.update()

            found = self._answers.write(arguments, keep)
        self._note_cut()
        return found

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Returns a conversation as the model's template writes it."""
        template = self._model.template
        self._encoder.conversations = True
        return write_conversation(
            chat_history, template, add_generation_prompt=add_generation_prompt
        )

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Returns the source of the template, for the harness's records.

        Raises:
          UserError: the model has none, or one is asked for by a name that it has not.
        """
        if isinstance(chat_template, str) and chat_template != "default":
            raise UserError(
                f"--apply_chat_template {chat_template}: expected no name, or 'default': only the "
                "model's default template is read"
            )
        return self._model.template.source if chat_template else None

    @property
    def tokenizer_name(self) -> str:
        """A name that changes with the tokenizer's ids and the template, for request caches."""
        parts = f"{self._model.vocabulary.fingerprint} {self._model.template.source}"
        return f"tlm_jax-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"

    def get_model_info(self) -> Mapping[str, Any]:
        """Returns what the harness writes into its results beside the arguments."""
        source = self._model.source
        return {
            "model_num_parameters": models.num_params(self._model.config),
            "model_dtype": self._model.config.dtype,
            "model_format": source.source_format,
            "model_step": source.step,
            "max_length": self._model.window_tokens,
            "batch_rows": self._rows.number,
            "cut_contexts": self._likelihoods.cut,
            "cut_prompts": self._answers.cut,
        }

    def _note_cut(self) -> None:
        cut = self._likelihoods.cut + self._answers.cut
        if cut:
            _log.warning(
                "so far %d requests lost the left end of their context: the model's window has %d "
                "tokens",
                cut,
                self._model.window_tokens,
            )


def _progress(total: int, what: str, disabled: bool) -> "tqdm[Any]":
    return tqdm(total=total, desc=f"Running {what} requests", disable=disabled)
