"""The evaluation of a training run is given what its configuration says."""

import dataclasses
import types
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import configuration as command_line
from tlm_jax.runs.command_line.arguments import configured_parser
from tlm_jax.runs.training import session
from tlm_jax.runs.training.config import EvaluationConfig, RunConfig
from tlm_jax.system.program_cache import ProgramCache

ROOT = Path(__file__).parents[3]


def test_stop_texts_reach_the_evaluator(monkeypatch):
    known = configured_parser("train", "").parse([])
    known.gin_file = [str(ROOT / "tests" / "tiny_run.gin")]
    settings = ["MODEL_DIR='x'", "EVAL_STOP=['Q:', 'x']", "EVAL_EXAMPLES_SEED=3"]
    run, _ = command_line.load(RunConfig, known, settings)
    assert run.evaluation.examples_seed == 3
    given = {}
    monkeypatch.setattr(session, "Evaluator", lambda *args, **settings: given.update(settings))
    parts = types.SimpleNamespace(mesh=None)
    compiled = ProgramCache()
    held = types.SimpleNamespace(
        run=run, eval_sets=[], model_dir=Path("x"), parts=parts, compiled=compiled
    )
    session._Session._evaluator(held)  # pyright: ignore[reportArgumentType]
    assert list(given["stop"]) == ["Q:", "x"]
    assert given["compiled"] is compiled
    with pytest.raises(UserError, match="EVAL_STOP holds an empty text"):
        dataclasses.replace(EvaluationConfig(), stop=("",))
