"""Alignment as a stage: the recorded targets of the official code, and what cannot be aligned."""

from __future__ import annotations

import dataclasses
import gzip
import json

import pytest
from little_sums import TRAIN, tokens_of, written_question, written_sample

from tlm_jax.data.records import read_json_lines, read_records, write_records
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.evaluation.curation import Curation
from tlm_jax.recipes.specialization import aligning, selection
from tlm_jax.recipes.specialization.losses import LOSSES
from tlm_jax.vocabularies import vocabulary_from_name

TWO = TRAIN[0]
STUDENT = "asset:word_problems"


def selected(tmp_path, source):
    folder = tmp_path / "select"
    folder.mkdir()
    selection.select(folder, source, (), (), Curation(distinct=None), None)
    return folder


def align(tmp_path, folder, join=None, *, vocabulary=STUDENT, max_inputs=99, max_targets=99):
    out = tmp_path / "align"
    out.mkdir(exist_ok=True)
    join = join or TeacherJoin(["unused"])
    figures = aligning.align(
        out,
        folder / selection.EXAMPLES,
        dataclasses.replace(join, caches=[str(folder / selection.CACHE)]),
        vocabulary_from_name(vocabulary),
        max_inputs=max_inputs,
        max_targets=max_targets,
        shown=3,
    )
    rows = [row for _, row in read_json_lines(out / aligning.ALIGNED)]
    return figures, rows, list(read_records(out / aligning.EXAMPLES))


def test_the_official_fixture_gives_the_recorded_targets(dump, tmp_path, shared_dir):
    """The notebook's sample, as a line of a dump, through both stages."""
    with gzip.open(shared_dir / "data" / "flant5_alignment_fixture.jsonl.gz") as file:
        row = json.loads(file.readline())
    # The written token stands first in a step, and again among the candidates.
    decode = "".join(
        "".join(f"<<{text!r}>> {p:.4f} " for text, p in step) + "||| "
        for step in row["gpt_step_probs"]
    )
    sample = f"Model output 0: \n{row['source_text']}\nPer-step decode: {decode}\n"
    folder = selected(tmp_path, dump(written_question(0, "How many clips?", "72", sample)))
    join = LOSSES["match_distribution_official"].join(["unused"], "offsets")
    t5 = str(shared_dir / "fixtures" / "tokenizers" / "t5")
    figures, (found,), _ = align(tmp_path, folder, join, vocabulary=t5)
    recorded = row["t5_step_probs"]
    assert found["pieces"] == [*row["t5_tokens"][: len(recorded)], "</s>"]
    assert found["targets"][-1] == [["</s>", 1.0]]
    for ours, theirs in zip(found["targets"], recorded, strict=False):
        # Probabilities of 0 say nothing; the cache keeps 1 % of each.
        wanted = {piece: p for piece, p in theirs if p > 0}
        assert {piece for piece, _ in ours} == set(wanted)
        for piece, probability in ours:
            assert probability == pytest.approx(wanted[piece], rel=0.011, abs=1e-4)
    hard = sum(len(target) == 1 and target[0][1] == 1 for target in recorded)
    soft = len(recorded) - hard
    assert figures["soft_share"] * figures["student_tokens"] == pytest.approx(soft)
    assert figures["matched"] == 1


def test_what_has_no_room_or_no_tokens_is_left_out_and_counted(dump, tmp_path):
    other = dataclasses.replace(TRAIN[1], question=f"{'Well, ' * 80}what is 1 + 2?")
    long = dataclasses.replace(TRAIN[2], rationale=f"{'and ' * 150}1 + 3 = 4")
    samples = [
        written_question(n, record.question, record.answer, written_sample(0, tokens_of(record)))
        for n, record in enumerate((TWO, other, long))
    ]
    folder = selected(tmp_path, dump(*samples))
    figures, _, kept = align(tmp_path, folder)
    assert figures["solutions"] == 3
    assert figures["left_out"] == {aligning.LONG_QUESTION: 1, aligning.LONG_SOLUTION: 1}
    assert [record.question for record in kept] == [TWO.question]
    with pytest.raises(UserError, match=r"none of 3 solutions can be learned from .*3 longer"):
        align(tmp_path, folder, max_targets=4)


