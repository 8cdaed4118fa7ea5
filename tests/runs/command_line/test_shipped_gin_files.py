"""Gin files that come with the library are found from any folder; the user's own come first."""

import pytest

from tlm_jax import train
from tlm_jax.system.shipped import shipped_folder

QUICKSTART = "--gin_file=gin_configs/quickstart.gin"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder of the user's, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_quickstart_from_an_empty_folder(capsys):
    assert train.main([QUICKSTART, "--dry_run"]) == 0
    assert "TRAIN_STEPS = 1200" in capsys.readouterr().out


def test_a_file_in_a_folder_of_that_name_includes_ours(folder, capsys):
    (folder / "gin_configs").mkdir()
    own = folder / "gin_configs" / "mine.gin"
    own.write_text("include 'gin_configs/quickstart.gin'\nTRAIN_STEPS = 700\n")
    assert train.main(["--gin_file=gin_configs/mine.gin", "--dry_run"]) == 0
    assert "TRAIN_STEPS = 700" in capsys.readouterr().out
    # Ours itself, with what it includes.
    assert train.main([QUICKSTART, "--dry_run"]) == 0
    assert "TRAIN_STEPS = 1200" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--gin_search_paths=elsewhere"]])
def test_a_file_of_the_users_own_comes_first(folder, capsys, flags):
    text = (shipped_folder("gin_configs") / "quickstart.gin").read_text()
    place = folder / ("elsewhere" if flags else "") / "gin_configs"
    place.mkdir(parents=True)
    (place / "quickstart.gin").write_text(text.replace("TRAIN_STEPS = 1200", "TRAIN_STEPS = 900"))
    assert train.main([QUICKSTART, *flags, "--dry_run"]) == 0
    assert "TRAIN_STEPS = 900" in capsys.readouterr().out


def test_search_paths_of_one_run_are_not_those_of_the_next(folder, capsys):
    test_a_file_of_the_users_own_comes_first(folder, capsys, ["--gin_search_paths=elsewhere"])
    assert train.main([QUICKSTART, "--dry_run"]) == 0
    assert "TRAIN_STEPS = 1200" in capsys.readouterr().out
