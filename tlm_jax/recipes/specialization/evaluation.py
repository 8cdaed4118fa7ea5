"""On what students are measured: special and general abilities, by several prompts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.data.formats import FORMATS, get_format
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.records import read_json_lines
from tlm_jax.data.tasks import get_task
from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import TooLong
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.recipes.asking import graded_again
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.student_vocabulary import run_data

MODE = "greedy"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What every checkpoint is asked.

    Attributes:
      special: data sets of what is learned, whose tasks are called `{data_set}_{prompt}`.
      general: of what the student could do before, or might have learned besides.
      prompts: formats: with chain of thought or direct, zero-shot or in context.
      tasks: other tasks for some of these names, such as {"bbh_cot_in_context":
        "bbh_published_prompt"}.
      split: of all of them.
      num_examples: so many of each; None: all.
      examples_seed: which ones.
      also_by: further rules of `tlm_jax.grade` by data set, such as {"gsm8k":
        "official_last_number"}.
      feature_lengths: most tokens of prompts and answers; None: those of training.
      too_long: what becomes of a longer prompt: an error, or the end of it is kept.
      demonstrations: of in-context prompts.
      batch_size: rows at a time.
      stop: texts at which an answer ends.
    """

    special: Sequence[str]
    general: Sequence[str] = ()
    prompts: Sequence[str] = tuple(FORMATS)
    tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: str = "test"
    num_examples: int | None = None
    examples_seed: int | None = 0
    also_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
    feature_lengths: Mapping[str, int] | None = None
    too_long: TooLong = "keep_end"
    demonstrations: DemonstrationSettings = dataclasses.field(default_factory=DemonstrationSettings)
    batch_size: int = 32
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.special or not self.prompts:
            raise UserError("SPECIAL_SETS and PROMPTS must each name at least one")
        both = set(self.special) & set(self.general)
        if both:
            raise UserError(f"{', '.join(sorted(both))} is in SPECIAL_SETS and in GENERAL_SETS")
        for prompt in self.prompts:
            get_format(prompt)
        for rule in self.also_by.values():
            rule_by_name(rule)

    @property
    def sets(self) -> tuple[str, ...]:
        """All data sets, the special ones first."""
        return (*self.special, *self.general)

    def task(self, data_set: str, prompt: str) -> str:
        """Returns the task that asks a data set by a prompt."""
        name = f"{data_set}_{prompt}"
        return self.tasks.get(name, name)

    def config(self, output_dir: Path, checkpoints: Sequence[Path], run: RunConfig) -> EvalConfig:
        """Returns the run that asks all of it of some checkpoints of a training run."""
        data = dataclasses.replace(
            run.data, demonstrations=self.demonstrations, examples_file=None, split="train"
        )
        return EvalConfig(
            str(output_dir),
            [str(path) for path in checkpoints],
            list(dict.fromkeys(self.task(s, p) for s in self.sets for p in self.prompts)),
            self.feature_lengths or run.feature_lengths,
            too_long=self.too_long,
            split=self.split,
            num_examples=self.num_examples,
            examples_seed=self.examples_seed,
            batch_size=self.batch_size,
            stop=self.stop,
            show_questions=20,
            dtype=run.model.dtype,
            mesh=run.mesh,
            data=data,
        )

    def digest(self, run: RunConfig) -> str:
        """Returns a hash of all questions by all prompts, with their answers."""
        data = run_data(dataclasses.replace(run.data, demonstrations=self.demonstrations))
        hashed = hashlib.sha256()
        for name in dict.fromkeys(self.task(s, p) for s in self.sets for p in self.prompts):
            source = get_task(name).source.for_run(data)
            source.check_split(self.split)
            size = source.num_examples(self.split)
            if size is None and self.num_examples is None:
                raise UserError(f"the split {self.split!r} of {name} has no end: set TEST_EXAMPLES")
            for place in chosen(size, self.num_examples, self.examples_seed):
                example = source.example(self.split, int(place))
                asked = [str(example.get(field, "")) for field in ("id", "inputs", "answer")]
                hashed.update(json.dumps(asked).encode("ascii"))
        return hashed.hexdigest()[:16]

    def figures(self, found: Mapping[str, Any], folder: Path, checkpoint: str) -> dict[str, Any]:
        """Returns what a checkpoint reached, by data set and prompt.

        Args:
          found: the results of an evaluation.
          folder: where its samples lie.
          checkpoint: its name there.

        Returns:
          By data set and prompt `questions`, `right`, `accuracy` with its 95 % interval
          `accuracy_low` and `accuracy_high`. Where questions are of several sub-tasks (BBH), the
          mean of their accuracies, `mean_of_tasks`; with `also_by`, the accuracy by that rule, of
          all questions, `also`.
        """
        by_task = {one["task"]: one for one in found["results"] if one["checkpoint"] == checkpoint}
        figures: dict[str, Any] = {}
        for data_set in self.sets:
            for prompt in self.prompts:
                task = self.task(data_set, prompt)
                one = by_task[task]
                names = ("questions", "right", "accuracy", "accuracy_low", "accuracy_high")
                told = {name: one[name] for name in names}
                if "task" in one.get("by", {}):
                    told["mean_of_tasks"] = one["by"]["task"]["mean"]
                if data_set in self.also_by:
                    path = answers_path(folder, checkpoint, task)
                    told["also"] = graded_again(path, self.also_by[data_set])
                figures.setdefault(data_set, {})[prompt] = told
        return figures


def answers_path(folder: Path, checkpoint: str, task: str) -> Path:
    """Returns where the answers of a checkpoint to a task lie."""
    return folder / "samples" / checkpoint / task / f"{MODE}.jsonl"


def rights(path: Path) -> dict[str, bool]:
    """Returns whether each question was answered rightly, by id."""
    return {row["id"]: row["right"] for _, row in read_json_lines(path, any_text=True)}


def ability(
    figures: Mapping[str, Any], sets: Sequence[str], prompts: Sequence[str]
) -> float | None:
    """Returns the mean accuracy over data sets and prompts; of sub-tasks each counts alike."""
    values = [
        one.get("mean_of_tasks", one["accuracy"])
        for data_set in sets
        for prompt, one in figures.get(data_set, {}).items()
        if prompt in prompts and one["accuracy"] is not None
    ]
    return sum(values) / len(values) if values else None
