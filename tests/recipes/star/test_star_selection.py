"""What a loop trains on, by hand-written samples: several a question, leaks, begin of the loss."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tlm_jax.data.pipeline.converters import DecoderOnlyConverter
from tlm_jax.data.pipeline.store import open_readers
from tlm_jax.data.records import Record, read_json_lines, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.evaluation.curation import Curation
from tlm_jax.recipes.star.forms import Questions
from tlm_jax.recipes.star.selection import Pass, failed_questions, select
from tlm_jax.vocabularies import vocabulary_from_name

RECORDS = {
    name: Record(name, "sums", "train", "numeric", f"What is {name}?", None, answer)
    for name, answer in (("1+2", "3"), ("2+2", "4"), ("5+5", "10"))
}


def sample(name: str, text: str, number: int = 0, **fields) -> dict:
    extracted = text.split()[-1] if text.split()[-1].isdecimal() else None
    row = {
        "id": name,
        "sample": number,
        "question": RECORDS[name].question,
        "prompt": "as it was asked",
        "text": text,
        "finish_reason": "eos",
        "seed": 7,
        "num_tokens": 4,
        "rule": "numeric",
        "extracted": extracted,
        "correct": extracted == RECORDS[name].answer,
    }
    return row | fields


@pytest.fixture
def selected(tmp_path):
    """Returns what selects among rows of a pass without hints and of one with them."""

    def run(plain, hinted=(), form=None, few_shot=False, **curation):
        passes = []
        for rows, is_hinted in ((plain, False), (hinted, True)):
            path = tmp_path / f"samples-{is_hinted}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            passes.append(Pass(path, is_hinted, "0123456789abcdef", 3))
        (tmp_path / "select").mkdir(exist_ok=True)
        return select(
            tmp_path / "select",
            passes,
            RECORDS,
            form or Questions(),
            RunData(),
            curation=Curation(**curation),
            few_shot=few_shot,
        )

    return run


def written(tmp_path: Path, name: str) -> list[dict]:
    return [row for _, row in read_json_lines(tmp_path / "select" / name)]


def test_of_several_samples_each_path_is_kept_once(selected, tmp_path):
    rows = [
        sample("1+2", " 1 + 2 = 3, so 3", 0),
        sample("1+2", " 1+2=3. It is 3", 1),
        sample("1+2", " 2 + 1 = 3, so 3", 2),
        sample("2+2", " so 5", 0),
        sample("2+2", " so 4", 1),
        sample("2+2", " I do not know", 2),
    ]
    figures = selected(rows, distinct="equations")
    assert [record.id for record in read_records(tmp_path / "select/examples.jsonl")] == [
        "1+2/0",
        "1+2/2",
        "2+2/1",
    ]
    assert (figures["attempts"], figures["right"], figures["unparsable"]) == (6, 4, 1)
    assert (figures["examples"], figures["kept_questions"], figures["distinct_paths"]) == (3, 2, 3)
    assert figures["left_out"] == {"same equations": 1, "wrong": 1, "no answer": 1}
    assert [row["text"] for row in written(tmp_path, "wrong.jsonl")] == [" so 5"]
    figures = selected(rows, distinct="equations", per_question=1)
    assert figures["left_out"]["more than per question"] == 1
    # Only a question without any right sample is asked again.
    path = tmp_path / "samples-False.jsonl"
    assert [record.id for record in failed_questions(path, RECORDS)] == ["5+5"]


def test_each_kept_and_each_wrong_rationale_says_where_it_comes_from(selected, tmp_path):
    selected(
        [sample("1+2", " so 3"), sample("2+2", " so 5")], [sample("2+2", " so 4", rule="text")]
    )
    first, second = read_records(tmp_path / "select/examples.jsonl")
    told = ("loop", "hinted", "model", "prompt", "seed", "rule")
    assert [first.get(name) for name in told] == [
        *(3, False, "0123456789abcdef", "as it was asked", 7, "numeric")
    ]
    assert [second.get(name) for name in ("hinted", "rule")] == [True, "text"]
    (wrong,) = written(tmp_path, "wrong.jsonl")
    assert {*told, "id", "question", "text", "extracted"} <= set(wrong)


def test_a_rationale_that_repeats_its_hint_is_left_out_and_counted(selected, tmp_path):
    query = Questions().query(RECORDS["2+2"], hint=True)
    figures = selected([sample("1+2", " so 3")], [sample("2+2", f" {query} so 4")])
    assert figures["left_out"] == {"shows the hint": 1}
    assert (figures["hint_leaks"], figures["hinted_right"], figures["hinted_kept"]) == (0, 1, 0)


@dataclasses.dataclass(frozen=True)
class _Leaking(Questions):
    """A form that always shows the answer."""

    def query(self, record: Record, *, hint: bool = False) -> str:
        return super().query(record, hint=True)


def test_a_text_that_would_show_its_hint_fails_the_run(selected, tmp_path):
    with pytest.raises(UserError) as caught:
        selected([sample("1+2", " so 3")], form=_Leaking())
    assert str(caught.value) == (
        "1 texts that would be trained on show the right answer as a hint, the first is '1+2/0': "
        "nothing is written. The form _Leaking has to ask without a hint what it asks with one"
    )
    assert not (tmp_path / "select/examples.jsonl").exists()


@pytest.mark.parametrize("few_shot", [False, True])
def test_the_loss_begins_behind_the_prompt_whatever_colons_follow(selected, tmp_path, few_shot):
    (tmp_path / "few.txt").write_text("Q: one?\nA: so: 1\n")
    form = Questions(few_shot_file=str(tmp_path / "few.txt"))
    selected([sample("1+2", " sum: 1+2: so 3")], form=form, few_shot=few_shot)
    (record,) = read_records(tmp_path / "select/examples.jsonl")
    demonstrations = "Q: one?\nA: so: 1\n\n" if few_shot else ""
    assert record.get("inputs") == f"{demonstrations}Q: What is 1+2?\nA:"
    byte = vocabulary_from_name("byte")
    lengths = {"inputs": 64, "targets": 64}
    _, readers = open_readers(
        "examples_as_written",
        "all",
        feature_lengths=lengths,
        vocabulary=byte,
        data=RunData(examples_file=str(tmp_path / "select/examples.jsonl")),
    )
    (reader,) = readers.values()
    converter = DecoderOnlyConverter(feature_lengths=lengths, bos_id=0)
    prepared = converter.prepare(reader.read(np.arange(1)))
    arrays = converter.convert(prepared, np.arange(1), 1, packed=False)
    learned = arrays["decoder_target_tokens"][0][arrays["decoder_loss_weights"][0] > 0]
    assert byte.decode(learned.tolist()) == " sum: 1+2: so 3"
