"""Times samples inside a recipe against `infer` on the same prompts, on this CPU.

`--name star`: a small model that comes along answers word problems, greedily: as a stage of STaR,
with its fingerprints, counts and notes, and as a run of inference alone. Both ways take turns in
one process with programs that are compiled already, and the rate of a matrix product is measured in
between.

`--name specialization`: the same of 40 samples a question with their candidates; then how many of
these solutions are aligned with another tokenizer in a second of CPU time, and which share of a
student's steps is spent waiting for their rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODEL = "asset:word_problems_student"
TASK = "word_problems_easy_answer_zero_shot"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark recipe", description=__doc__)
    parser.add_argument("--name", choices=("star", "specialization"), default="star")
    parser.add_argument("--questions", type=int, help="1,000; of specialization 24")
    parser.add_argument("--rows", type=int, default=128, help="decoded at once")
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of each")
    options = parser.parse_args(arguments)
    os.environ["JAX_PLATFORMS"] = "cpu"
    sys.path.insert(0, str(Path(__file__).parent / "workers"))
    with tempfile.TemporaryDirectory() as folder:
        if options.name == "specialization":
            from specialization_turns import Turn

            options.questions = options.questions or 24
            turn = Turn(options.questions, options.rows)
            _compare(Path(folder), options, turn, turn.samples)
            turn.aligning(Path(folder))
            turn.training(Path(folder))
            return 0
        options.questions = options.questions or 1000
        _compare(Path(folder), options, _Turn(options), options.questions)
    return 0


def _compare(folder: Path, options: argparse.Namespace, turn: Any, samples: int) -> None:
    """Prints how many samples each way draws a second."""
    from tlm_jax_step import matrix_product_rate

    seconds: dict[str, list[float]] = {"infer": [], "recipe": []}
    peaks = []
    turn.stage(folder / "first")  # compiles
    for number in range(options.rounds):
        for name, run in (("infer", turn.inference), ("recipe", turn.stage)):
            start = time.perf_counter()
            run(folder / f"{name}-{number}")
            seconds[name].append(time.perf_counter() - start)
        peaks.append(matrix_product_rate()["flops_per_second"])
    for name, times in seconds.items():
        print(
            f"{name:8}{samples / statistics.median(times):8.1f} samples/s, "
            f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
        )
    alone, inside = (statistics.median(seconds[name]) for name in ("infer", "recipe"))
    print(
        f"inside the recipe {alone / inside:.3f} times as many; float32 product rate "
        f"{statistics.median(peaks) / 1e9:.0f} GFLOP/s"
    )


class _Turn:
    """Both ways of asking the same questions."""

    def __init__(self, options: argparse.Namespace):
        from tlm_jax.checkpoints.pretrained import open_pretrained
        from tlm_jax.optim.optimizers import AdamW
        from tlm_jax.optim.schedules import Constant
        from tlm_jax.recipes.star.asking import Asker
        from tlm_jax.recipes.star.config import QuestionsConfig, StarConfig
        from tlm_jax.recipes.star.forms import Questions
        from tlm_jax.recipes.star.questions import read_questions
        from tlm_jax.recipes.star.schedules import Exponential
        from tlm_jax.runs.inference.config import SamplingConfig
        from tlm_jax.runs.training.config import RunConfig
        from tlm_jax.runs.training.student_vocabulary import run_data
        from tlm_jax.system.program_cache import ProgramCache

        training = RunConfig(
            model_dir="",
            model=open_pretrained(MODEL).config,
            mixture_or_task_name="",
            feature_lengths={"inputs": 64, "targets": 64},
            batch_size=8,
            train_steps=1,
            optimizer=AdamW(learning_rate=Constant(0.001)),
            initial_checkpoint_path=MODEL,
        )
        self.config = StarConfig(
            questions=QuestionsConfig(TASK, num_dev=options.questions),
            form=Questions(),
            training=training,
            schedule=Exponential(),
            sampling=SamplingConfig(max_tokens=56, temperature=0.0, logprobs=False),
            batch_size=options.rows,
        )
        data = run_data(training.data)
        self.records = read_questions(self.config.questions, data).dev
        self.asker = Asker(self.config, data, ProgramCache())

    def stage(self, folder: Path) -> None:
        from tlm_jax.recipes.stages import Stages
        from tlm_jax.recipes.star.work import StarStages

        make = StarStages(self.asker, "")
        with Stages(str(folder)) as stages:
            stages.run(make.ask("asked", Path(MODEL), self.records, self.config.sampling))

    def inference(self, folder: Path) -> None:
        from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig
        from tlm_jax.runs.inference.run import run_inference

        form: Any = self.config.form
        prompts = folder.parent / "first/asked/prompts.jsonl"
        run_inference(
            InferenceConfig(
                MODEL,
                str(folder),
                PromptsConfig(file=str(prompts)),
                dataclasses.replace(self.config.sampling, stop=tuple(form.stop)),
                batch_size=self.config.batch_size,
            ),
            self.asker.compiled,
        )
