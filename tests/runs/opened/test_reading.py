"""What a model reads is decided by the model: every path, with and without BOS and EOS."""

from __future__ import annotations

import dataclasses
import json
import shutil
import types
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tokenizers
from tiny_models import decoder_only, encoder_decoder  # pyright: ignore[reportMissingImports]

from tlm_jax import infer
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.pipeline.store import open_readers
from tlm_jax.data.reading import Reading
from tlm_jax.data.teachers.tokens import PREFIX, TeacherTokens, TeacherTokensReader
from tlm_jax.decoding.engine import Engine
from tlm_jax.errors import UserError
from tlm_jax.evaluation.batching import eval_batches
from tlm_jax.evaluation.eval_set import load_eval_sets
from tlm_jax.lm_eval.texts import TextEncoder
from tlm_jax.runs.cache_teacher import scoring as teacher_scoring
from tlm_jax.runs.cache_teacher.commands import score
from tlm_jax.runs.evaluation import rank as evaluation_rank
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.run import run_evaluation
from tlm_jax.runs.opened.reading import ReadingSettings, border_between, reading_of, student_reading
from tlm_jax.runs.training.config import DataConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.session import run_training
from tlm_jax.scoring.continuations import Scorer
from tlm_jax.scoring.rows import Request
from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.steps import StepDistributions, solution_key
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.vocabularies import ByteVocabulary, HuggingFaceVocabulary, vocabulary_from_name

GOLDEN = Path(__file__).parents[2] / "golden" / "hf"
BYTES = ByteVocabulary()
TASK = "addition_direct"
LENGTHS = {"inputs": 40, "targets": 12}
HABITS = {"none": None, "bos": "<s> $A", "both": "<s> $A </s>", "null": None}
"""What the tokenizer writes around a text; the last one has no BOS at all."""


def make_model(directory: Path, habit: str) -> Path:
    """A decoder-only model with random weights; its tokens are the printable ASCII bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    shutil.copytree(GOLDEN / "llama_tied_linear_rope", directory)
    # As the model's own configuration has it, </s> is 2.
    special = ["!", "<x>", "</s>"] if habit == "null" else ["<pad>", "<s>", "</s>"]
    letters = [chr(code) for code in range(0x22, 0x7F)] + ["Ġ", "Ċ"]
    words = {word: n for n, word in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token in special if token != "!"])
    if HABITS[habit] is not None:
        ids = [(token, words[token]) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=HABITS[habit], special_tokens=ids
        )
    tokenizer.save(str(directory / "tokenizer.json"))
    bos = None if habit == "null" else "<s>"
    config = {"eos_token": "</s>", "bos_token": bos}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """From elsewhere, by the habit of their tokenizers."""
    directory = tmp_path_factory.mktemp("models")
    return {habit: make_model(directory / habit, habit) for habit in HABITS}


@pytest.fixture(params=[*HABITS, "trained"])
def case(request, checkpoints, tmp_path) -> tuple[Path, list[int], list[int]]:
    """A checkpoint, what it reads before a task's inputs, and behind them."""
    if request.param != "trained":
        path = checkpoints[request.param]
        vocabulary = vocabulary_from_name(str(path))
        start = [vocabulary.bos_id] if request.param in ("bos", "both") else []
        return path, start, vocabulary.encode("\n").tolist()
    # As a student that has been trained here on rows that EOS divides.
    path = Path(shutil.copytree(checkpoints["none"], tmp_path / "trained"))
    vocabulary = vocabulary_from_name(str(path))
    reading = {"start_id": vocabulary.bos_id, "prompt_eos": True, "one_sequence": True}
    written = {"fingerprint": vocabulary.fingerprint, "size": vocabulary.size, "reading": reading}
    (path / "vocabulary.json").write_text(json.dumps(written))
    return path, [vocabulary.bos_id], [vocabulary.eos_id]


def examples(path: Path, start: list[int], end: list[int]) -> list[tuple[list[int], list[int]]]:
    """Returns contexts and targets of the task's first examples, put together by hand."""
    vocabulary = vocabulary_from_name(str(path))
    _, readers = open_readers(TASK, "validation", feature_lengths=LENGTHS, vocabulary=BYTES)
    records = readers[TASK].read(np.arange(3)).records
    return [
        (
            [*start, *vocabulary.encode(str(record["inputs"])).tolist(), *end],
            [*vocabulary.encode(str(record["targets"])).tolist(), vocabulary.eos_id],
        )
        for record in records
    ]


