"""Examples joined with cached rows: the right row, in the student's tokens, or counted."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.sources import ListSource
from tlm_jax.data.teachers.join import UNTAUGHT, OpenTeacher, TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import CacheWriter, Header, Hidden, StoredUnembedding, TopK
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions, TeacherRow, content_key
from tlm_jax.teacher_cache.unembedding import write_unembedding
from tlm_jax.vocabularies import ByteVocabulary, SentencePieceVocabulary
from tlm_jax.vocabularies.token_bytes import token_table

BYTES = ByteVocabulary()
PIECES = SentencePieceVocabulary("asset:word_problems")
EXAMPLES = [
    {
        "id": f"e{i}",
        "question": f"What is {i} + {i}?",
        "inputs": f"Q {i}",
        "targets": f"It is {2 * i}.",
    }
    for i in range(12)
]
TOP_FOUR = TopK(4)
LENGTHS = {"inputs": 8, "targets": 16}


def steps_for(ids: np.ndarray, seed: int) -> StepDistributions:
    """Returns a made-up teacher: half of the mass on the token scored, the rest on three others."""
    random = np.random.default_rng(seed)
    others = 3 + (ids[:, None] + random.integers(5, 60, (len(ids), 1)) * [1, 2, 3]) % 200
    logprobs = np.log(np.tile([0.5, 0.2, 0.15, 0.1], (len(ids), 1))).astype(np.float32)
    return StepDistributions(
        np.concatenate([ids[:, None], others], axis=1).astype(np.int32),
        logprobs,
        np.full(len(ids), np.log(0.05), np.float32),
        np.ones(len(ids), np.float32),
    )


def write_cache(directory, examples, *, vocabulary=BYTES, encoding=TOP_FOUR, make=steps_for):
    """Scores the targets of `examples` and returns the rows by example."""
    table = token_table(vocabulary)
    header = Header(
        teacher="made up",
        teacher_fingerprint="teacher-1",
        tokenizer_fingerprint=table.fingerprint,
        vocabulary_size=table.size,
    )
    rows = {}
    with CacheWriter(directory, header, encoding=encoding, table=table) as writer:
        for number, example in enumerate(examples):
            ids = np.append(vocabulary.encode(example["targets"]), vocabulary.eos_id)
            ids = ids.astype(np.int32)
            key = content_key(example["question"], example["targets"])
            rows[example["id"]] = TeacherRow(key, example["id"], ids, make(ids, number))
            writer.write(rows[example["id"]])
    return rows


@pytest.fixture
def registered():
    tasks.register_task(
        "joined", ListSource({"train": EXAMPLES}), vocabulary=BYTES, description="for these tests"
    )
    tasks.register_mixture("joined_and_plain", {"joined_with_teacher": 1, "joined": 1})
    yield
    for name in ("joined", "joined_and_plain"):
        tasks.unregister(name)


def read(directory, *, name="joined_with_teacher", pack=False, vocabulary=None, **join):
    config = PipelineConfig(
        name,
        LENGTHS,
        batch_size=4,
        vocabulary=vocabulary,
        shuffle=False,
        pack=pack,
        num_epochs=1,
        packing_shards=1,
        teacher=TeacherJoin([str(directory)], **join),
    )
    with Pipeline(config) as pipeline:
        return list(pipeline), pipeline.teacher


@pytest.mark.parametrize("pack", [False, True])
def test_every_token_carries_its_own_teachers_step(tmp_path, registered, pack):
    rows = write_cache(tmp_path / "cache", EXAMPLES)
    batches, teacher = read(tmp_path / "cache", pack=pack)
    counts = teacher.counts
    assert (counts.matched, counts.missing, counts.stale, counts.refused) == (12, 0, 0, 0)
    seen = 0
    for batch in batches:
        arrays = batch.arrays
        for row, ids in enumerate(batch.example_ids):
            place = 0
            for example_id in ids:
                expected = rows[example_id]
                here = slice(place, place + len(expected.token_ids))
                place = here.stop
                np.testing.assert_array_equal(
                    arrays["decoder_target_tokens"][row, here], expected.token_ids
                )
                np.testing.assert_array_equal(
                    arrays["teacher_token_ids"][row, here], expected.steps.ids
                )
                np.testing.assert_allclose(
                    arrays["teacher_logprobs"][row, here], expected.steps.logprobs, atol=0.01
                )
                np.testing.assert_allclose(
                    arrays["teacher_tail_logprobs"][row, here],
                    expected.steps.tail_logprobs,
                    atol=0.01,
                )
                seen += 1
            assert (arrays["teacher_weights"][row, :place] == 1).all()
            assert (arrays["teacher_weights"][row, place:] == 0).all()
            assert np.isneginf(arrays["teacher_logprobs"][row, place:]).all()
    assert seen == 12


def test_missing_stale_and_refused_rows_are_counted_and_say_nothing(tmp_path, registered):
    changed = {**EXAMPLES[1], "targets": "It is about 2."}
    write_cache(tmp_path / "cache", [EXAMPLES[0], changed])
    # A row under the right key that scored other tokens than the text has now.
    other = TeacherRow(
        content_key(EXAMPLES[2]["question"], EXAMPLES[2]["targets"]),
        "e2",
        np.array([9, 9, 9], np.int32),
        steps_for(np.array([9, 9, 9]), 0),
    )
    table = token_table(BYTES)
    header = Header("made up", "teacher-1", table.fingerprint, table.size)
    with CacheWriter(tmp_path / "cache", header, encoding=TopK(4), table=table) as writer:
        writer.write(other)
    batches, teacher = read(tmp_path / "cache")
    counts = teacher.counts
    assert (counts.matched, counts.missing, counts.stale, counts.refused) == (1, 9, 1, 1)
    said = {
        example_id: bool(batch.arrays["teacher_weights"][row].any())
        for batch in batches
        for row, (example_id,) in enumerate(batch.example_ids)
    }
    assert [name for name, taught in said.items() if taught] == ["e0"]
    assert "1 matched, 9 missing, 1 stale, 1 refused" in counts.lines()[0]
    with pytest.raises(UserError, match=r"no teacher's row for example 'e2' \(refused: its row"):
        read(tmp_path / "cache", on_unmatched="stop")


def test_a_mixture_may_hold_tasks_without_a_teacher(tmp_path, registered):
    write_cache(tmp_path / "cache", EXAMPLES)
    batches, teacher = read(tmp_path / "cache", name="joined_and_plain")
    weights = np.concatenate([batch.arrays["teacher_weights"] for batch in batches])
    taught = weights.any(axis=1)
    assert teacher.counts.matched == taught.sum() == teacher.counts.examples
    assert 0 < taught.sum() < len(taught)


def test_an_example_may_say_that_no_teacher_was_asked(tmp_path, registered):
    write_cache(tmp_path / "cache", EXAMPLES)
    answers = [{**example, UNTAUGHT: "an answer alone"} for example in EXAMPLES[:5]]
    tasks.unregister("joined")
    mixed = ListSource({"train": [*answers, *EXAMPLES[5:]]})
    tasks.register_task("joined", mixed, vocabulary=BYTES)
    batches, teacher = read(tmp_path / "cache", on_unmatched="stop")
    counts = teacher.counts
    assert (counts.matched, counts.missing, counts.examples) == (7, 0, 7)
    weights = np.concatenate([batch.arrays["teacher_weights"] for batch in batches])
    assert weights.any(axis=1).tolist() == [False] * 5 + [True] * 7


def test_fewer_candidates_put_the_rest_into_the_tail(tmp_path, registered):
    write_cache(tmp_path / "cache", EXAMPLES)
    batches, _ = read(tmp_path / "cache", num_candidates=2)
    arrays = batches[0].arrays
    assert arrays["teacher_token_ids"].shape[-1] == 2
    said = arrays["teacher_weights"] > 0
    tail = np.exp(arrays["teacher_tail_logprobs"][said])
    np.testing.assert_allclose(tail, 0.15 + 0.1 + 0.05, atol=0.01)
    wide, _ = read(tmp_path / "cache", num_candidates=6)
    assert wide[0].arrays["teacher_token_ids"].shape[-1] == 6
    assert np.isneginf(wide[0].arrays["teacher_logprobs"][..., 4:]).all()


@pytest.mark.parametrize("alignment", ["offsets", "dtw"])
def test_a_teacher_of_another_tokenizer_is_aligned(tmp_path, registered, alignment):
    rows = write_cache(tmp_path / "cache", EXAMPLES, vocabulary=PIECES)
    batches, teacher = read(tmp_path / "cache", alignment=alignment, hard="drop")
    counts = teacher.counts
    assert counts.matched == 12
    assert counts.coverage.soft > 0
    for batch in batches:
        arrays = batch.arrays
        for row, (example_id,) in enumerate(batch.example_ids):
            said = arrays["teacher_weights"][row] > 0
            # Half of the mass is on the text's token; a candidate written alike may add its own.
            first = arrays["teacher_logprobs"][row, said, 0]
            assert (np.exp(first) > 0.49).all()
            ids = arrays["teacher_token_ids"][row, said, 0]
            np.testing.assert_array_equal(ids, arrays["decoder_target_tokens"][row, said])
            assert rows[example_id].token_ids.size


def test_hidden_states_travel_in_their_own_precision(tmp_path, registered):
    width, table = 4, token_table(BYTES)

    def hidden(ids, seed):
        values = np.random.default_rng(seed).normal(size=(len(ids), width))
        return HiddenSteps(values.astype(ml_dtypes.bfloat16), np.ones(len(ids), np.float32))

    rows = write_cache(tmp_path / "cache", EXAMPLES, encoding=Hidden(), make=hidden)
    matrix = np.ones((width, table.size), np.float32)
    write_unembedding(tmp_path / "cache", StoredUnembedding(matrix))
    batches, teacher = read(tmp_path / "cache")
    assert "candidates that the student has hold 100.0% of the mass" in teacher.counts.lines()[1]
    arrays = batches[0].arrays
    assert arrays["teacher_hidden"].dtype == ml_dtypes.bfloat16
    first = rows[batches[0].example_ids[0][0]]
    np.testing.assert_array_equal(
        arrays["teacher_hidden"][0, : len(first.token_ids)], first.steps.hidden
    )
    with pytest.raises(UserError, match="of another tokenizer"):
        read(tmp_path / "cache", vocabulary=PIECES)


def test_what_does_not_fit_is_refused_in_one_line(tmp_path, registered):
    write_cache(tmp_path / "cache", EXAMPLES)
    with pytest.raises(UserError, match=r"no task is to be joined.*'joined_with_teacher'"):
        read(tmp_path / "cache", name="joined")
    with pytest.raises(
        UserError, match=r"'joined_with_teacher' .* no cache is named: set TEACHER_C"
    ):
        Pipeline(PipelineConfig("joined_with_teacher", LENGTHS, batch_size=4))
    with pytest.raises(UserError, match=r"another teacher .*expected 'teacher-2'"):
        read(tmp_path / "cache", teacher_fingerprint="teacher-2")
    with pytest.raises(UserError, match="no teacher cache there"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"TeacherJoin.caches is 'x': expected a list"):
        TeacherJoin("x")


def test_going_on_with_another_cache_is_noticed(tmp_path, registered):
    write_cache(tmp_path / "one", EXAMPLES)
    write_cache(tmp_path / "two", EXAMPLES[:6])
    config = PipelineConfig(
        "joined_with_teacher", LENGTHS, batch_size=4, teacher=TeacherJoin([str(tmp_path / "one")])
    )
    with Pipeline(config) as pipeline:
        next(pipeline)
        state = pipeline.state()
    with Pipeline(config) as pipeline:
        pipeline.restore(state)
    other = dataclasses.replace(config, teacher=TeacherJoin([str(tmp_path / "two")]))
    with Pipeline(other) as pipeline, pytest.raises(UserError, match="teacher's rows was"):
        pipeline.restore(state)


def test_a_cache_of_other_examples_is_told_early_and_once(tmp_path):
    """Not only by the counts at the end of a long run."""
    write_cache(tmp_path / "cache", EXAMPLES)
    teacher = OpenTeacher(TeacherJoin([str(tmp_path / "cache")]), BYTES)
    lines = []
    teacher.say = lines.append
    others = [{**EXAMPLES[0], "id": f"o{i}", "question": f"Why {i}?"} for i in range(60)]
    tokens = [np.zeros(0, np.int32)] * 60
    teacher.steps_of(others, tokens)
    assert lines == []
    teacher.steps_of(others, tokens)
    teacher.steps_of(others, tokens)
    (line,) = lines
    assert line.startswith("note: none of the first 120 examples has a teacher's row; the first is")
    assert "'o0' (missing)" in line
