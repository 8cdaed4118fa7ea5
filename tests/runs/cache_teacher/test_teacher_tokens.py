"""What a teacher is scored on, in tokens, where its window is small."""

from contextlib import closing
from pathlib import Path

from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.reading import task_reading
from tlm_jax.data.teacher_imports.examples import Solution
from tlm_jax.runs.cache_teacher.config import ScoreConfig, SolutionsConfig, TeacherPromptConfig
from tlm_jax.runs.cache_teacher.solutions import Scored
from tlm_jax.runs.cache_teacher.tokens import SolutionEncoder
from tlm_jax.runs.inference.prompts import Prompt
from tlm_jax.runs.inference.tokens import TokenizerFiles
from tlm_jax.vocabularies import ByteVocabulary

LLAMA = Path(__file__).parents[2] / "golden" / "hf" / "llama_tied_linear_rope"
BYTES = ByteVocabulary()
WINDOW = 64  # its max_position_embeddings


def scored(text: str) -> Scored:
    prompt = Prompt("q", "line 1", text="p" * 60 + "\n")
    return Scored(key=text, prompt=prompt, solution=Solution("q", "question", text))


def test_how_much_of_a_prompt_is_kept_does_not_depend_on_the_other_solutions():
    source = open_pretrained(LLAMA)
    config = ScoreConfig(
        str(LLAMA), "out", SolutionsConfig(file="f"), TeacherPromptConfig(too_long="keep_end")
    )

    def contexts(*texts: str) -> dict[str, list[int]]:
        with closing(TokenizerFiles(source)) as files:
            encoder = SolutionEncoder(source, BYTES, files, config, task_reading(BYTES))
            found = encoder.encode([scored(text) for text in texts])
        return {s.key: list(one.request.context) for one in found for s in one.solutions}

    together = contexts("short", "a" * 30, "b" * 5, "c" * 2)
    (whole,) = contexts("c").values()
    assert len(whole) > WINDOW - len("short")
    for text, context in together.items():
        assert contexts(text) == {text: context}
        # Of prompt, solution and EOS the last token is not read.
        assert len(context) == min(len(whole), WINDOW - len(text))
    assert together["short"] == together["b" * 5]