def reading(path: Path, **settings: Any) -> tuple[HuggingFaceVocabulary, Reading]:
    source, vocabulary = open_pretrained(path), vocabulary_from_name(str(path))
    found = reading_of(source.config, vocabulary, source, ReadingSettings(**settings))
    return cast(HuggingFaceVocabulary, vocabulary), found


def rows_of(batch: dict[str, Any], prefix: str = "") -> list[tuple[list[int], list[int]]]:
    """Returns what is read before the first target of each row, and the targets."""
    found = []
    for read, targets, weights in zip(
        *(
            batch[f"{prefix}decoder_{name}"]
            for name in ("input_tokens", "target_tokens", "loss_weights")
        )
    ):
        places = np.flatnonzero(weights)
        found.append((read[: places[0] + 1].tolist(), targets[places].tolist()))
    return found


def test_training_and_evaluation_in_the_loop(case):
    path, *around = case
    vocabulary, found = reading(path)
    expected = examples(path, *around)
    config = PipelineConfig(
        TASK, LENGTHS, 3, split="validation", architecture="decoder_only", vocabulary=vocabulary,
        shuffle=False, pack=False, reading=found,
    )  # fmt: skip
    with Pipeline(config) as pipeline:
        assert rows_of(next(pipeline).arrays) == expected
    (eval_set,) = load_eval_sets(
        TASK, "validation", feature_lengths=LENGTHS, num_examples=3, examples_seed=None,
        vocabulary=vocabulary, reading=found,
    )  # fmt: skip
    for batch in eval_batches(eval_set, decoder_only(128), 3):
        assert rows_of(dict(batch.targets)) == [expected[i] for i in batch.indices]
        attended = batch.prompts["decoder_causal_attention"] > 0
        prompts = [
            read[marked].tolist()
            for read, marked in zip(batch.prompts["decoder_input_tokens"], attended)
        ]
        assert prompts == [expected[i][0] for i in batch.indices]


def test_a_live_teacher_of_another_vocabulary(case):
    path, *around = case
    vocabulary, found = reading(path)
    _, readers = open_readers(TASK, "validation", feature_lengths=LENGTHS, vocabulary=BYTES)
    teacher = TeacherTokens(vocabulary, "decoder_only", LENGTHS, found)
    config = PipelineConfig(
        TASK, LENGTHS, 3, split="validation", architecture="decoder_only", vocabulary=BYTES,
        shuffle=False, pack=False, teacher_tokens=teacher,
    )  # fmt: skip
    with Pipeline(config) as pipeline:
        batch = next(pipeline).arrays
    assert rows_of(batch, PREFIX) == examples(path, *around)
    # Each step stands where the teacher predicts the student's token.
    read = TeacherTokensReader(readers[TASK], teacher, LENGTHS).read(np.arange(3))
    assert (read.features["teacher_steps"].values >= 0).all()
    for row, weights in enumerate(batch["decoder_loss_weights"]):
        steps = batch["teacher_steps"][row][weights > 0]
        theirs = batch[f"{PREFIX}decoder_target_tokens"][row][steps]
        ours = batch["decoder_target_tokens"][row][weights > 0]
        assert vocabulary.decode(theirs) == BYTES.decode(ours)


@pytest.fixture
def asked(monkeypatch) -> list[list[int]]:
    """Contexts of everything that is sampled or scored."""
    contexts: list[list[int]] = []

    def run(self: Engine, requests: Any) -> Any:
        requests = list(requests)
        contexts.extend(list(request.prompt) for request in requests)
        return _run(self, requests)

    def scored(self: Scorer, params: Any, requests: Any) -> Any:
        contexts.extend(request.context.tolist() for request in requests)
        return _score(self, params, requests)

    _run, _score = Engine.run, Scorer.score
    monkeypatch.setattr(Engine, "run", run)
    monkeypatch.setattr(Scorer, "score", scored)
    return contexts


def test_evaluation_by_majority_and_rank(case, asked, tmp_path):
    path, *around = case
    config = EvalConfig(
        output_dir=str(tmp_path / "eval"),
        checkpoints=[str(path)],
        tasks=[TASK],
        feature_lengths=LENGTHS,
        split="validation",
        modes=["self_consistency"],
        num_examples=3,
        examples_seed=None,
        num_samples=1,
        max_decode_tokens=2,
    )
    run_evaluation(config, "")
    assert asked == [context for context, _ in examples(path, *around)]


