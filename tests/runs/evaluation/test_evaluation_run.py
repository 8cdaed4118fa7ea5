"""An evaluation from checkpoints and records to results, table and report."""

import json

import pytest

from tlm_jax import infer
from tlm_jax.errors import UserError

TASK = "creak_answer_zero_shot"


@pytest.fixture(scope="module")
def evaluated(world, evaluate, tmp_path_factory):
    """Every mode on both checkpoints; the output directory and what is returned."""
    output = tmp_path_factory.mktemp("out")
    results = evaluate(
        output,
        CHECKPOINTS=[str(world / name) for name in ("one", "t5")],
        MODES=["greedy", "rank", "self_consistency"],
        NUM_SAMPLES=3,
        TRAINING_SETS=["creak_answer_zero_shot:train"],
    )
    return output, results


def test_every_mode_answers_every_question(evaluated):
    output, results = evaluated
    assert json.loads((output / "results.json").read_text()) == results
    keys = [(r["checkpoint"], r["mode"]) for r in results["results"]]
    modes = ("greedy", "rank", "self_consistency")
    assert keys == [(name, mode) for name in ("one", "t5") for mode in modes]
    for row in results["results"]:
        assert row["questions"] == 8
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        path = output / "samples" / row["checkpoint"] / TASK / f"{row['mode']}.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert sum(line["right"] for line in lines) == row["right"]
        samples = 3 if row["mode"] == "self_consistency" else 1
        assert {len(line["samples"]) for line in lines} == {samples}
        told = [sample["extracted"] for line in lines for sample in line["samples"]]
        assert row["unparsable_share"] == pytest.approx(told.count(None) / len(told))
        if row["mode"] == "rank":
            assert row["unparsable_share"] == 0
            assert {line["answer"] for line in lines} <= {"yes", "no"}
        if row["mode"] == "self_consistency":
            assert [point["k"] for point in row["curve"]] == [1, 2, 3]
            assert row["curve"][-1]["maj"] == pytest.approx(row["accuracy"])
            assert row["curve"][-1]["pass"] >= row["curve"][-1]["maj"]


def test_later_checkpoints_are_compared_with_the_first(evaluated):
    _, results = evaluated
    pairs = {(c["first"], c["second"], c["mode"]) for c in results["comparisons"]}
    assert len(pairs) == 3
    assert {pair[0] for pair in pairs} == {"one"}
    by_key = {(r["checkpoint"], r["mode"]): r for r in results["results"]}
    for found in results["comparisons"]:
        one, other = (by_key[(found[side], found["mode"])] for side in ("first", "second"))
        assert found["difference"] == pytest.approx(other["accuracy"] - one["accuracy"])
        assert found["fixed"] - found["broken"] == other["right"] - one["right"]
        assert len(found["newly_broken"]) == found["broken"]
        assert len(found["newly_right"]) == found["fixed"]
        assert 0 < found["p_value"] <= 1


def test_known_questions_are_reported(evaluated):
    _, results = evaluated
    (found,) = results["training_sets"]
    assert found["found"] == 2
    assert found["kinds"] == {"same": 1, "part": 1, "run": 0}
    assert found["ids"] == ["creak_dev-0", "creak_dev-3"]


def test_known_questions_can_be_left_out(world, evaluate, tmp_path, capsys):
    results = evaluate(
        tmp_path,
        MODES=["rank"],
        TRAINING_SETS=[str(world / "data" / "creak_train.jsonl")],
        LEAVE_OUT_KNOWN=True,
    )
    assert results["results"][0]["questions"] == 6
    said = capsys.readouterr().out
    assert "note: 2 of 8 questions of" in said
    assert "left out" in said
    assert "accuracy" in said
    assert "report.html" in said


