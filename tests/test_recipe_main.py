"""The command that runs a recipe: its plan, its state, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlm_jax import recipe
from tlm_jax.errors import UserError

ROOT = Path(__file__).parents[1]
TINY = "--gin_file=tests/recipes/star/star_run.gin"


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_dry_run_lists_stages_and_does_nothing(tmp_path, capsys):
    assert recipe.main([TINY, f"OUTPUT_DIR={tmp_path / 'out'}", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "star.StarConfig.loops = %LOOPS" in out
    lines = [line.split() for line in out.splitlines() if line.startswith("seed-0/")]
    assert [line[0].removeprefix("seed-0/") for line in lines] == [
        "pretrain",
        "loop-00/evaluate",
        "loop-01/generate",
        *(f"rationalization/loop-01/{name}" for name in ("rationalize", "select", "train")),
        "rationalization/loop-01/evaluate",
        *(f"rationalization/loop-02/{name}" for name in ("generate", "rationalize", "select")),
        *(f"rationalization/loop-02/{name}" for name in ("train", "evaluate")),
    ]
    # 40 questions of at most 32 new tokens; 4 steps of 8 rows of 128 tokens.
    by_name = {line[0]: line[1:] for line in lines}
    assert (by_name["seed-0/loop-01/generate"][0], by_name["seed-0/loop-01/generate"][2]) == (
        "40",
        "1,280",
    )
    assert by_name["seed-0/rationalization/loop-01/train"][:2] == ["4", "4,096"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["star_gptj_6b", "star_addition_tiny"])
def test_shipped_recipes_can_be_planned(name, tmp_path, shared_dir, capsys):
    arguments = [f"--gin_file=gin_configs/recipes/{name}.gin", f"DATA_DIR={shared_dir / 'data'}"]
    assert recipe.main([*arguments, f"OUTPUT_DIR={tmp_path / 'out'}", "LOOPS=1", "--dry_run"]) == 0
    assert "seed-0/plain/loop-01/train" in capsys.readouterr().out


def test_the_tiny_specialization_can_be_planned(tmp_path, capsys):
    tiny = "--gin_file=gin_configs/recipes/specialization_tiny.gin"
    assert recipe.main([tiny, f"OUTPUT_DIR={tmp_path / 'out'}", "SEEDS=[0, 1]", "--dry_run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    by_name = {line[0]: line[1:] for line in lines}
    students = [
        f"seed-{seed}/four_formats/instruction_tuned/{loss}/{stage}"
        for seed in (0, 1)
        for loss in ("match_sample", "match_distribution")
        for stage in ("train", "evaluate")
    ]
    first = ["trained/two_steps", "sample", "select", "align/offsets"]
    assert {*first, "starts/instruction_tuned/evaluate", *students} <= set(by_name)
    assert by_name["sample"][0] == "1,920"  # 48 questions, 40 samples each


@pytest.mark.parametrize("size", ["base", "large", "xl", "xxl"])
def test_published_sizes_of_specialization_can_be_planned_without_data(size, tmp_path, capsys):
    gin = f"--gin_file=gin_configs/recipes/specialization_flan_t5_{size}.gin"
    arguments = [gin, f"OUTPUT_DIR={tmp_path / 'out'}", f"DATA_DIR={tmp_path / 'none'}"]
    assert recipe.main([*arguments, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "note: sizes are those of the settings; gsm8k" in out
    assert "seed-0/four_formats/instruction_tuned/match_distribution_official/train" in out


def test_the_tiny_teacher_lm_can_be_planned(tmp_path, capsys):
    tiny = "--gin_file=gin_configs/recipes/teacher_lm_tiny.gin"
    formats = "FORMATS=['text', 'cot_mid']"
    assert recipe.main([tiny, f"OUTPUT_DIR={tmp_path / 'out'}", formats, "--dry_run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    by_name = {line[0]: line[1:] for line in lines}
    teacher = [
        f"teacher/{n}/{s}" for n in ("multi_task", "fields", "cot") for s in ("train", "choose")
    ]
    students = [
        f"seed-0/student/{n}/{s}" for n in ("text", "cot_mid") for s in ("train", "evaluate")
    ]
    assert {*teacher, *students, "enhance/cot", "seed-0/student/cot_mid/vote"} <= set(by_name)
    assert "enhance/error" not in by_name  # no format needs it
    assert by_name["enhance/cot"][0] == "300"
    assert by_name["seed-0/student/text/train"][0] == "114"  # 6 epochs of 19 batches


def test_the_published_teacher_lm_can_be_planned_without_data(tmp_path, capsys):
    gin = "--gin_file=gin_configs/recipes/teacher_lm_bloom_7b1.gin"
    arguments = [gin, f"OUTPUT_DIR={tmp_path / 'out'}", f"DATA_DIR={tmp_path / 'none'}"]
    assert recipe.main([*arguments, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "note: sizes are those of the settings; creak" in out
    assert "there is no model at teacherlm-7b1 yet" in out
    assert "seed-0/student/fcm/evaluate" in out


def test_a_stage_that_is_not_there_is_named_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"--until=seed-0/loop-1/generate: there is no such stage"):
        recipe.main([TINY, f"OUTPUT_DIR={tmp_path / 'out'}", "--until=seed-0/loop-1/generate"])


def test_the_state_of_a_directory(tmp_path, capsys):
    with pytest.raises(UserError, match="holds no stages: is it the OUTPUT_DIR of a recipe"):
        recipe.main(["status", str(tmp_path)])
    assert recipe.main([TINY, f"OUTPUT_DIR={tmp_path / 'out'}", "--until=questions"]) == 0
    capsys.readouterr()
    assert recipe.main(["status", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[:2] == ["questions", "done"]
    assert "train 40" in out


def test_help_names_its_flags(capsys):
    with pytest.raises(SystemExit) as caught:
        recipe.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "--until STAGE" in out
    assert "--again STAGE" in out
