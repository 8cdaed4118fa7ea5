"""Where data files are looked for."""

import pytest

from tlm_jax.data.location import data_dir, find_file, set_data_dir
from tlm_jax.errors import UserError


@pytest.fixture(autouse=True)
def _no_directory(monkeypatch):
    monkeypatch.delenv("TLM_JAX_DATA_DIR", raising=False)
    yield
    set_data_dir(None)


def test_without_a_directory_the_error_says_how_to_name_one():
    with pytest.raises(UserError) as error:
        find_file("gsm8k, split 'train'", ["a.jsonl", "b/c.jsonl"], "the project x/y")
    message = str(error.value)
    assert message.startswith("gsm8k, split 'train': no data directory is named. Set DATA_DIR")
    assert "TLM_JAX_DATA_DIR" in message
    assert "Wanted: a.jsonl or b/c.jsonl. To get it: the project x/y." in message
    assert "\n" not in message


def test_an_absent_file_names_all_that_are_accepted(tmp_path):
    set_data_dir(tmp_path)
    with pytest.raises(UserError, match=rf"no such file in {tmp_path}. Wanted: a or b. To get"):
        find_file("x", ["a", "b"], "somewhere")
    set_data_dir(tmp_path / "missing")
    with pytest.raises(UserError, match="missing does not exist"):
        find_file("x", ["a"], "somewhere")


def test_files_are_taken_in_order_compressed_or_not(tmp_path):
    set_data_dir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.jsonl").touch()
    (tmp_path / "a.jsonl.gz").touch()
    names = ["a.jsonl", "sub/b.jsonl"]
    assert find_file("x", names, "o") == ("a.jsonl", tmp_path / "a.jsonl.gz")
    assert find_file("x", names[::-1], "o") == ("sub/b.jsonl", tmp_path / "sub/b.jsonl")
    (tmp_path / "a.jsonl").touch()
    assert find_file("x", names, "o") == ("a.jsonl", tmp_path / "a.jsonl")


def test_a_directory_set_by_the_run_goes_before_the_environment(tmp_path, monkeypatch):
    assert data_dir() is None
    monkeypatch.setenv("TLM_JAX_DATA_DIR", "/from/environment")
    assert str(data_dir()) == "/from/environment"
    set_data_dir(tmp_path)
    assert data_dir() == tmp_path
    set_data_dir(None)
    assert str(data_dir()) == "/from/environment"
