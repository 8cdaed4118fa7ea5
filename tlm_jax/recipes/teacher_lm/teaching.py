"""The stages of the teacher and of what it writes: what each is decided by, and what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tlm_jax.data.records import read_json_lines, write_records
from tlm_jax.data.teacher_lm.students import STUDENT_FORMATS
from tlm_jax.errors import UserError
from tlm_jax.recipes import asking
from tlm_jax.recipes.asking import is_remote, model_path
from tlm_jax.recipes.done import Done, Figures
from tlm_jax.recipes.stages import Stage, on_first_host
from tlm_jax.recipes.teacher_lm.config import ALL_FIELDS, MULTI_TASK, TeacherTraining
from tlm_jax.recipes.teacher_lm.enhancing import elicitation_lines, enriched
from tlm_jax.recipes.teacher_lm.texts import registered_task
from tlm_jax.recipes.teacher_lm.work import (
    EVALUATION,
    MODEL,
    TEACHER_DATA,
    BaseStages,
    checkpoints_of,
)
from tlm_jax.recipes.trainings import decides, vocabulary_digest
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig

ENRICHED, ROWS = "enriched.jsonl", "rows.jsonl"
"""All enriched records, and those of them that every format can be made of."""


class TeacherStages(BaseStages):
    """Makes the stages of the teacher, and those in which it enriches a data set."""

    def teach(self, name: str, questions: Done, start: str | None) -> Stage:
        """Trains a stage of the teacher: "multi_task", "fields", or a field's specialist."""
        teacher = self._teacher
        run = teacher.training
        place = {MULTI_TASK: 0, ALL_FIELDS: 1}.get(name, 2)
        reads = {} if start is None else {"the model it starts from": model_path(start)}
        if name != MULTI_TASK:
            reads["the teacher's data"] = questions.path(TEACHER_DATA)
        run = dataclasses.replace(
            run,
            train_steps=teacher.steps[place],
            initial_checkpoint_path=start,
            mixture_or_task_name=teacher.multi_task,
        )

        def work(folder: Path) -> Figures:
            chosen = run
            if name != MULTI_TASK:
                form = "triple" if name == ALL_FIELDS else f"{name}_tail"
                path = questions.path(TEACHER_DATA)
                task = registered_task(path, form, "whole", teacher.layout)
                data = dataclasses.replace(run.data, split="train")
                chosen = dataclasses.replace(run, mixture_or_task_name=task, data=data)
            steps = self.train_model(folder, chosen)
            return {"steps": steps, "period": run.checkpoints.period_steps}

        settings = {
            "training": decides(run),
            "period": run.checkpoints.period_steps,
            "layout": teacher.layout,
            "stage": name,
        }
        return Stage(f"teacher/{name}/train", "training", work, [MODEL], settings, reads)

    def choose(self, name: str, trained: Done) -> Stage:
        """Ranks every checkpoint of a stage of the teacher; the best, the first of equals."""
        teacher = self._teacher
        checkpoints = checkpoints_of(trained)

        def work(folder: Path) -> Figures:
            config = self.eval_config(
                folder, checkpoints, teacher.rank_tasks, teacher.training, teacher.rank_format
            )
            config = dataclasses.replace(
                config, split=teacher.rank_split, num_examples=teacher.rank_examples
            )
            found = self.evaluated(config, checkpoints)
            means = {
                step: sum(one["accuracy"] for one in tasks.values()) / len(tasks)
                for step, tasks in found.items()
            }
            return {"accuracy": means, "chosen": max(means, key=lambda step: means[step])}

        return Stage(
            f"teacher/{name}/choose",
            "evaluation",
            work,
            [f"{EVALUATION}/results.json"],
            {
                "tasks": list(teacher.rank_tasks),
                "split": teacher.rank_split,
                "examples": teacher.rank_examples,
                "format": teacher.rank_format,
                "vocabulary": vocabulary_digest(teacher.training.data),
            },
            {f"checkpoint {step}": path for step, path in checkpoints.items()},
        )

    def ask(self, field: str, model: str) -> Stage:
        """Has a teacher write a field of every training record."""
        config, records = self.config, self.sets.train
        lines = elicitation_lines(records, field, config.layout)
        remote = is_remote(model)
        add_eos = None if remote else False
        vocabulary = config.vocabulary
        if isinstance(config.teacher, TeacherTraining):
            vocabulary = vocabulary or config.teacher.training.data.vocabulary
        inference = InferenceConfig(
            model,
            "",
            PromptsConfig(file="", add_eos=add_eos),
            config.sampling,
            config.server,
            vocabulary,
            config.teacher_dtype,
            config.teacher_batch_size,
        )

        def work(folder: Path) -> Figures:
            asking.draw(folder, lines, inference, self.compiled)
            rows = [row for _, row in read_json_lines(folder / asking.SAMPLES, any_text=True)]
            return {"samples": len(rows), "tokens": sum(row["num_tokens"] or 0 for row in rows)}

        return Stage(
            f"enhance/{field}",
            "generation",
            work,
            [asking.SAMPLES],
            {
                "prompts": asking.lines_digest(lines),
                "sampling": config.sampling,
                "dtype": config.teacher_dtype,
                **({"server": model, "extra": dict(config.server.extra)} if remote else {}),
            },
            {} if remote else {"the teacher": model_path(model)},
        )

    def enrich(self, asked: Mapping[str, Done]) -> Stage:
        """Puts records and generations together."""
        config, records = self.config, self.sets.train

        def work(folder: Path) -> Figures:
            samples = {
                field: [row for _, row in read_json_lines(done.path(asking.SAMPLES), any_text=True)]
                for field, done in asked.items()
            }
            found, counts = enriched(records, samples, config.enhancement, config.layout)
            write_records(folder / ENRICHED, found)
            forms = [form for name in config.formats for form in STUDENT_FORMATS[name]]
            rows = [record for record in found if all(form.fits(record) for form in forms)]
            if config.formats and not rows:
                raise UserError(
                    f"no record has all that {', '.join(config.formats)} need: "
                    f"{folder / ENRICHED} holds what the teacher wrote; choose other FORMATS, "
                    "another teacher, or data sets with human explanations for Manual formats"
                )
            write_records(folder / ROWS, rows)
            return {**counts, "records": len(found), "rows": len(rows)}

        return Stage(
            "enhance/records",
            "other",
            lambda folder: on_first_host(folder, work),
            [ENRICHED, ROWS],
            {
                "records": asking.records_digest(records),
                "enhancement": config.enhancement,
                "layout": config.layout,
                "formats": list(config.formats),
            },
            {f"generations of {name}": done.path(asking.SAMPLES) for name, done in asked.items()},
        )

    @property
    def _teacher(self) -> TeacherTraining:
        assert isinstance(self.config.teacher, TeacherTraining)
        return self.config.teacher