def test_page_is_self_contained_and_shows_text_as_text(evaluated):
    output, results = evaluated
    page = (output / "report.html").read_text()
    assert "<b>fish</b>" not in page
    assert "&lt;b&gt;fish&lt;/b&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for name, title in (("broken", "Newly broken"), ("fixed", "Newly solved")):
        assert (title in page) == any(c[name] for c in results["comparisons"])
    assert "<mark>" in page
    assert "Majority and any of k samples" in page
    assert "Test questions in training sets" in page


def test_rank_needs_options(evaluate, tmp_path):
    with pytest.raises(UserError, match="'rank' needs questions with options"):
        evaluate(
            tmp_path,
            EVAL_TASKS=["creak_cot_zero_shot"],
            MODES=["rank"],
        )


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ({"CHECKPOINTS": []}, "EvalConfig.checkpoints is empty"),
        ({"CHECKPOINTS": ["x"], "MODES": ["gredy"]}, "EvalConfig.modes is .*'greedy'"),
        ({"CHECKPOINTS": ["no/such/model"]}, "no model at no/such/model"),
        ({"CHECKPOINTS": ["x"], "NUM_SAMPLES": 0}, "num_samples is 0, expected at least 1"),
    ],
)
def test_says_what_is_wrong(evaluate, tmp_path, bindings, message):
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path, **bindings)


def test_figures_by_difficulty_are_in_the_results(evaluated):
    _, results = evaluated
    for row in results["results"]:
        groups = row["by"]["steps"]["groups"]
        assert [(g["group"], g["questions"]) for g in groups] == [("1", 4), ("2", 4)]
        assert sum(g["right"] for g in groups) == row["right"]


def test_equal_questions_get_random_numbers_of_their_own(world, evaluate, write_records, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    same = [{"kind": "boolean", "question": "dogs can fly", "answer": "no"}] * 16
    write_records(data / "creak_dev.jsonl", same)
    settings = {"MODES": ["self_consistency"], "NUM_SAMPLES": 3, "DATA_DIR": str(data)}
    evaluate(tmp_path / "out", **settings)
    path = tmp_path / "out" / "samples" / "one" / TASK / "self_consistency.jsonl"
    rows = [json.loads(line)["samples"] for line in path.read_text().splitlines()]
    texts = [tuple(sample["text"] for sample in row) for row in rows]
    assert len(set(texts)) == 16
    assert len({text for row in texts for text in row}) > 40  # 48 of independent draws
    # The same as infer draws from the same SEED.
    infer.main(
        [
            *(f"MODEL={world / 'one'}", f"MIXTURE_OR_TASK_NAME={TASK}", "SPLIT=validation"),
            *(f"OUTPUT_DIR={tmp_path / 'drawn'}", f"DATA_DIR={data}", "NUM_SAMPLES=3"),
            *("TEMPERATURE=0.7", "MAX_TOKENS=8", "BATCH_SIZE=8"),
        ]
    )
    drawn = (tmp_path / "drawn" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in drawn] == [text for row in texts for text in row]


@pytest.mark.parametrize("mode", ["greedy", "self_consistency"])
def test_answers_end_at_stop_texts_in_every_mode(evaluate, tmp_path, mode):
    def texts(output, **settings):
        evaluate(tmp_path / output, MODES=[mode], NUM_SAMPLES=2, **settings)
        path = tmp_path / output / "samples" / "one" / TASK / f"{mode}.jsonl"
        rows = [json.loads(line)["samples"] for line in path.read_text().splitlines()]
        return [sample for row in rows for sample in row]

    whole = texts("whole")
    stop = max((sample["text"] for sample in whole), key=len)[3:6]
    cut = texts("cut", STOP=[stop])
    assert any(stop in sample["text"] for sample in whole)
    assert [sample["text"] for sample in cut] == [s["text"].split(stop)[0] for s in whole]
    assert all(b["finished"] for a, b in zip(whole, cut) if stop in a["text"])
    with pytest.raises(UserError, match="STOP holds an empty text"):
        evaluate(tmp_path / "none", STOP=[""])
