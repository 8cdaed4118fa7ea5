"""The teacher: how it is asked, and one behind a server."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import pytest
from little_sums import TRAIN

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.evaluation.curation import Curation
from tlm_jax.recipes import asking
from tlm_jax.recipes.asking import SAMPLES, prompt_line
from tlm_jax.recipes.specialization import selection
from tlm_jax.recipes.specialization.teacher import Teacher
from tlm_jax.runs.cache_teacher.import_config import ImportConfig
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig, SamplingConfig
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.teacher_cache import TeacherCache

ROOT = Path(__file__).parents[3]
SAMPLING = SamplingConfig(num_samples=2, num_candidates=2, temperature=1.0)
POOL = DemonstrationPool(LoadedRecords("pool", {"train": lambda _: TRAIN}))
ODD = dataclasses.replace(TRAIN[0], question="Q: {question} and 1: 1 make?")


def test_questions_are_asked_in_a_format_or_otherwise(tmp_path):
    (tmp_path / "before.txt").write_text("Solve.\n\n")
    asked = f"Q: {ODD.question}\nLet's think step by step"

    def prompt(**fields):
        return Teacher("m", sampling=SAMPLING, **fields).prompts([ODD], POOL, RunData())[0]

    assert prompt() == asked
    shown = prompt(form="cot_in_context")
    assert shown.endswith(f"\n\n{asked}")
    assert shown.count("The answer is") == 4
    published = prompt(
        template="\nQuestion: {question}\nLet's think step by step",
        before=str(tmp_path / "before.txt"),
    )
    # Braces in a question are left alone.
    assert published == f"Solve.\n\n\nQuestion: {ODD.question}\nLet's think step by step"


@pytest.fixture
def server():
    path = ROOT / "tests/remote/conftest.py"
    spec = importlib.util.spec_from_file_location("remote", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scripted = module.ScriptedServer()
    yield scripted
    scripted.close()


def solved(number, payload):
    """Answers rightly every other time, with two candidates a token."""
    first, second = map(int, re.findall(r"\d+", payload["prompt"])[-2:])
    tokens = [str(first), " +", f" {second}", "\n", "The", " answer", " is"]
    tokens.append(f" {first + second + number % 2}")
    logprobs = {
        "tokens": tokens,
        "token_logprobs": [-0.1] * len(tokens),
        "top_logprobs": [{token: -0.1, " 7": -3.0} for token in tokens],
    }
    choice = {"text": "".join(tokens), "finish_reason": "stop", "logprobs": logprobs}
    usage = {"prompt_tokens": 9, "completion_tokens": len(tokens)}
    return 200, {}, {"choices": [choice], "usage": usage}


def test_a_teacher_behind_a_server(server, tmp_path):
    server.script = solved
    teacher = Teacher(f"openai:{server.url},tiny", sampling=SAMPLING)
    assert teacher.is_remote
    records = TRAIN[:4]
    prompts = teacher.prompts(records, POOL, RunData())
    lines = [prompt_line(record, prompt) for record, prompt in zip(records, prompts)]
    config = InferenceConfig(str(teacher.model), "", PromptsConfig(file=""), SAMPLING)
    asking.draw(tmp_path, lines, config, ProgramCache())
    rows = [row for _, row in read_json_lines(tmp_path / SAMPLES)]
    assert len(rows) == 8
    right = sum(row["correct"] for row in rows)
    assert right == 4
    source = ImportConfig("openai", (tmp_path / SAMPLES,), Path("unused"), "tiny")
    (tmp_path / "select").mkdir()
    figures = selection.select(
        tmp_path / "select", source, records, (), Curation(distinct=None), None
    )
    assert (figures["samples"], figures["right"], figures["kept"]) == (8, 4, 4)
    kept = list(read_records(tmp_path / "select" / selection.EXAMPLES))
    assert all(record.rationale for record in kept)
    cache = TeacherCache.open([str(tmp_path / "select" / selection.CACHE)])
    assert cache.encoding.settings()["num_candidates"] == 2
    assert json.loads((tmp_path / "select" / selection.CACHED).read_text())["rows"] == len(cache)
