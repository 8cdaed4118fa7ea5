"""Decides how a model reads prompts and answers: by the model, unless a setting says otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax import models
from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.formats import native
from tlm_jax.checkpoints.pretrained import Pretrained, companions_beside, open_pretrained
from tlm_jax.data.reading import Reading, divider_ids
from tlm_jax.errors import UserError
from tlm_jax.runs.opened.trained_vocabulary import trained_fingerprint, trained_reading
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.vocabularies import PAD_ID, Vocabulary


@dataclasses.dataclass(frozen=True)
class ReadingSettings:
    """What a configuration says; None leaves it to the model.

    Attributes:
      add_bos: whether BOS comes before what a decoder-only model reads.
      add_eos: whether EOS ends a prompt.
      names: of the two settings, for messages.
    """

    add_bos: bool | None = None
    add_eos: bool | None = None
    names: tuple[str, str] = ("PROMPT_BOS", "PROMPT_EOS")


def reading_of(
    config: models.ModelConfig,
    vocabulary: Vocabulary,
    source: Pretrained | None,
    settings: ReadingSettings | None = None,
) -> Reading:
    """Returns how a model reads: the one function that training, evaluation and scoring ask.

    Args:
      config: the model.
      vocabulary: with which it is read.
      source: where it comes from; None for a new one.
      settings: what the configuration says.

    Raises:
      UserError: a setting asks for what the model has not.
    """
    settings = settings or ReadingSettings()
    if config.is_encoder_decoder:
        return _of_pair(vocabulary, source, settings)
    return _as_set(_by_model(vocabulary, source), vocabulary, settings)


def student_reading(run: RunConfig, vocabulary: Vocabulary) -> Reading:
    """Returns how a run's model reads: as its MODEL_DIR has been trained, else as where it starts.

    Raises:
      UserError: a setting is not what MODEL_DIR has been trained with.
    """
    settings = ReadingSettings(run.data.add_bos, run.data.add_eos)
    initial = run.initial_checkpoint_path
    source = None if initial is None else open_pretrained(initial)
    chosen = reading_of(run.model, vocabulary, source, settings)
    model_dir = Path(run.model_dir).expanduser()
    # Not what else lies there: the first host locks the folder before the others have come here,
    # and of a run that was killed before its first checkpoint the lock stays.
    if not complete_steps(model_dir / "checkpoints"):
        return chosen
    trained = _recorded(companions_beside(model_dir), vocabulary)
    if run.model.is_encoder_decoder:
        trained = dataclasses.replace(trained, one_sequence=False, start_id=chosen.start_id)
    if settings.add_bos is None:
        chosen = dataclasses.replace(chosen, start_id=trained.start_id)
    if settings.add_eos is None:
        chosen = dataclasses.replace(chosen, prompt_eos=trained.prompt_eos)
    for name, now, then in (
        ("PROMPT_BOS", chosen.start_id, trained.start_id),
        ("PROMPT_EOS", chosen.prompt_eos, trained.prompt_eos),
    ):
        if now != then:
            raise UserError(
                f"{run.model_dir} has been trained with other prompts than {name} says "
                f"({then} then, {now} now): leave {name} out, or choose another MODEL_DIR"
            )
    return chosen


def _of_pair(
    vocabulary: Vocabulary, source: Pretrained | None, settings: ReadingSettings
) -> Reading:
    if settings.add_bos:
        raise UserError(
            f"{settings.names[0]} is True, but an encoder-decoder's prompts have no BOS: leave it "
            "out"
        )
    named = (source.hugging_face or {}) if source is not None else {}
    start = named.get("decoder_start_token_id")
    start_id = start if isinstance(start, int) else vocabulary.bos_id
    return Reading(start_id, settings.add_eos is not False, one_sequence=False)


def _by_model(vocabulary: Vocabulary, source: Pretrained | None) -> Reading:
    """Returns how a decoder-only model reads if nobody says otherwise."""
    if source is not None and _was_trained_here(source):
        return _recorded(source.companions, vocabulary)
    habit = vocabulary.adds_bos or (source is None and vocabulary.zero_is_padding)
    return Reading(vocabulary.bos_id if habit else None, prompt_eos=source is None)


def _was_trained_here(source: Pretrained) -> bool:
    if native.VOCABULARY_FILE in source.companions:
        return True
    if source.source_format != "native":
        return False
    # Before vocabulary.json was written; a conversion is known by its manifest.
    directories = (source.path, *source.path.parents[:2])
    return not any((directory / "conversion.json").is_file() for directory in directories)


def _recorded(companions: Mapping[str, Path | bytes], vocabulary: Vocabulary) -> Reading:
    """Returns how a model was trained here, by its vocabulary.json."""
    earlier = Reading(vocabulary.bos_id if vocabulary.has_bos else PAD_ID, prompt_eos=True)
    content: Any = companions.get(native.VOCABULARY_FILE)
    if content is None:
        return earlier
    data = content.read_bytes() if isinstance(content, Path) else content
    found = trained_reading(data)
    if found is None:
        return earlier
    if found.start_id is not None and trained_fingerprint(data) != vocabulary.fingerprint:
        return dataclasses.replace(found, start_id=vocabulary.bos_id)
    return found


def _as_set(reading: Reading, vocabulary: Vocabulary, settings: ReadingSettings) -> Reading:
    start_id, prompt_eos = reading.start_id, reading.prompt_eos
    if settings.add_bos and start_id is None:
        if not (vocabulary.has_bos or vocabulary.zero_is_padding):
            raise UserError(
                f"{settings.names[0]} is True, but the tokenizer has no BOS: leave it out"
            )
        start_id = vocabulary.bos_id
    elif settings.add_bos is False:
        start_id = None
    if settings.add_eos is not None:
        prompt_eos = settings.add_eos
    return Reading(start_id, prompt_eos)


def border_between(
    student: Reading, teacher: Reading, vocabulary: Vocabulary, teacher_path: str
) -> tuple[int, int] | None:
    """Returns the token that ends a student's prompts and the one that a teacher wants there.

    Args:
      student: how the student reads.
      teacher: how a teacher of the same vocabulary reads the student's rows.
      vocabulary: of both.
      teacher_path: for messages.

    Returns:
      None where they are the same.

    Raises:
      UserError: rows of the one cannot become rows of the other, token by token.
    """
    starts_differ = student.start_id != teacher.start_id
    if starts_differ and (teacher.one_sequence or student.start_id is None):
        raise UserError(
            f"the teacher {teacher_path} starts with {_start(teacher)} and the student with "
            f"{_start(student)}, so the two do not share rows: set PROMPT_BOS for the student or "
            "TEACHER_BOS for the teacher, to the same"
        )
    if student.prompt_eos == teacher.prompt_eos:
        return None
    divider = divider_ids(vocabulary)
    if len(divider) != 1:
        raise UserError(
            f"one of the student and the teacher {teacher_path} reads EOS behind prompts and the "
            "other a line break, which is no single token here: set PROMPT_EOS for the student or "
            "TEACHER_EOS for the teacher, to the same"
        )
    eos_id, line_break = vocabulary.eos_id, int(divider[0])
    return (eos_id, line_break) if student.prompt_eos else (line_break, eos_id)


def _start(reading: Reading) -> str:
    return "no BOS" if reading.start_id is None else f"token {reading.start_id}"


def described(reading: Reading) -> str:
    """Returns a phrase for the terminal."""
    return f"{_start(reading)} first, {'EOS' if reading.prompt_eos else 'no EOS'} behind prompts"