def test_rank_reads_the_tasks_prompts(case, asked):
    path, *around = case
    source = open_pretrained(path)
    vocabulary, found = reading(path)
    (eval_set,) = load_eval_sets(
        TASK, "validation", feature_lengths=LENGTHS, num_examples=3, examples_seed=None,
        vocabulary=vocabulary, reading=found,
    )  # fmt: skip
    some = [
        evaluation_rank._Asked(i, record, (), 0, str(record["inputs"]), ("7", "no"))
        for i, record in enumerate(eval_set.examples.records)
    ]
    subject = cast(Any, types.SimpleNamespace(config=source.config, encoder_decoder=False))
    chosen = evaluation_rank.rank_format("task", None, None)
    requests, _ = evaluation_rank._requests(subject, eval_set, some, chosen)
    assert [r.context.tolist() for r in requests] == [c for c, _ in examples(path, *around)]
    assert [vocabulary.decode(part) for part in requests[0].continuations] == ["7", "no"]


def test_samples_and_their_scores(case, asked, tmp_path):
    path, *around = case
    out, cache = tmp_path / "samples", tmp_path / "cache"
    settings = [f"MODEL={path}", f"MIXTURE_OR_TASK_NAME={TASK}", "SPLIT=validation"]
    settings += ["NUM_EXAMPLES=3", "EXAMPLES_SEED=None"]
    drawn = ["MAX_TOKENS=6", "NUM_SAMPLES=2", "BATCH_SIZE=8"]
    infer.main([*settings, f"OUTPUT_DIR={out}", *drawn])
    expected = [context for context, _ in examples(path, *around)]
    assert asked == expected
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    # The file alone says what was asked: no task is named.
    scored = [f"MODEL={path}", f"SOLUTIONS={out / 'samples.jsonl'}", f"OUTPUT_DIR={cache}"]
    assert score([*scored, "NUM_CANDIDATES=200", "BATCH_SIZE=8"]) == 0
    found, compared = TeacherCache.open(cache), 0
    vocabulary = vocabulary_from_name(str(path))
    for row in samples:
        ids = row["token_ids"]
        written = vocabulary.encode(row["text"]).tolist()
        ended = row["finish_reason"] == "eos"
        if (
            not row["text"]
            or row["text"] != row["text"].strip()
            or written != ids[: len(ids) - ended]
        ):
            continue  # the sampler's tokens are not the tokenizer's
        cached = found.get(solution_key(row["question"], row.get("options"), row["text"]))
        assert cached is not None
        assert isinstance(cached.steps, StepDistributions)
        assert cached.token_ids.tolist() == ids  # EOS only where it was written
        of_token = cached.steps.logprobs[cached.steps.ids == cached.token_ids[:, None]]
        assert of_token == pytest.approx(row["logprobs"], abs=0.011)
        compared += 1
    assert compared


def test_cache_teacher_scores_targets_as_training_reads_them(case, tmp_path, monkeypatch):
    path, *around = case
    seen: list[Request] = []
    rows = teacher_scoring.TeacherScorer.score
    monkeypatch.setattr(
        teacher_scoring.TeacherScorer,
        "score",
        lambda self, params, requests, keys: (
            seen.extend(requests) or rows(self, params, requests, keys)
        ),
    )
    settings = [f"MODEL={path}", f"MIXTURE_OR_TASK_NAME={TASK}", "SPLIT=validation"]
    assert score([*settings, "NUM_EXAMPLES=3", f"OUTPUT_DIR={tmp_path / 'cache'}"]) == 0
    found = [(r.context.tolist(), np.asarray(r.continuations[0]).tolist()) for r in seen]
    assert found == examples(path, *around)


def test_the_harness(case):
    path, *around = case
    vocabulary, found = reading(path)
    encoder = TextEncoder(vocabulary, found)
    text = "Q: 2+2?" + ("" if found.prompt_eos else "\n")
    (context,) = encoder.contexts([text])
    assert context == [*around[0], *vocabulary.encode("Q: 2+2?").tolist(), *around[1]]
    (pair,) = encoder.pairs([(text.strip(), " 4")])
    assert pair.continuation == vocabulary.encode(" 4").tolist()


def test_settings_override_the_model(checkpoints):
    vocabulary, found = reading(checkpoints["none"])
    assert found == Reading(None, prompt_eos=False)
    assert reading(checkpoints["none"], add_bos=True)[1] == Reading(vocabulary.bos_id, False)
    assert reading(checkpoints["bos"], add_bos=False, add_eos=True)[1] == Reading(None, True)
    with pytest.raises(UserError, match="PROMPT_BOS is True, but the tokenizer has no BOS"):
        reading(checkpoints["null"], add_bos=True)
    with pytest.raises(UserError, match="PROMPT_BOS is True, but an encoder-decoder's prompts"):
        reading_of(encoder_decoder(264), BYTES, None, ReadingSettings(add_bos=True))
    assert reading_of(encoder_decoder(264), BYTES, None) == Reading(0, True, False)


