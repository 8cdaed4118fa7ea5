"""Runs of one process that share compiled programs: the second one compiles nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
from tiny_models import decoder_only

from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.metrics.compilations import counted_compilations
from tlm_jax.models import abstract_params
from tlm_jax.models.lora import LoraConfig
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.run import run_evaluation
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig, SamplingConfig
from tlm_jax.runs.inference.run import run_inference
from tlm_jax.runs.training.config import DataConfig, EvaluationConfig
from tlm_jax.runs.training.session import run_training
from tlm_jax.system.program_cache import ProgramCache


def test_keys_are_compared_by_what_they_hold():
    made: list[int] = []
    cache = ProgramCache()

    def make() -> int:
        made.append(len(made))
        return made[-1]

    assert [cache.get((decoder_only(9), 1), make) for _ in range(3)] == [0, 0, 0]
    assert cache.get((decoder_only(9), 2), make) == 1
    assert cache.get((decoder_only(10), 1), make) == 2
    # Functions are what they are, not what they are called.
    assert cache.get((lambda: 0,), make) == 3
    assert cache.get((lambda: 0,), make) == 4


def test_a_second_training_compiles_nothing(tiny_run):
    evaluation = EvaluationConfig(
        tasks=["addition_direct"], period_steps=3, num_examples=4, batch_size=8
    )
    runs = [tiny_run(name=name, evaluation=evaluation) for name in ("alone", "first", "second")]
    # The last one takes other steps, from other parameters: neither is in the program.
    runs.append(
        dataclasses.replace(
            tiny_run(name="third"), evaluation=evaluation, train_steps=3, data=DataConfig("byte")
        )
    )
    run_training(runs[0], "")
    compiled = ProgramCache()
    run_training(runs[1], "", compiled)
    for run in runs[2:]:
        with counted_compilations() as found:
            run_training(run, "", compiled)
        assert found == []
    alone, second = (_params(run) for run in (runs[0], runs[2]))
    for one, other in zip(alone, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_second_training_of_adapters_compiles_nothing(tiny_run):
    lora = LoraConfig(rank=2)
    compiled = ProgramCache()
    run_training(tiny_run(name="first", lora=lora), "", compiled)
    with counted_compilations() as found:
        run_training(tiny_run(name="second", lora=lora), "", compiled)
    assert found == []


def test_another_optimizer_is_another_program(tiny_run):
    compiled = ProgramCache()
    first = tiny_run(name="first")
    run_training(first, "", compiled)
    other = dataclasses.replace(first.optimizer, weight_decay=0.3)
    changed = tiny_run(name="other", optimizer=other)
    run_training(changed, "", compiled)
    alone = tiny_run(name="alone", optimizer=other)
    run_training(alone, "")
    for one, two in zip(_params(changed), _params(alone), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_second_inference_and_evaluation_compile_nothing(tiny_run, tmp_path: Path):
    run = tiny_run(model=decoder_only(264), train_steps=4)
    run_training(run, "")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"{n} + 1"}) + "\n" for n in range(5)))
    compiled = ProgramCache()
    drawn = {}
    for name in ("first", "second", "alone"):
        inference = InferenceConfig(
            run.model_dir,
            str(tmp_path / name / "samples"),
            PromptsConfig(file=str(prompts)),
            SamplingConfig(max_tokens=8, num_samples=2),
            vocabulary="byte",
            batch_size=8,
        )
        evaluation = EvalConfig(
            output_dir=str(tmp_path / name / "evaluation"),
            checkpoints=[run.model_dir],
            tasks=["addition_direct"],
            feature_lengths={"inputs": 48, "targets": 16},
            modes=["greedy", "self_consistency"],
            num_samples=2,
            num_examples=8,
            data=DataConfig("byte"),
            batch_size=8,
        )
        shared = None if name == "alone" else compiled
        with counted_compilations() as found:
            assert run_inference(inference, shared) == 0
            figures = run_evaluation(evaluation, "", shared)["results"]
        samples = (tmp_path / name / "samples" / "samples.jsonl").read_bytes()
        drawn[name] = samples, figures, bool(found)
    assert drawn["first"][:2] == drawn["second"][:2] == drawn["alone"][:2]
    assert [drawn[name][2] for name in ("first", "second", "alone")] == [True, False, True]


def _params(run) -> list[np.ndarray]:
    source = open_pretrained(run.model_dir)
    shapes = abstract_params(run.model)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_params(source, run.model, wanted))]
