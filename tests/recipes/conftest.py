"""A small model that knows some sums by heart, and STaR on these and other sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_models import decoder_only

from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.data import tasks
from tlm_jax.data.formats import get_format
from tlm_jax.data.formatted import FormattedRecords
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, write_records
from tlm_jax.optim.optimizers import AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.recipes.star.config import QuestionsConfig, StarConfig
from tlm_jax.recipes.star.forms import Questions
from tlm_jax.recipes.star.method import Star
from tlm_jax.recipes.star.schedules import Linear
from tlm_jax.runs.inference.config import SamplingConfig
from tlm_jax.runs.training.config import CheckpointConfig, DataConfig, RunConfig
from tlm_jax.runs.training.session import run_training
from tlm_jax.sharding.mesh import MeshShape

TASK = "sums_of_the_tests"
MODEL = decoder_only(264, num_layers=2, embed_dim=32, mlp_dim=64)


def sum_of(first: int, second: int, split: str = "train") -> Record:
    return Record(
        id=f"{first}+{second}",
        dataset="sums",
        split=split,
        kind="numeric",
        question=f"{first}+{second}",
        options=None,
        answer=str(first + second),
        meta={"num_digits": 1},
    )


TRAIN = [sum_of(a, b) for a in range(1, 5) for b in range(1, 5)]
KNOWN, DEV = TRAIN[::2], [sum_of(a, b, "dev") for a in (5, 6) for b in (1, 2)]


@pytest.fixture(scope="session")
def sums() -> Iterator[str]:
    """Registers the task."""
    records = LoadedRecords("sums", {"train": lambda _: TRAIN, "dev": lambda _: DEV})
    form = get_format("answer_zero_shot")
    tasks.register_task(TASK, FormattedRecords(records, form))
    yield TASK
    tasks.unregister(TASK)


@pytest.fixture(scope="session")
def template() -> RunConfig:
    """How the models of the tests are trained."""
    return RunConfig(
        model_dir="",
        model=MODEL,
        mixture_or_task_name="examples_as_written",
        feature_lengths={"inputs": 16, "targets": 16},
        batch_size=8,
        train_steps=1,
        optimizer=AdamW(learning_rate=Constant(0.01)),
        mesh=MeshShape(),
        data=DataConfig("byte", add_eos=False),
        checkpoints=CheckpointConfig(keep=KeepPolicy(last=1)),
    )


@pytest.fixture(scope="session")
def start(template, tmp_path_factory) -> Path:
    """A model that answers half of the sums, hinted or not, and that knows what a hint is."""
    folder = tmp_path_factory.mktemp("start")
    form = Questions()
    texts = [(record, False) for record in KNOWN] + [(record, True) for record in TRAIN]
    examples = [
        dataclasses.replace(record, id=f"{record.id}{hint}").with_generated(
            inputs=form.query(record, hint=hint), targets=f" so {record.answer}"
        )
        for record, hint in texts
    ]
    write_records(folder / "examples.jsonl", examples)
    data = dataclasses.replace(
        template.data, examples_file=str(folder / "examples.jsonl"), split="all"
    )
    run = dataclasses.replace(template, model_dir=str(folder / "model"), train_steps=250, data=data)
    run_training(run, "start")
    return folder / "model"


@pytest.fixture
def star(sums, template, start) -> Callable[..., Star]:
    """Returns what makes the method of two loops; keywords replace fields of its configuration."""

    def make(**fields) -> Star:
        config = StarConfig(
            questions=QuestionsConfig(sums, dev_split="dev", by="num_digits"),
            form=Questions(),
            training=dataclasses.replace(template, initial_checkpoint_path=str(start)),
            schedule=Linear(4, 2),
            sampling=SamplingConfig(max_tokens=8, temperature=0.0, logprobs=False),
            loops=2,
            batch_size=8,
        )
        return Star(dataclasses.replace(config, **fields))

    return make
