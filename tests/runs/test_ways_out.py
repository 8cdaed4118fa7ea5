"""Whatever raises, and wherever, what was opened is closed, and no folder of a tokenizer left."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlm_jax.checkpoints import pretrained
from tlm_jax.checkpoints.manager import CheckpointManager
from tlm_jax.errors import UserError
from tlm_jax.lm_eval import opened
from tlm_jax.lm_eval.arguments import parse_arguments
from tlm_jax.metrics.writers import MetricsWriter
from tlm_jax.runs.cache_teacher import scoring
from tlm_jax.runs.cache_teacher.config import ScoreConfig, SolutionsConfig
from tlm_jax.runs.evaluation import run as evaluation
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.inference import local
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig, SamplingConfig
from tlm_jax.runs.opened import model as opened_model
from tlm_jax.runs.opened import temporary_folder
from tlm_jax.runs.training import session, teacher
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.training.distillation import DistillationObjective

GOLDEN = Path(__file__).parents[1] / "golden" / "hf" / "llama_tied_linear_rope"


class Broken(Exception):
    """What a test makes happen midway."""


@pytest.fixture
def broken() -> Callable[..., Any]:
    def fail(*unused: Any, **named: Any) -> Any:
        raise Broken

    return fail


@pytest.fixture
def folders(tmp_path, monkeypatch) -> Callable[[], list[Path]]:
    """Returns what lists the folders of tokenizers that are there."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return lambda: list((tmp_path / "temporary").iterdir())


@pytest.fixture
def model(tmp_path, monkeypatch) -> str:
    """A model whose tokenizer lies within it, as in a GGUF file."""
    from tokenizers import Tokenizer, decoders, models

    directory = tmp_path / "model"
    shutil.copytree(GOLDEN, directory)
    words = {word: n for n, word in enumerate(["<pad>", "<s>", "</s>", "one", "two"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(directory / "tokenizer.json"))
    whole = pretrained.open_pretrained

    def within(path: Any, *others: Any) -> pretrained.Pretrained:
        source = whole(path, *others)
        files = {
            name: file.read_bytes() if isinstance(file, Path) else file
            for name, file in source.companions.items()
        }
        return dataclasses.replace(source, companions=files)

    monkeypatch.setattr(opened_model, "open_pretrained", within)
    return str(directory)


def infer(model: str, tmp_path: Path) -> None:
    config = InferenceConfig(model, str(tmp_path / "out"), PromptsConfig(file="p.jsonl"))
    # Its window has no room for such an answer.
    local.LocalBackend(dataclasses.replace(config, sampling=SamplingConfig(max_tokens=10_000)))


def score(model: str, tmp_path: Path) -> None:
    (tmp_path / "solutions.jsonl").write_text("no JSON\n")
    config = SolutionsConfig(file=str(tmp_path / "solutions.jsonl"))
    scoring.run_scoring(ScoreConfig(model, str(tmp_path / "out"), config))


def evaluate(model: str, tmp_path: Path) -> None:
    lengths = {"inputs": 8, "targets": 8}
    config = EvalConfig(str(tmp_path / "out"), (model,), ("no_such_task",), lengths)
    evaluation.run_evaluation(config, "")


@pytest.mark.parametrize("start", [infer, score, evaluate])
def test_an_error_leaves_no_folder_of_a_tokenizer(start, model, folders, tmp_path):
    with pytest.raises(UserError) as caught:
        start(model, tmp_path)
    # The error holds on to everything, so that nothing is deleted because nobody has it any more.
    assert caught.traceback
    assert folders() == []


def test_the_harness_leaves_no_folder_of_a_tokenizer(model, folders, broken, monkeypatch):
    arguments = parse_arguments({"pretrained": model})
    one = opened.open_model(arguments)
    assert len(folders()) == 1  # its chat template may be asked for
    assert one.source.path == Path(model)
    monkeypatch.setattr(opened_model, "load_params", broken)
    with pytest.raises(Broken) as caught:
        opened.open_model(arguments)
    assert caught.traceback
    assert len(folders()) == 1
    del one
    assert folders() == []


def test_a_live_teacher_needs_no_folder_once_it_is_open(model, folders, tiny_run):
    run = tiny_run(teacher=LiveTeacher(model), loss=DistillationObjective())
    packed = dataclasses.replace(run, data=dataclasses.replace(run.data, pack=True))
    with pytest.raises(UserError, match="set PACK=False") as caught:
        teacher.open_teacher(packed)
    assert caught.traceback
    assert folders() == []
    unpacked = dataclasses.replace(run, data=dataclasses.replace(run.data, pack=False))
    found = teacher.open_teacher(unpacked)
    assert folders() == []
    assert found is not None
    assert found.tokens is not None
    np.testing.assert_array_equal(found.tokens.vocabulary.encode("one"), [3])


def test_a_folder_that_cannot_be_filled_is_deleted(folders, broken, monkeypatch):
    monkeypatch.setattr(temporary_folder.fcntl, "flock", broken)
    with pytest.raises(Broken) as caught:
        temporary_folder.TemporaryFolder("tlm_jax_test_")
    del caught
    assert folders() == []


@pytest.mark.parametrize("stage", ["start", "step_flops", "write_report"])
def test_an_error_in_a_run_frees_its_directory_and_stops_its_thread(
    stage, tiny_run, broken, monkeypatch
):
    """Before the loop, between its parts, and behind it."""
    run = tiny_run(train_steps=1)
    pipelines, writers = [], []
    open_pipeline = session.data.open_pipeline

    def opening(*given: Any) -> Any:
        pipelines.append(open_pipeline(*given))
        return pipelines[0]

    def writing(*given: Any, **named: Any) -> MetricsWriter:
        writers.append(MetricsWriter(*given, **named))
        return writers[0]

    monkeypatch.setattr(session.data, "open_pipeline", opening)
    monkeypatch.setattr(session, "MetricsWriter", writing)
    monkeypatch.setattr(session.console if stage == "start" else session, stage, broken)
    with pytest.raises(Broken) as caught:
        session.run_training(run, "# what config.gin will hold\n")
    assert caught.traceback
    assert pipelines[0]._prefetcher is None
    assert all(writer._file is None for writer in writers)
    assert len(writers) == (stage != "start")
    CheckpointManager(Path(run.model_dir, "checkpoints")).close()
