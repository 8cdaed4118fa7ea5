"""Specialization's stages to be timed: sampling beside `infer`, alignment, a student's wait."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.models.config import EncoderDecoderConfig
from tlm_jax.optim.optimizers import AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.recipes.asking import PROMPTS
from tlm_jax.recipes.done import Done
from tlm_jax.recipes.question_sets import Questions
from tlm_jax.recipes.specialization.config import SpecializationConfig
from tlm_jax.recipes.specialization.evaluation import Evaluation
from tlm_jax.recipes.specialization.questions import read_questions
from tlm_jax.recipes.specialization.students import StudentRun, StudentStages
from tlm_jax.recipes.specialization.teacher import Teacher
from tlm_jax.recipes.stages import Stages
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig, SamplingConfig
from tlm_jax.runs.inference.run import run_inference
from tlm_jax.runs.training.config import CheckpointConfig, DataConfig, RunConfig
from tlm_jax.runs.training.student_vocabulary import run_data
from tlm_jax.system.program_cache import ProgramCache

TEACHER, DATA_SET = "asset:word_problems_teacher", "word_problems_three"
NUM_SAMPLES, STEPS = 40, 40
STUDENT = EncoderDecoderConfig(
    vocab_size=768,
    embed_dim=96,
    num_encoder_layers=2,
    num_decoder_layers=2,
    num_heads=4,
    head_dim=24,
    mlp_dim=192,
    dropout_rate=0.0,
)


class Turn:
    """The stages of one run on the same questions.

    Attributes:
      samples: how many are drawn.
    """

    def __init__(self, questions: int, rows: int):
        sampling = SamplingConfig(NUM_SAMPLES, 80, 1.5, num_candidates=8)
        self.config = SpecializationConfig(
            questions=Questions(DATA_SET, num_train=questions, num_dev=8),
            teacher=Teacher(
                TEACHER, vocabulary="asset:word_problems", sampling=sampling, batch_size=rows
            ),
            training=RunConfig(
                model_dir="",
                model=STUDENT,
                mixture_or_task_name="",
                feature_lengths={"inputs": 432, "targets": 104},
                batch_size=8,
                train_steps=STEPS,
                optimizer=AdamW(learning_rate=Constant(0.001)),
                data=DataConfig(
                    "asset:word_problems_unigram",
                    demonstrations=DemonstrationSettings(num=2),
                    pack=True,
                ),
                checkpoints=CheckpointConfig(period_steps=STEPS),
                log_period_steps=STEPS // 4,
            ),
            evaluation=Evaluation((DATA_SET,), prompts=("answer_zero_shot",)),
            choose_by=("answer_zero_shot",),
        )
        self.samples = questions * NUM_SAMPLES
        data = run_data(self.config.training.data)
        sets = read_questions(self.config.questions, data)
        self.compiled = ProgramCache()
        self.make = StudentStages(self.config, sets, data, self.compiled, "")
        self._sampled: Done | None = None

    def stage(self, folder: Path) -> None:
        """Draws the samples as a stage."""
        with Stages(str(folder)) as stages:
            self._sampled = stages.run(self.make.sample(TEACHER))

    def inference(self, folder: Path) -> None:
        """Draws the same by `infer`."""
        teacher = self.config.teacher
        run_inference(
            InferenceConfig(
                TEACHER,
                str(folder),
                PromptsConfig(file=str(folder.parent / "first/sample" / PROMPTS)),
                teacher.sampling,
                vocabulary=teacher.vocabulary,
                batch_size=teacher.batch_size,
            ),
            self.compiled,
        )

    def aligning(self, folder: Path) -> None:
        """Prints how many solutions are aligned a second of CPU time."""
        assert self._sampled is not None
        with Stages(str(folder / "aligning")) as stages:
            self._selected = stages.run(self.make.select(self._sampled, TEACHER))
            stage = self.make.align(self._selected, "offsets")
            self._aligned = stages.run(stage)
            times = []
            for number in range(3):
                again = folder / f"again-{number}"
                again.mkdir()
                begin = time.process_time()
                stage.work(again)
                times.append(time.process_time() - begin)
        rate = self._aligned.figures["solutions"] / min(times)
        print(f"alignment {rate:,.0f} solutions a second of CPU time")

    def training(self, folder: Path) -> None:
        """Prints which share of a student's steps is waiting for rows, but for the first ones."""
        run = StudentRun(0, "four_formats", "raw", "match_distribution")
        with Stages(str(folder / "training")) as stages:
            stage = self.make.train(run, self._selected, self._aligned, None)
            done = stages.run(dataclasses.replace(stage, name="train"))
        lines = (done.path("model") / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        shares = [row["data_wait_share"] for row in rows if "data_wait_share" in row]
        told = ", ".join(f"{share:.2%}" for share in shares[1:])
        print(f"waiting for rows: {told} of a student's steps")
