"""Shipped configurations of LEMA name things that exist, and can be planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlm_jax import recipe
from tlm_jax.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def planned(capsys, tmp_path, name, *settings):
    arguments = [f"--gin_file=gin_configs/recipes/{n}.gin" for n in name.split("+")]
    out = f"OUTPUT_DIR={tmp_path / 'out'}"
    assert recipe.main([*arguments, out, *settings, "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    lines = [line.split() for line in told.splitlines() if line.strip()]
    return told, {line[0]: line[1:] for line in lines}


def test_the_tiny_recipe(capsys, tmp_path):
    _, stages = planned(capsys, tmp_path, "lema_tiny", "SEEDS=[0,1]")
    assert stages["ask/student"][0] == "800"  # 400 questions, two paths each
    for seed in (0, 1):
        for arm in ("cot", "lema", "lema_rows", "cot_rows"):
            for stage in ("rows", "train", "evaluate", "compare"):
                assert f"seed-{seed}/{arm}/{stage}" in stages
    assert stages["seed-0/lema/train"][0] == "160"


def test_the_papers_size_without_data_and_models(capsys, tmp_path):
    told, stages = planned(capsys, tmp_path, "lema_llama2_70b", f"DATA_DIR={tmp_path}")
    assert "note: sizes are those of the settings; gsm8k" in told
    assert "there is no model at wizardmath-70b yet" in told
    assert stages["seed-0/cot_tokens/train"][0] == "2,000"
    for setting in (
        "lora.LoraConfig.rank = %LORA_RANK",
        "LORA_RANK = 64",
        "LORA_TARGETS = '.'",
        "LORA_DROPOUT_RATE = 0.05",
        "BATCH_SIZE = 96",
        "optimizers.AdamW.clip_global_norm = 0.3",
        "rates.Constant.value = 0.0001",
    ):
        assert setting in told


def test_evolution_has_stages_of_its_own(capsys, tmp_path):
    _, stages = planned(
        capsys, tmp_path, "lema_tiny+lema_evolution", "NUM_SEEDS=10", "EVOLUTION_ROUNDS=2"
    )
    assert stages["evolve/write"][0] == "10"
    assert stages["evolve/answer"][0] == "30"
    assert {"evolve/ask/teacher", "evolve/corrections", "round-2/ask/seed-0"} <= set(stages)
    assert "round-2/seed-0/lema/train" in stages


def test_star_and_what_follows_it(capsys, tmp_path):
    _, stages = planned(capsys, tmp_path, "star_word_problems_tiny")
    assert "seed-0/plain/loop-02/train" in stages
    _, stages = planned(capsys, tmp_path, "star_then_lema_tiny")
    assert not any(name.startswith("ask/") for name in stages)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ARMS=['lemma']", r"ARMS has 'lemma'\. Did you mean 'lema'"),
        ("PATH_MODELS={}", "LEMA needs wrong paths: set PATH_MODELS"),
        ("NUM_WRONG=0", "NUM_WRONG is 0, expected at least 1, or None"),
        ("TEST_TASKS=[]", "TEST_TASKS is empty: name at least one"),
        ("COT_FORM=answer_zero_shot", r"Numbered\.cot_form is 'answer_zero_shot'"),
        ("RULE=strict", "no grading rule 'strict'"),
        ("DATA_SET=word_problem", "word_problem_cot_zero_shot"),
        ("CHOOSE_ON=tset", "tset"),
    ],
)
def test_settings_are_looked_at_before_anything_is_done(capsys, tmp_path, setting, message):
    with pytest.raises(UserError, match=message):
        planned(capsys, tmp_path, "lema_tiny", setting)
