"""Rows of a cache come out over the student's tokens, whatever the two tokenizers."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.alignment.mapping import Coverage, Kind
from tlm_jax.alignment.rows import RowMapper
from tlm_jax.alignment.vocabulary_map import SAME
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions, TeacherRow
from tlm_jax.vocabularies import ByteVocabulary
from tlm_jax.vocabularies.token_bytes import token_table

WIDTH = 3


def teacher_row(text, vocabulary, key="k", eos=True):
    """A row whose steps give what was scored 0.7, two other tokens 0.15 and 0.1."""
    table = token_table(vocabulary)
    ids = vocabulary.encode(text)
    ids = np.append(ids, np.int32(table.eos_id)) if eos else ids
    rng = np.random.default_rng(len(text))
    others = rng.integers(3, table.size, (len(ids), WIDTH)).astype(np.int32)
    others[:, 0] = ids
    others[:, 1:] += others[:, 1:] == ids[:, None]
    steps = StepDistributions(
        np.minimum(others, table.size - 1),
        np.broadcast_to(np.log(np.float32([0.7, 0.15, 0.1])), others.shape).copy(),
        np.full(len(ids), np.log(0.05), np.float32),
        np.ones(len(ids), np.float32),
    )
    return TeacherRow(key, f"example-{key}", ids, steps)


def student_ids(text, vocabulary):
    return np.append(vocabulary.encode(text), np.int32(vocabulary.eos_id))


def check(mapped, ids):
    """What holds for any row."""
    kinds, steps = mapped.kinds, mapped.steps
    assert len(kinds) == len(ids)
    assert mapped.coverage.tokens == len(ids)
    assert mapped.coverage.soft == (kinds == Kind.SOFT).sum()
    total = np.exp(steps.logprobs.astype(np.float64)).sum(-1) + np.exp(steps.tail_logprobs)
    np.testing.assert_allclose(total, 1, atol=1e-5)
    # Random candidates may add to it, but the token itself is the most probable one everywhere.
    np.testing.assert_array_equal(steps.ids[:, 0], ids)
    hard = kinds == Kind.HARD
    assert (steps.logprobs[hard, 0] == 0).all()
    assert (steps.logprobs[hard, 1:] == -np.inf).all()


@pytest.mark.parametrize("method", ["offsets", "dtw"])
def test_four_tokenizers(vocabularies, texts, method):
    share = {}
    for teacher_name, teacher in vocabularies.items():
        rows = [teacher_row(text, teacher) for text in texts]
        for student_name, student in vocabularies.items():
            mapper = RowMapper(token_table(teacher), token_table(student), method=method)
            ids = [student_ids(text, student) for text in texts]
            total = Coverage()
            for mapped, tokens in zip(mapper.map_rows(rows, ids), ids, strict=True):
                check(mapped, tokens)
                total += mapped.coverage
                assert mapped.kinds[-1] == (Kind.SOFT if method == "offsets" else Kind.HARD)
            share[teacher_name, student_name] = total.soft / total.tokens
            if teacher_name == student_name and method == "offsets":
                assert total.hard == 0
    assert share["gpt2", "t5"] > (
        0.45 if method == "offsets" else 0.35
    )  # hard texts, the last ones


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=25), method=st.sampled_from(["offsets", "dtw"]), data=st.data())
def test_random_strings(vocabularies, mappers, text, method, data):
    names = sorted(vocabularies)
    teacher, student = (data.draw(st.sampled_from(names)) for _ in range(2))
    row = teacher_row(text, vocabularies[teacher])
    ids = student_ids(text, vocabularies[student])
    (mapped,) = mappers(teacher, student, method).map_rows([row], [ids])
    check(mapped, ids)


@pytest.fixture(scope="module")
def mappers(vocabularies):
    made = {}

    def get(teacher, student, method):
        key = teacher, student, method
        if key not in made:
            tables = (token_table(vocabularies[name]) for name in (teacher, student))
            made[key] = RowMapper(*tables, method=method)
        return made[key]

    return get


def test_offsets_of_a_newline_and_a_first_word(vocabularies):
    teacher, student = vocabularies["gpt2"], vocabularies["t5"]
    text = "If so.\nIn all"
    mapper = RowMapper(token_table(teacher), token_table(student))
    ids = student_ids(text, student)
    assert [student.piece(i) for i in ids.tolist()] == ["▁If", "▁so", ".", "▁In", "▁all", "</s>"]
    (mapped,) = mapper.map_rows([teacher_row(text, teacher)], [ids])
    assert mapped.kinds.tolist() == [Kind.SOFT] * 6
    got = np.exp(mapped.steps.logprobs[:, 0])
    np.testing.assert_allclose(got, [0.7, 0.7, 0.7, 0.49, 0.7, 0.7], rtol=1e-5)


def test_the_published_map_on_real_vocabularies(vocabularies):
    """The bytes of a token are a piece's where its text with ▁ for a space is in T5's list."""
    t5, gpt2 = vocabularies["t5"], vocabularies["gpt2"]
    table = token_table(t5)
    processor = t5.processor
    pieces = {processor.id_to_piece(i): i for i in range(t5.size) if i not in table.special}
    maps = RowMapper(token_table(gpt2), table).vocabulary_map.maps
    for i, text in enumerate(token_table(gpt2).texts):
        if i != gpt2.eos_id:
            assert maps[SAME, i] == pieces.get(text.replace(" ", "▁"), -1)


def test_the_same_tokenizer_needs_no_alignment():
    vocabulary = ByteVocabulary()
    mapper = RowMapper(token_table(vocabulary), token_table(vocabulary))
    row = teacher_row("ab", vocabulary)
    (whole,) = mapper.map_rows([row], [row.token_ids])
    np.testing.assert_array_equal(whole.steps.ids[:, 0], row.token_ids)
    assert whole.coverage.soft == 3
    # A student whose targets were cut, and one whose text ends where the teacher was not asked.
    (cut,) = mapper.map_rows([row], [row.token_ids[:1]])
    assert (cut.coverage.soft, cut.coverage.tokens) == (1, 1)
    assert cut.coverage.kept_mass == pytest.approx(0.95)
    (unasked,) = mapper.map_rows([teacher_row("ab", vocabulary, eos=False)], [row.token_ids])
    assert unasked.kinds.tolist() == [Kind.SOFT, Kind.SOFT, Kind.HARD]


def test_rows_with_more_and_fewer_candidates():
    vocabulary = ByteVocabulary()
    mapper = RowMapper(token_table(vocabulary), token_table(vocabulary))
    rows = [teacher_row("ab", vocabulary, key=str(k)) for k in range(2)]
    steps = rows[1].steps
    narrow = StepDistributions(
        steps.ids[:, :1], steps.logprobs[:, :1], steps.tail_logprobs, steps.weights
    )
    rows[1] = TeacherRow("1", "1", rows[1].token_ids, narrow)
    wide, filled = mapper.map_rows(rows, [row.token_ids for row in rows])
    assert wide.steps.ids.shape == filled.steps.ids.shape == (3, WIDTH)
    assert (filled.steps.logprobs[:, 1:] == -np.inf).all()


def test_many_rows_equal_each_alone(vocabularies, texts):
    teacher, student = vocabularies["smollm2"], vocabularies["t5"]
    mapper = RowMapper(token_table(teacher), token_table(student))
    rows = [teacher_row(text, teacher) for text in texts] * 40
    ids = [student_ids(text, student) for text in texts] * 40
    for k, mapped in enumerate(mapper.map_rows(rows, ids)):
        if k % 37 == 0:
            (alone,) = mapper.map_rows(rows[k : k + 1], ids[k : k + 1])
            np.testing.assert_array_equal(mapped.steps.ids, alone.steps.ids)
            np.testing.assert_array_equal(mapped.steps.logprobs, alone.steps.logprobs)
            np.testing.assert_array_equal(mapped.kinds, alone.kinds)


def test_what_a_user_can_get_wrong():
    vocabulary = ByteVocabulary()
    table = token_table(vocabulary)
    mapper = RowMapper(table, table)
    row = teacher_row("ab", vocabulary)
    other = TeacherRow("k", "e", np.int32([900]), row.steps)
    with pytest.raises(UserError, match=r"row k \(example e\): token ids reach from 900 to 900"):
        mapper.map_rows([other], [row.token_ids])
    with pytest.raises(UserError, match=r"^student tokens for teacher row k .* vocabulary has 259"):
        mapper.map_rows([row], [np.int32([-1])])
    hidden = HiddenSteps(np.zeros((3, 2), ml_dtypes.bfloat16), np.ones(3, np.float32))
    with pytest.raises(UserError, match=r"^teacher row k .* holds hidden states, which cannot"):
        mapper.map_rows([TeacherRow("k", "e", row.token_ids, hidden)], [row.token_ids])
    steps = row.steps
    doubled = StepDistributions(
        steps.ids, steps.logprobs + np.float32(np.log(2)), steps.tail_logprobs, steps.weights
    )
    with pytest.raises(UserError, match=r"^teacher row k .*, step 0: the probabilities sum to 1.9"):
        mapper.map_rows([row, TeacherRow("k", "e", row.token_ids, doubled)], [row.token_ids] * 2)