def test_texts_without_tokens_and_texts_that_nobody_scored(dump, tmp_path, shared_dir):
    written = written_sample(0, tokens_of(TWO))
    folder = selected(tmp_path, dump(written_question(0, TWO.question, "2", written)))
    (record,) = read_records(folder / selection.EXAMPLES)
    blank = dataclasses.replace(record, id="blank", generated={"targets": " \n"})
    other = dataclasses.replace(record, id="other", generated={"targets": "It is 2."})
    write_records(folder / selection.EXAMPLES, [record, blank, other])
    # T5 drops white space: nothing is left.
    t5 = str(shared_dir / "fixtures" / "tokenizers" / "t5")
    figures, _, kept = align(tmp_path, folder, vocabulary=t5)
    assert figures["left_out"] == {aligning.NO_TOKENS: 1}
    assert (figures["matched"], figures["missing"]) == (1, 1)
    assert [one.id for one in kept] == ["codex-0-0", "other"]


def test_characters_that_the_student_lacks_are_counted(dump, tmp_path, shared_dir):
    odd = dataclasses.replace(TWO, rationale="1 + 1 = 2 \u6f22 ok")
    folder = selected(
        tmp_path, dump(written_question(0, odd.question, "2", written_sample(0, tokens_of(odd))))
    )
    t5 = str(shared_dir / "fixtures" / "tokenizers" / "t5")
    figures, _, _ = align(tmp_path, folder, vocabulary=t5)
    assert figures["unknown"] == 1
    assert figures["matched"] == 1


@pytest.mark.parametrize("method", ["offsets", "dtw"])
def test_text_that_the_student_normalises_is_aligned_around_it(dump, tmp_path, shared_dir, method):
    odd = dataclasses.replace(TWO, rationale="half is ½ and ② is ２, so 1 + 1 = 2")
    folder = selected(
        tmp_path, dump(written_question(0, odd.question, "2", written_sample(0, tokens_of(odd))))
    )
    t5 = str(shared_dir / "fixtures" / "tokenizers" / "t5")
    join = TeacherJoin(["unused"], alignment=method)
    figures, (row,), _ = align(tmp_path, folder, join, vocabulary=t5)
    assert (figures["matched"], figures["refused"]) == (1, 0)
    by_piece = dict(zip(row["pieces"], row["targets"]))
    assert by_piece["▁so"][0][1] == pytest.approx(0.9, abs=0.01)
    assert len(row["targets"]) == len(row["pieces"])


def test_candidates_without_a_place_leave_their_mass_in_the_tail_or_nowhere(dump, tmp_path):
    strange = [(" qzxv", 0.06), ("</s>", 0.02)]
    folder = selected(
        tmp_path,
        dump(written_question(0, TWO.question, "2", written_sample(0, tokens_of(TWO), strange))),
    )
    figures, (row,), _ = align(tmp_path, folder)
    soft = [target for target in row["targets"] if target[0][1] < 1]
    assert soft
    # The end of a text is the student's, too; what it cannot write is none of its candidates.
    assert all([text for text, _ in target[1:]] == ["</s>"] for target in soft)
    assert all(target[0][1] == pytest.approx(0.9, abs=0.01) for target in soft)
    assert figures["kept_mass"] == pytest.approx(0.92, abs=0.01)


def test_only_the_written_token_is_left_where_all_others_have_no_place(dump, tmp_path):
    written = written_sample(0, tokens_of(TWO), [(" qzxv", 0.06), (" vzxq", 0.04)])
    folder = selected(tmp_path, dump(written_question(0, TWO.question, "2", written)))
    official = LOSSES["match_distribution_official"].join(["unused"], "offsets")
    _, (row,), _ = align(tmp_path, folder, official)
    soft = [target for target in row["targets"] if target[0][1] < 1]
    assert soft
    assert all(len(target) == 1 for target in soft)
    # As it is: nothing is scaled.
    assert all(target[0][1] == pytest.approx(0.9, abs=0.01) for target in soft)
