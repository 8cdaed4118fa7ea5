"""A run that was killed after its last step is finished when it is started again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tlm_jax.models.lora import LoraConfig
from tlm_jax.runs.training.session import run_training

TEXT = "# what config.gin will hold\n"


def test_a_run_killed_between_its_last_step_and_its_report_is_finished(tiny_run):
    run = tiny_run(train_steps=2)
    run_training(run, TEXT)
    report = Path(run.model_dir, "report.html")
    written = report.read_bytes()
    report.unlink()
    assert run_training(run, TEXT) == 2
    assert report.read_bytes() == written


def test_a_run_killed_before_its_adapters_were_handed_over_is_finished(tiny_run):
    base = tiny_run("base", train_steps=1)
    run_training(base, TEXT)
    run = tiny_run(
        lora=LoraConfig(rank=2, targets="(query|value|wo)$"),
        initial_checkpoint_path=base.model_dir,
        train_steps=2,
    )
    run_training(run, TEXT)
    adapters = Path(run.model_dir, "adapter", "adapter_model.safetensors")
    earlier = adapters.read_bytes()
    longer = dataclasses.replace(run, train_steps=3)
    run_training(longer, TEXT)
    whole = adapters.read_bytes()
    assert whole != earlier
    # Those of the stop before are still there, as after a kill.
    adapters.write_bytes(earlier)
    assert run_training(longer, TEXT) == 3
    assert adapters.read_bytes() == whole
