"""What a teacher is scored on, in tokens, where its window is small."""

import types
from typing import cast

from tlm_jax.data.reading import task_reading
from tlm_jax.data.teacher_imports.examples import Solution
from tlm_jax.runs.cache_teacher.config import ScoreConfig, SolutionsConfig, TeacherPromptConfig
from tlm_jax.runs.cache_teacher.solutions import Scored
from tlm_jax.runs.cache_teacher.tokens import SolutionEncoder
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.vocabularies import ByteVocabulary

BYTES = ByteVocabulary()
WINDOW = 64


def scored(text: str) -> Scored:
    prompt = Prompt("q", "line 1", text="p" * 60 + "\n")
    return Scored(key=text, prompt=prompt, solution=Solution("q", "question", text))


def test_how_much_of_a_prompt_is_kept_does_not_depend_on_the_other_solutions():
    model = cast(
        OpenedModel,
        types.SimpleNamespace(vocabulary=BYTES, reading=task_reading(BYTES), window=WINDOW),
    )
    config = ScoreConfig(
        "model", "out", SolutionsConfig(file="f"), TeacherPromptConfig(too_long="keep_end")
    )

    def contexts(*texts: str) -> dict[str, list[int]]:
        found = SolutionEncoder(model, config).encode([scored(text) for text in texts])
        return {s.key: list(one.request.context) for one in found for s in one.solutions}

    together = contexts("short", "a" * 30, "b" * 5, "c" * 2)
    (whole,) = contexts("c").values()
    assert len(whole) > WINDOW - len("short")
    for text, context in together.items():
        assert contexts(text) == {text: context}
        # Of prompt, solution and EOS the last token is not read.
        assert len(context) == min(len(whole), WINDOW - len(text))
    assert together["short"] == together["b" * 5]
