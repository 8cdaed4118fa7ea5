"""The stages that a run of STaR may come to, with their sizes, and what can be checked before."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tlm_jax import models
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.recipe import Planned
from tlm_jax.recipes.star.config import StarConfig
from tlm_jax.recipes.star.questions import read_questions
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.reading import ReadingSettings
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.training import console
from tlm_jax.runs.training.student_vocabulary import named_vocabulary, run_data
from tlm_jax.vocabularies import Vocabulary

_COUNTED_PROMPTS = 64
_LETTERS_A_TOKEN = 4
"""Of English text, where there is no tokenizer to count with."""


def planned_stages(config: StarConfig) -> list[Planned]:
    """Returns the stages in their order, each at its most.

    Raises:
      UserError: no such task, split or file; or a prompt is longer than the model or a training row
        has room for.
    """
    data = run_data(config.training.data)
    sets = read_questions(config.questions, data)
    questions = sets.of_loop(1).asked
    reader = _reader(config)
    _check_lengths(config, [*questions, *sets.dev], data, reader)
    prompt = _prompt_sizes(config, questions, data, reader, hint=False)
    hinted = _prompt_sizes(config, questions, data, reader, hint=True)
    found = [Planned("questions", "other")]
    training, flops = config.training, 2 * models.num_params(config.training.model)

    def sampling(
        name: str, samples: int, sizes: tuple[float, int], *, dev: bool = False, note: str = ""
    ) -> Planned:
        tokens, shared = sizes
        most = samples * config.sampling.max_tokens
        read = int(samples * tokens)
        # What all prompts begin with is worked on once.
        work = flops * (read - max(samples - 1, 0) * shared + most)
        kind = "evaluation" if dev else "generation"
        return Planned(name, kind, samples, read, most, work, note)

    def trained(name: str, steps: int, note: str = "") -> Planned:
        tokens = steps * training.batch_size * sum(training.feature_lengths.values())
        return Planned(name, "training", steps, 0, tokens, 3 * flops * tokens, note)

    for seed in config.seeds:
        if config.pretraining is not None:
            found.append(trained(f"seed-{seed}/pretrain", config.pretraining.max_steps, "at most"))
        found.append(sampling(f"seed-{seed}/loop-00/evaluate", len(sets.dev), prompt, dev=True))
        for arm in config.arms:
            again = arm == "rationalization"
            for loop in range(1, config.loops + 1):
                folder = f"seed-{seed}/{arm}/loop-{loop:02d}"
                sampling_folder = f"seed-{seed}/loop-01" if loop == 1 else folder
                samples = len(questions) * config.sampling.num_samples
                if loop > 1 or arm == config.arms[0]:
                    found.append(sampling(f"{sampling_folder}/generate", samples, prompt))
                if again:
                    each = config.hinted_sampling(config.sampling).num_samples
                    most = int(len(questions) * each * config.rationalized_share)
                    found.append(
                        sampling(f"{folder}/rationalize", most, hinted, note="the failed ones")
                    )
                found.append(Planned(f"{folder}/select", "other"))
                steps = config.schedule.steps(
                    loop, len(questions), training.batch_size, rationalizes=again
                )
                found.append(trained(f"{folder}/train", steps))
                found.append(sampling(f"{folder}/evaluate", len(sets.dev), prompt, dev=True))
    return found


@dataclasses.dataclass(frozen=True)
class _Reader:
    """With what prompts are read: `vocabulary` is None where there is no tokenizer at hand."""

    vocabulary: Vocabulary | None
    window: int | None

    def count(self, text: str) -> int:
        """Returns the tokens of a text, estimated where they cannot be counted."""
        if self.vocabulary is None:
            return len(text) // _LETTERS_A_TOKEN
        return len(self.vocabulary.encode(text)) + 1  # BOS, if there is one


def _reader(config: StarConfig) -> _Reader:
    training = config.training
    limit, path = training.model.position_limit, training.initial_checkpoint_path
    if path is None:
        return _Reader(named_vocabulary(training.data), limit)
    if not Path(path).expanduser().exists():
        console.say(f"note: there is no model at {path}; tokens are estimated")
        return _Reader(None, limit)
    settings = ModelSettings(
        path,
        vocabulary=training.data.vocabulary,
        reading=ReadingSettings(training.data.add_bos, training.data.add_eos),
    )
    with OpenedModel(settings) as model:
        return _Reader(model.vocabulary, model.window)


def _check_lengths(
    config: StarConfig, records: Sequence[Record], data: RunData, reader: _Reader
) -> None:
    """Looks whether the longest prompts have room, before anything is done."""
    form, room = config.form, config.training.feature_lengths["inputs"]
    hints = (False, True) if "rationalization" in config.arms else (False,)
    for hint in hints:
        texts = {form.prompt(record, data, hint=hint): record for record in records}
        for text in sorted(texts, key=len)[-_COUNTED_PROMPTS:]:
            tokens, most = reader.count(text), config.sampling.max_tokens
            if reader.window is not None and tokens + most > reader.window:
                raise UserError(
                    f"the prompt of {texts[text].id!r} has {tokens:,} tokens"
                    f"{' with its hint' if hint else ''}, and {most:,} for the rationale "
                    f"(MAX_TOKENS) do not fit beside it into the model's window of "
                    f"{reader.window:,}: use fewer demonstrations, or lower MAX_TOKENS"
                )
    trained = form.prompt if config.few_shot_in_training else lambda record, _: form.query(record)
    longest = max(records, key=lambda record: len(trained(record, data)))
    tokens = reader.count(trained(longest, data))
    if tokens > room:
        raise UserError(
            f"the prompt of {longest.id!r} has {tokens:,} tokens in training, but "
            f"TASK_FEATURE_LENGTHS leaves room for {room:,}: raise its 'inputs'"
        )


def _prompt_sizes(
    config: StarConfig, records: Sequence[Record], data: RunData, reader: _Reader, *, hint: bool
) -> tuple[float, int]:
    """Returns the mean number of tokens of a prompt, and how many all begin with."""
    texts = [config.form.prompt(r, data, hint=hint) for r in records[:_COUNTED_PROMPTS]]
    mean = sum(map(reader.count, texts)) / len(texts)
    return mean, reader.count(_beginning(texts)) if len(texts) > 1 else 0


def _beginning(texts: Sequence[str]) -> str:
    """Returns what all texts begin with."""
    first, last = min(texts), max(texts)
    length = next((n for n, (a, b) in enumerate(zip(first, last)) if a != b), len(first))
    return first[:length]