def test_new_models_and_those_of_earlier_versions(checkpoints, tmp_path):
    path = Path(shutil.copytree(checkpoints["null"], tmp_path / "model"))
    vocabulary = vocabulary_from_name(str(path))
    model = open_pretrained(path).config
    assert reading_of(decoder_only(264), BYTES, None) == Reading(0, prompt_eos=True)
    assert reading_of(model, vocabulary, None) == Reading(None, prompt_eos=True)
    # Earlier versions noted the vocabulary alone; they read id 0 where there was no BOS.
    written = {"fingerprint": vocabulary.fingerprint, "size": vocabulary.size}
    (path / "vocabulary.json").write_text(json.dumps(written))
    assert reading_of(model, vocabulary, open_pretrained(path)) == Reading(0, prompt_eos=True)
    # With another vocabulary the noted id means nothing.
    other = {**written, "reading": {"start_id": 9, "prompt_eos": False, "one_sequence": True}}
    (path / "vocabulary.json").write_text(json.dumps({**other, "fingerprint": "another"}))
    assert reading_of(model, BYTES, open_pretrained(path)) == Reading(0, prompt_eos=False)


def test_a_model_that_was_only_converted_keeps_its_tokenizers_habits(checkpoints, tmp_path):
    source = open_pretrained(checkpoints["bos"])
    vocabulary = vocabulary_from_name(str(checkpoints["bos"]))
    converted = dataclasses.replace(source, path=tmp_path, source_format="native")
    earlier = Reading(vocabulary.bos_id, prompt_eos=True)
    assert reading_of(source.config, vocabulary, converted) == earlier
    (tmp_path / "conversion.json").write_text("{}")
    assert reading_of(source.config, vocabulary, converted) == Reading(vocabulary.bos_id, False)


def test_a_student_keeps_what_it_was_trained_with(checkpoints, tiny_run, capsys):
    run = tiny_run(
        "student",
        model=dataclasses.replace(open_pretrained(checkpoints["none"]).config),
        initial_checkpoint_path=str(checkpoints["none"]),
        data=DataConfig(vocabulary=str(checkpoints["none"]), add_eos=True),
        train_steps=1,
        log_period_steps=1,
    )
    run_training(run, "")
    vocabulary, found = reading(Path(run.model_dir))
    assert found == Reading(None, prompt_eos=True)
    again = dataclasses.replace(run, data=DataConfig(vocabulary=run.data.vocabulary))
    assert student_reading(again, vocabulary) == found
    other = dataclasses.replace(run, data=dataclasses.replace(run.data, add_eos=False))
    with pytest.raises(UserError, match=r"trained with other prompts than PROMPT_EOS says"):
        run_training(dataclasses.replace(other, train_steps=2), "")
    # A teacher of the same tokens that reads plain text: EOS becomes a line break in its rows.
    live = LiveTeacher(str(checkpoints["none"]))
    distilled = dataclasses.replace(
        run,
        model_dir=run.model_dir + "-distilled",
        teacher=live,
        loss=DistillationObjective(),
        train_steps=1,
    )
    run_training(distilled, "")
    assert "vocabulary, no BOS first, no EOS behind prompts" in capsys.readouterr().out


def test_a_teachers_rows_become_of_the_students_or_are_refused(checkpoints, tmp_path):
    vocabulary = vocabulary_from_name(str(checkpoints["none"]))
    plain, divided = Reading(None, False), Reading(None, True)
    ends = (vocabulary.eos_id, int(vocabulary.encode("\n")[0]))
    assert border_between(divided, plain, vocabulary, "t") == ends
    assert border_between(plain, divided, vocabulary, "t") == ends[::-1]
    assert border_between(plain, plain, vocabulary, "t") is None
    pair = Reading(0, True, one_sequence=False)
    assert border_between(Reading(0, True), pair, vocabulary, "t") is None
    for student, teacher in ((Reading(2, False), plain), (plain, pair)):
        with pytest.raises(UserError, match="set PROMPT_BOS for the student or TEACHER_BOS"):
            border_between(student, teacher, vocabulary, "t")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "</s>": 1}, "<pad>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    no_line_breaks = vocabulary_from_name(str(tmp_path))
    with pytest.raises(UserError, match=r"line break, which is no single token.*TEACHER_EOS"):
        border_between(divided, plain, no_line_breaks, "t")
