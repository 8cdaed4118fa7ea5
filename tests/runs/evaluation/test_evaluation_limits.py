"""Prompts beyond the limits, rules of grading, and answers that cannot be read."""

import json

import pytest

from tlm_jax.errors import UserError

MODES = ["greedy", "self_consistency"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_records):
    """Two prompts whose last 24 tokens are the same, one of them too long; answers in words."""
    folder = tmp_path_factory.mktemp("data")
    end = "fly dogs can fly well " * 4 + "sing well"  # with "Q:" and "A:", 24
    long = "sing swim fly " * 12 + f"Q: {end}"
    rows = [(end, "42"), (long, "3,000"), ("cats can bark", "forty")]
    write_records(
        folder / "bbh.jsonl",
        [
            {"kind": "text", "question": q, "answer": a, "meta": {"task": "navigate"}}
            for q, a in rows
        ],
    )
    return folder


@pytest.fixture(scope="module")
def settings(data):
    return {
        "EVAL_TASKS": ["bbh_answer_zero_shot"],
        "EVAL_SPLIT": "test",
        "DATA_DIR": str(data),
        "TASK_FEATURE_LENGTHS": {"inputs": 24, "targets": 8},
        "NUM_SAMPLES": 2,
        "TEMPERATURE": 0.0,
    }


@pytest.fixture(scope="module")
def cut(evaluate, settings, tmp_path_factory):
    """Both modes with the end of long prompts kept, graded by the numeric rule."""
    output = tmp_path_factory.mktemp("cut")
    results = evaluate(output, **settings, MODES=MODES, TOO_LONG="keep_end", GRADING_RULE="numeric")
    found = {
        mode: [
            json.loads(line)
            for line in (output / "samples" / "one" / "bbh_answer_zero_shot" / f"{mode}.jsonl")
            .read_text()
            .splitlines()
        ]
        for mode in MODES
    }
    return results["results"], found


@pytest.mark.parametrize("mode", MODES)
def test_too_long_is_an_error_unless_the_end_is_asked_for(evaluate, settings, tmp_path, mode):
    expected = (
        r"1 of 3 prompts of bbh_answer_zero_shot are too long, the first is 'bbh-1' with 61 "
        r"tokens: TASK_FEATURE_LENGTHS leaves room for 24\."
    )
    with pytest.raises(UserError, match=expected):
        evaluate(tmp_path, **settings, MODES=[mode])


def test_the_window_limits_prompts_too(evaluate, settings, tmp_path):
    settings = {**settings, "TASK_FEATURE_LENGTHS": {"inputs": 64, "targets": 30}}
    with pytest.raises(
        UserError, match=r"the window of one, 64 tokens with the answer, leaves .* 33"
    ):
        evaluate(tmp_path, **settings, MODES=["greedy"])
    settings["TASK_FEATURE_LENGTHS"] = {"inputs": 64, "targets": 64}
    with pytest.raises(UserError, match="the window of one has 64 tokens, which 64 tokens of an"):
        evaluate(tmp_path, **settings, MODES=["greedy"], TOO_LONG="keep_end")


def test_kept_ends_are_counted_and_answered_like_the_end_alone(cut):
    results, found = cut
    for row in results:
        assert row["truncated_prompts"] == 1
        short, long = (line["samples"][0]["text"] for line in found[row["mode"]][:2])
        assert short == long
    # All of the prompt is shown, whatever of it was read.
    assert found["greedy"][1]["prompt"].startswith("Q: sing swim fly sing")


def test_greedy_and_samples_without_temperature_agree(cut):
    _, found = cut
    for greedy, sampled in zip(found["greedy"], found["self_consistency"], strict=True):
        assert [s["text"] for s in sampled["samples"]] == [greedy["samples"][0]["text"]] * 2


def test_an_answer_that_the_rule_cannot_read_is_listed_and_not_graded(cut):
    results, found = cut
    for row in results:
        assert row["unreadable_answers"] == ["bbh-2"]
        assert (row["questions"], row["ungraded"]) == (2, 1)
        assert [line["id"] for line in found[row["mode"]]] == ["bbh-0", "bbh-1"]


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ({"GRADING_RULE": "numerik"}, "no grading rule 'numerik'. Did you mean 'numeric'"),
        ({"RANK_FORMAT": "teacher"}, "no RANK_FORMAT 'teacher'. Did you mean 'teacherlm'"),
        ({"RANK_CONTEXT": "{questio}"}, "RANK_CONTEXT has no field {questio}"),
        ({"TOO_LONG": "keep"}, "TOO_LONG|too_long"),
    ],
)
def test_settings_are_checked_before_anything_is_read(evaluate, tmp_path, bindings, message):
    with pytest.raises(UserError) as error:
        evaluate(tmp_path, **bindings)
    assert any(text in str(error.value) for text in message.split("|"))
