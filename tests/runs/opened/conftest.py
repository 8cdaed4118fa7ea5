"""Models from elsewhere, and one that was trained here, with what each reads around a prompt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from model_readings import HABITS, make_model

from tlm_jax.vocabularies import vocabulary_from_name


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """From elsewhere, by the habit of their tokenizers."""
    directory = tmp_path_factory.mktemp("models")
    return {habit: make_model(directory / habit, habit) for habit in HABITS}


@pytest.fixture(params=[*HABITS, "trained"])
def case(request, checkpoints, tmp_path) -> tuple[Path, list[int], list[int]]:
    """A checkpoint, what it reads before a task's inputs, and behind them."""
    if request.param != "trained":
        path = checkpoints[request.param]
        vocabulary = vocabulary_from_name(str(path))
        start = [vocabulary.bos_id] if request.param in ("bos", "both") else []
        return path, start, vocabulary.encode("\n").tolist()
    # As a student that has been trained here on rows that EOS divides.
    path = Path(shutil.copytree(checkpoints["none"], tmp_path / "trained"))
    vocabulary = vocabulary_from_name(str(path))
    reading = {"start_id": vocabulary.bos_id, "prompt_eos": True, "one_sequence": True}
    written = {"fingerprint": vocabulary.fingerprint, "size": vocabulary.size, "reading": reading}
    (path / "vocabulary.json").write_text(json.dumps(written))
    return path, [vocabulary.bos_id], [vocabulary.eos_id]
