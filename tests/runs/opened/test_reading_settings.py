"""Settings and MODEL_DIRs against the habits of a model's tokenizer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from model_readings import BYTES, reading
from tiny_models import decoder_only, encoder_decoder  # pyright: ignore[reportMissingImports]

from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.reading import Reading
from tlm_jax.errors import UserError
from tlm_jax.runs.opened.reading import ReadingSettings, border_between, reading_of, student_reading
from tlm_jax.runs.training.config import DataConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.session import run_training
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.vocabularies import vocabulary_from_name


def test_settings_override_the_model(checkpoints):
    vocabulary, found = reading(checkpoints["none"])
    assert found == Reading(None, prompt_eos=False)
    assert reading(checkpoints["none"], add_bos=True)[1] == Reading(vocabulary.bos_id, False)
    assert reading(checkpoints["bos"], add_bos=False, add_eos=True)[1] == Reading(None, True)
    with pytest.raises(UserError, match="PROMPT_BOS is True, but the tokenizer has no BOS"):
        reading(checkpoints["null"], add_bos=True)
    with pytest.raises(UserError, match="PROMPT_BOS is True, but an encoder-decoder's prompts"):
        reading_of(encoder_decoder(264), BYTES, None, ReadingSettings(add_bos=True))
    assert reading_of(encoder_decoder(264), BYTES, None) == Reading(0, True, False)


def test_new_models_and_those_of_earlier_versions(checkpoints, tmp_path):
    path = Path(shutil.copytree(checkpoints["null"], tmp_path / "model"))
    vocabulary = vocabulary_from_name(str(path))
    model = open_pretrained(path).config
    assert reading_of(decoder_only(264), BYTES, None) == Reading(0, prompt_eos=True)
    assert reading_of(model, vocabulary, None) == Reading(None, prompt_eos=True)
    # Earlier versions noted the vocabulary alone; they read id 0 where there was no BOS.
    written = {"fingerprint": vocabulary.fingerprint, "size": vocabulary.size}
    (path / "vocabulary.json").write_text(json.dumps(written))
    assert reading_of(model, vocabulary, open_pretrained(path)) == Reading(0, prompt_eos=True)
    # With another vocabulary the noted id means nothing.
    other = {**written, "reading": {"start_id": 9, "prompt_eos": False, "one_sequence": True}}
    (path / "vocabulary.json").write_text(json.dumps({**other, "fingerprint": "another"}))
    assert reading_of(model, BYTES, open_pretrained(path)) == Reading(0, prompt_eos=False)


def test_a_model_that_was_only_converted_keeps_its_tokenizers_habits(checkpoints, tmp_path):
    source = open_pretrained(checkpoints["bos"])
    vocabulary = vocabulary_from_name(str(checkpoints["bos"]))
    converted = dataclasses.replace(source, path=tmp_path, source_format="native")
    earlier = Reading(vocabulary.bos_id, prompt_eos=True)
    assert reading_of(source.config, vocabulary, converted) == earlier
    (tmp_path / "conversion.json").write_text("{}")
    assert reading_of(source.config, vocabulary, converted) == Reading(vocabulary.bos_id, False)


def test_a_student_keeps_what_it_was_trained_with(checkpoints, tiny_run, capsys):
    run = tiny_run(
        "student",
        model=dataclasses.replace(open_pretrained(checkpoints["none"]).config),
        initial_checkpoint_path=str(checkpoints["none"]),
        data=DataConfig(vocabulary=str(checkpoints["none"]), add_eos=True),
        train_steps=1,
        log_period_steps=1,
    )
    run_training(run, "")
    vocabulary, found = reading(Path(run.model_dir))
    assert found == Reading(None, prompt_eos=True)
    again = dataclasses.replace(run, data=DataConfig(vocabulary=run.data.vocabulary))
    assert student_reading(again, vocabulary) == found
    other = dataclasses.replace(run, data=dataclasses.replace(run.data, add_eos=False))
    with pytest.raises(UserError, match=r"trained with other prompts than PROMPT_EOS says"):
        run_training(dataclasses.replace(other, train_steps=2), "")
    # A teacher of the same tokens that reads plain text: EOS becomes a line break in its rows.
    live = LiveTeacher(str(checkpoints["none"]))
    distilled = dataclasses.replace(
        run,
        model_dir=run.model_dir + "-distilled",
        teacher=live,
        loss=DistillationObjective(),
        train_steps=1,
    )
    run_training(distilled, "")
    assert "vocabulary, no BOS first, no EOS behind prompts" in capsys.readouterr().out


def test_a_folder_without_a_checkpoint_says_nothing_of_prompts(checkpoints, tiny_run):
    run = tiny_run(
        "locked",
        model=open_pretrained(checkpoints["none"]).config,
        initial_checkpoint_path=str(checkpoints["none"]),
        data=DataConfig(vocabulary=str(checkpoints["none"])),
    )
    vocabulary = vocabulary_from_name(str(checkpoints["none"]))
    found = student_reading(run, vocabulary)
    assert found == Reading(None, prompt_eos=False)
    # Left by a kill before the first checkpoint, or made by another host just now.
    folder = Path(run.model_dir) / "checkpoints"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    assert student_reading(run, vocabulary) == found


def test_a_teachers_rows_become_of_the_students_or_are_refused(checkpoints, tmp_path):
    vocabulary = vocabulary_from_name(str(checkpoints["none"]))
    plain, divided = Reading(None, False), Reading(None, True)
    ends = (vocabulary.eos_id, int(vocabulary.encode("\n")[0]))
    assert border_between(divided, plain, vocabulary, "t") == ends
    assert border_between(plain, divided, vocabulary, "t") == ends[::-1]
    assert border_between(plain, plain, vocabulary, "t") is None
    pair = Reading(0, True, one_sequence=False)
    assert border_between(Reading(0, True), pair, vocabulary, "t") is None
    for student, teacher in ((Reading(2, False), plain), (plain, pair)):
        with pytest.raises(UserError, match="set PROMPT_BOS for the student or TEACHER_BOS"):
            border_between(student, teacher, vocabulary, "t")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "</s>": 1}, "<pad>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    no_line_breaks = vocabulary_from_name(str(tmp_path))
    with pytest.raises(UserError, match=r"line break, which is no single token.*TEACHER_EOS"):
        border_between(divided, plain, no_line_breaks, "t")
