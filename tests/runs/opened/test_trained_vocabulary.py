# pyright: reportAttributeAccessIssue=false
"""A model remembers the vocabulary of its training, and is not read with another unawares."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from tiny_models import encoder_decoder  # pyright: ignore[reportMissingImports]

from tlm_jax import eval as evaluate
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.runs.opened.model import OpenedModel, of_task
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.training.config import DataConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.session import run_training
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.vocabularies import ByteVocabulary, SentencePieceVocabulary

SIZE = 1024
_TOKENIZER = tokenizers.Tokenizer(
    tokenizers.models.WordLevel({"</s>": 0, "a": 1}, unk_token="a")
).to_str()
PIECES = SentencePieceVocabulary("asset:word_problems")


@pytest.fixture(scope="module")
def trained(tiny_module_run):
    """A model of bytes whose size another vocabulary has, too."""
    run = tiny_module_run("bytes", model=encoder_decoder(SIZE), train_steps=1, log_period_steps=1)
    run_training(run, "")
    return run


def test_training_writes_which_vocabulary_it_was(trained):
    path = open_pretrained(trained.model_dir).companions["vocabulary.json"]
    assert json.loads(path.read_text()) == {  # pyright: ignore[reportAttributeAccessIssue]
        "fingerprint": ByteVocabulary().fingerprint,
        "size": ByteVocabulary().size,
        "bos_id": None,
        "eos_id": 1,
        "pad_id": 0,
        "reading": {"start_id": 0, "prompt_eos": True, "one_sequence": False},
    }


def test_a_tasks_own_vocabulary_is_refused_and_a_named_one_is_taken(trained):
    fallback = of_task("addition_direct", ())
    with pytest.raises(UserError, match=r"bytes was trained with another vocabulary .* VOCABULARY"):
        OpenedModel(ModelSettings(trained.model_dir), fallback)
    with OpenedModel(ModelSettings(trained.model_dir, vocabulary="byte"), fallback) as model:
        assert model.vocabulary == ByteVocabulary()


def test_the_tokenizer_that_lies_beside_a_student_of_another_is_refused(trained, tmp_path):
    """A run that begins as a model with a tokenizer, and reads its tasks with their own."""
    shutil.copytree(trained.model_dir, tmp_path / "student")
    (tmp_path / "student" / "tokenizer.json").write_text(_TOKENIZER)
    with pytest.raises(UserError, match=r"student was trained with another .* set VOCABULARY to"):
        OpenedModel(ModelSettings(str(tmp_path / "student")))


def test_an_evaluation_refuses_the_tasks_own_vocabulary(trained, tmp_path):
    arguments = [
        f"OUTPUT_DIR={str(tmp_path / 'out')!r}",
        f"CHECKPOINTS=['{trained.model_dir}']",
        "EVAL_TASKS=['addition_direct']",
        "EVAL_EXAMPLES=2",
        "TASK_FEATURE_LENGTHS={'inputs': 24, 'targets': 8}",
    ]
    with pytest.raises(UserError, match=r"was trained with another vocabulary .* set VOCABULARY"):
        evaluate.main([f"--gin.{binding}" for binding in arguments])


def test_a_live_teacher_of_other_tokens_has_to_name_them(trained, tiny_run):
    run = tiny_run(
        "student",
        model=encoder_decoder(SIZE),
        data=DataConfig(vocabulary=PIECES, pack=False),
        loss=DistillationObjective(),
        teacher=LiveTeacher(trained.model_dir),
        train_steps=1,
        log_period_steps=1,
    )
    with pytest.raises(UserError, match=r"was trained with another .* set TEACHER_VOCABULARY"):
        run_training(run, "")
    named = LiveTeacher(
        trained.model_dir, vocabulary="byte", feature_lengths={"inputs": 64, "targets": 64}
    )
    run_training(dataclasses.replace(run, teacher=named), "")


def test_going_on_with_another_vocabulary_is_said(trained, tiny_run, capsys):
    again = {"initial_checkpoint_path": trained.model_dir, "train_steps": 1, "log_period_steps": 1}
    run_training(tiny_run("same", model=encoder_decoder(SIZE), **again), "")
    assert "trained with another vocabulary" not in capsys.readouterr().out
    data = DataConfig(vocabulary=PIECES)
    run = tiny_run("other", model=encoder_decoder(SIZE), data=data, **again)
    run_training(run, "")
    assert "was trained with another vocabulary: its ids" in capsys.readouterr().out
    path = open_pretrained(run.model_dir).companions["vocabulary.json"]
    assert json.loads(Path(str(path)).read_text())["fingerprint"] == PIECES.fingerprint
