"""Whatever opens a model honours each of its settings, or refuses it: the table of the two."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from tlm_jax.errors import UserError
from tlm_jax.lm_eval.arguments import parse_arguments
from tlm_jax.lm_eval.opened import open_model
from tlm_jax.runs.cache_teacher.config import ScoreConfig, SolutionsConfig, TeacherPromptConfig
from tlm_jax.runs.cache_teacher.scoring import run_scoring
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.run import run_evaluation
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig, SamplingConfig
from tlm_jax.runs.inference.local import LocalBackend
from tlm_jax.runs.inference.run import run_inference
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.training.config import DataConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.teacher import open_teacher
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.vocabularies import ByteVocabulary, vocabulary_from_name

GOLDEN = Path(__file__).parents[2] / "golden"
TEMPLATE = "{% for message in messages %}<s> {{ message.content }} {% endfor %}"
PATHS = ["infer", "score", "evaluate", "teacher", "harness"]
SETTINGS = {
    "infer": ("VOCABULARY", "PROMPT_BOS"),
    "score": ("VOCABULARY", "PROMPT_BOS"),
    "evaluate": ("VOCABULARY", "PROMPT_BOS"),
    "teacher": ("TEACHER_VOCABULARY", "TEACHER_BOS"),
    "harness": ("tokenizer", "add_bos_token"),
}
"""What each calls the vocabulary, and BOS before prompts."""


def write_tokenizer(directory: Path, *words: str) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    ids = {word: n for n, word in enumerate(["<pad>", "<s>", "</s>", *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Metaspace()
    directory.mkdir(exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(special))
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    return directory


@pytest.fixture
def model(tmp_path) -> Callable[[str], Path]:
    """Returns what makes a model of 128 ids with a tokenizer of a few words beside it."""

    def make(golden: str = "llama_tied_linear_rope") -> Path:
        return write_tokenizer(
            Path(shutil.copytree(GOLDEN / "hf" / golden, tmp_path / golden)), "one", "two"
        )

    return make


class Nothing(Exception):
    """Ends a run once its model is open."""


@pytest.fixture
def opened(tmp_path, tiny_run, monkeypatch) -> Callable[..., OpenedModel]:
    """Returns what opens a model by a path: `opened(path, model, **settings)`."""
    made: list[OpenedModel] = []
    opening = OpenedModel.__init__

    def noting(self: OpenedModel, *given: Any, **named: Any) -> None:
        opening(self, *given, **named)
        made.append(self)

    monkeypatch.setattr(OpenedModel, "__init__", noting)

    def infer(
        model: str, window: int | None, bos: Any, eos: Any, chat: bool = False, **chosen: Any
    ) -> None:
        (tmp_path / "p.jsonl").write_text('{"prompt": "one"}')
        prompts = PromptsConfig(str(tmp_path / "p.jsonl"), add_bos=bos, add_eos=eos, chat=chat)
        sampling = SamplingConfig(max_tokens=window or 8)
        out = str(tmp_path / "out")
        config = InferenceConfig(model, out, prompts, sampling, **chosen)
        if chat:
            run_inference(config)
        LocalBackend(config)

    def score(
        model: str, window: int | None, bos: Any, eos: Any, chat: bool = False, **chosen: Any
    ) -> None:
        solution = {"prompt": "one", "solution": "two " * 99 if window else ""}
        (tmp_path / "s.jsonl").write_text(json.dumps(solution))
        solutions = SolutionsConfig(file=str(tmp_path / "s.jsonl"))
        prompts = TeacherPromptConfig(add_bos=bos, add_eos=eos, chat=chat)
        run_scoring(ScoreConfig(model, str(tmp_path / "out"), solutions, prompts, **chosen))

    def evaluate(
        model: str, window: int | None, bos: Any, eos: Any, vocabulary: Any = None, **chosen: Any
    ) -> None:
        lengths = {"inputs": 8, "targets": window or 8}
        data = DataConfig(vocabulary=vocabulary, add_bos=bos, add_eos=eos)
        out, task = str(tmp_path / "out"), "addition_direct"
        config = EvalConfig(out, (model,), (task,), lengths, num_examples=1, data=data, **chosen)
        run_evaluation(config, "")

    def teacher(
        model: str, window: int | None, bos: Any, eos: Any, mesh: Any = None, **chosen: Any
    ) -> None:
        run = tiny_run(
            loss=DistillationObjective(),
            teacher=LiveTeacher(model, add_bos=bos, add_eos=eos, **chosen),
            feature_lengths={"inputs": 8, "targets": window or 8},
            data=DataConfig(vocabulary=ByteVocabulary(), pack=False),
        )
        found = open_teacher(run)
        assert found is not None
        if mesh is not None:
            # Its parameters lie where those of the student do.
            whole = make_mesh(mesh)
            leaves = jax.tree.leaves(found.abstract(whole))
            assert {leaf.sharding.mesh for leaf in leaves} == {whole}
            made[-1].mesh = whole

    def harness(
        model: str,
        window: int | None,
        bos: Any,
        eos: Any,
        vocabulary: Any = None,
        mesh: Any = None,
        **chosen: Any,
    ) -> None:
        split = {} if mesh is None else {"fsdp": mesh.fsdp, "tensor": mesh.tensor}
        given = {"max_length": window, "add_bos_token": bos, "add_eos_token": eos}
        open_model(
            parse_arguments(
                {"pretrained": model, "tokenizer": vocabulary, **given, **split, **chosen}
            )
        )

    paths = dict(zip(PATHS, (infer, score, evaluate, teacher, harness), strict=True))

    def opened(
        path: str,
        model: Path,
        *,
        window: int | None = None,
        bos: bool | None = None,
        eos: bool | None = None,
        **chosen: Any,
    ) -> OpenedModel:
        if window is None:
            # What comes behind the opening is another test's.
            monkeypatch.setattr("tlm_jax.runs.evaluation.run.load_eval_sets", _end)
            monkeypatch.setattr("tlm_jax.runs.cache_teacher.scoring.load_solutions", _end)
        with contextlib.suppress(Nothing):
            paths[path](str(model), window, bos, eos, **chosen)
        return made[-1]

    return opened


def _end(*unused: Any, **named: Any) -> Any:
    raise Nothing


@pytest.mark.parametrize("path", PATHS)
def test_what_is_honoured(path, model, opened, tmp_path):
    directory = model()
    (directory / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    own = opened(path, directory)
    assert (own.config.dtype, own.config.dropout_rate) == ("float32", 0.0)
    assert own.vocabulary.encode("two").tolist() == [4]
    assert own.eos_ids == (2, 7)
    assert own.window == 64
    assert own.template.source == TEMPLATE
    assert (own.reading.start_id, own.reading.prompt_eos) == (None, False)
    assert opened(path, directory, bos=True).reading.start_id == 1
    assert opened(path, directory, eos=True).reading.prompt_eos
    assert opened(path, directory, dtype="bfloat16").config.dtype == "bfloat16"
    assert dict(opened(path, directory, mesh=MeshShape(fsdp=2)).mesh.shape)["fsdp"] == 2

    other = write_tokenizer(tmp_path / "other", "two", "one")
    named = opened(path, directory, vocabulary=str(other))
    assert named.vocabulary.fingerprint == vocabulary_from_name(str(other)).fingerprint
    assert named.fingerprint == own.fingerprint
    weights = directory / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert opened(path, directory).fingerprint != own.fingerprint


@pytest.mark.parametrize("path", PATHS)
def test_what_the_model_was_trained_with_is_honoured(path, model, opened):
    directory = model()
    fingerprint = vocabulary_from_name(str(directory)).fingerprint
    reading = {"start_id": 1, "prompt_eos": True, "one_sequence": True}
    trained = {"fingerprint": fingerprint, "bos_id": 1, "eos_id": 2, "pad_id": 0}
    (directory / "vocabulary.json").write_text(json.dumps({**trained, "reading": reading}))
    found = opened(path, directory)
    assert dataclasses.asdict(found.reading) == reading
    assert opened(path, directory, bos=False).reading.start_id is None
    assert not opened(path, directory, eos=False).reading.prompt_eos


@pytest.mark.parametrize("path", PATHS)
def test_what_is_refused(path, model, opened):
    vocabulary, bos = SETTINGS[path]
    directory = model()
    with pytest.raises(UserError, match=rf"has had tokens added since; set {vocabulary} to"):
        opened(path, directory, vocabulary="byte")
    with pytest.raises(UserError, match=rf"{bos} is True, but an encoder-decoder's prompts"):
        opened(path, model("mt5"), bos=True)
    with pytest.raises(UserError, match="holds PEFT's adapters, without the model"):
        opened(path, GOLDEN / "peft" / "gpt_neox")
    (directory / "vocabulary.json").write_text('{"fingerprint": "another"}')
    with pytest.raises(UserError, match=rf"trained with another .*; set {vocabulary} to the one"):
        opened(path, directory)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("infer", "MAX_TOKENS is 99, but the model's window has 32 tokens"),
        ("score", "the solution '1' has .* tokens, but the model reads 32"),
        ("evaluate", "the window of gpt_neo has 32 tokens, which 99 tokens of an answer fill"),
        ("teacher", "gpt_neo has 32 positions, .* 107 tokens: lower TEACHER_FEATURE_LENGTHS"),
        ("harness", "max_length=99, but the model has 32 positions"),
    ],
)
def test_what_the_window_has_no_room_for_is_refused(path, message, model, opened):
    with pytest.raises(UserError, match=message):
        opened(path, model("gpt_neo"), window=99)


@pytest.mark.parametrize("path", ["infer", "score", "evaluate"])
def test_a_conversation_needs_the_models_template(path, model, opened):
    directory = model()
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template"):
        opened(path, directory, window=8, chat=True)
