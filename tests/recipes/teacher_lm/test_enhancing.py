"""What a teacher is asked, and what becomes of empty, run-on and wandering generations."""

import json

import pytest

from tlm_jax.data.records import Record, read_records, write_records
from tlm_jax.data.teacher_lm.language import FIELDS
from tlm_jax.errors import UserError
from tlm_jax.recipes.teacher_lm.enhancing import Enhancement, elicitation_lines, enriched

LINE = "Q: Who flies? (A) owl (B) eel A: The answer is (A)."
PROMPTS = {
    "cot": f"{LINE} Let's think step by step.",
    "error": f"{LINE} The common mistakes are:",
    "fundamental": f"{LINE} The fundamental of this question is:",
}


def record(name="q1", question="Who flies?", **fields):
    return Record(name, "d", "train", "choice", question, ("owl", "eel"), "A").with_generated(
        **fields
    )


def sample(text, name="q1", finish_reason="eos", **fields):
    row = {"id": name, "text": text, "finish_reason": finish_reason, "num_tokens": 4}
    return {**row, **fields}


def only(text, enhancement=None, asked=None, **fields):
    records, counts = enriched([asked or record()], {"cot": [sample(text, **fields)]}, enhancement)
    return (records[0].generated if records else None), counts["fields"]["cot"], counts["dropped"]


def test_each_field_is_asked_for_by_its_own_prompt():
    for field in FIELDS:
        (line,) = elicitation_lines([record()], field)
        asked = {"id": "q1", "prompt": PROMPTS[field], "question": "Who flies?"}
        assert json.loads(line) == asked
    with pytest.raises(UserError, match="record 'q1' of 'd' already has the field 'cot'"):
        elicitation_lines([record(cot="x")], "cot")


def test_three_generations_become_fields_wholes_and_tails(tmp_path):
    texts = {"cot": " It has  wings.", "error": " Fins.", "fundamental": " Wings."}
    records, counts = enriched([record()], {f: [sample(t)] for f, t in texts.items()})
    (made,) = records
    assert made.generated == {
        **texts,
        "all": {field: PROMPTS[field] + texts[field] for field in FIELDS},
        "cot_tail": f"{PROMPTS['cot']} It has wings.",
        "error_tail": f"{PROMPTS['error']} Fins.",
        "fundamental_tail": f"{PROMPTS['fundamental']} Wings.",
    }
    assert counts["fields"]["error"] == {
        "generated": 1,
        "empty": 0,
        "run_on": 0,
        "went_on": 0,
        "marker_in_question": 0,
        "not_round_trip": 0,
        "tokens": 4,
        "tokens_each": 4.0,
    }
    write_records(tmp_path / "e.jsonl", records)
    assert list(read_records(tmp_path / "e.jsonl")) == records


def test_a_marker_within_the_question_changes_nothing_and_is_counted():
    asked = record(question="Who said: Let's think step by step. Owl?")
    made, counts, _ = only(" An owl.", asked=asked)
    assert made is not None
    assert made["cot"] == " An owl."
    assert made["cot_tail"].count("Let's think step by step.") == 2
    assert counts["marker_in_question"] == 1


def test_an_empty_generation_is_marked_or_its_record_left_out():
    made, counts, dropped = only("  ")
    assert made is not None
    assert (made["cot"], made["empty_fields"], counts["empty"], dropped) == ("  ", ["cot"], 1, 0)
    made, counts, dropped = only("", Enhancement(empty="drop"))
    assert (made, counts["empty"], dropped) == (None, 1, 1)


@pytest.mark.parametrize(
    ("run_on", "text"), [("keep", " One. Two. Th"), ("cut", " One. Two."), ("empty", "")]
)
def test_a_run_on_generation_is_kept_cut_or_empty(run_on, text):
    made, counts, _ = only(" One. Two. Th", Enhancement(run_on=run_on), finish_reason="length")
    assert made is not None
    assert (made["cot"], counts["run_on"], counts["empty"]) == (text, 1, int(not text))
    if run_on == "cut":
        made, counts, _ = only("no end", Enhancement(run_on="cut"), finish_reason="length")
        assert (made["cot"], counts["empty"]) == ("", 1)


@pytest.mark.parametrize("more", ["The common mistakes are: none.", "Q: Who swims?"])
def test_a_generation_that_goes_on_with_something_else_is_counted_and_can_be_cut(more):
    made, counts, _ = only(f" Wings. {more}")
    assert made is not None
    assert (made["cot"], counts["went_on"]) == (f" Wings. {more}", 1)
    cut = Enhancement(run_on="empty", cut_beyond=True)
    made, counts, _ = only(f" Wings. {more}", cut, finish_reason="length")
    assert made is not None
    assert (made["cot"], counts["went_on"], counts["run_on"]) == (" Wings.", 1, 1)


def test_prompts_that_the_tokenizer_does_not_give_back_are_counted():
    made, counts, _ = only(" Wings.", prompt=f"{PROMPTS['cot'].lower()}")
    assert made is not None
    assert made["all"]["cot"] == f"{PROMPTS['cot']} Wings."
    assert counts["not_round_trip"] == 1
    assert only(" Wings.", prompt=PROMPTS["cot"])[1]["not_round_trip"] == 0


def test_a_record_without_a_generation_is_named():
    with pytest.raises(UserError, match="record 'q2' of 'd' has no generation of 'cot'"):
        enriched([record(), record("q2")], {"cot": [sample(" x")]})


@pytest.mark.parametrize("wrong", [{"empty": "mark"}, {"run_on": "drop"}])
def test_wrong_settings(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"Enhancement.{name} is '.*', expected one of keep"):
        Enhancement(**wrong)
