"""Where a run's data are looked for, and that no run inherits them."""

import pytest

from tlm_jax.data.demonstrations import DemonstrationPool, DemonstrationSettings
from tlm_jax.data.file_records import file_records, uniform
from tlm_jax.data.formats import FORMATS
from tlm_jax.data.formatted import FormattedRecords
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.runs.training.config import DataConfig
from tlm_jax.runs.training.student_vocabulary import run_data


@pytest.fixture(autouse=True)
def _no_directory(monkeypatch):
    monkeypatch.delenv("TLM_JAX_DATA_DIR", raising=False)


def test_without_a_directory_the_error_says_how_to_name_one():
    with pytest.raises(UserError) as error:
        RunData().find_file("gsm8k, split 'train'", ["a.jsonl", "b/c.jsonl"], "the project x/y")
    message = str(error.value)
    assert message.startswith("gsm8k, split 'train': no data directory is named. Set DATA_DIR")
    assert "TLM_JAX_DATA_DIR" in message
    assert "Wanted: a.jsonl or b/c.jsonl. To get it: the project x/y." in message
    assert "\n" not in message


def test_an_absent_file_names_all_that_are_accepted(tmp_path):
    with pytest.raises(UserError, match=rf"no such file in {tmp_path}. Wanted: a or b. To get"):
        RunData(tmp_path).find_file("x", ["a", "b"], "somewhere")
    with pytest.raises(UserError, match="missing does not exist"):
        RunData(tmp_path / "missing").find_file("x", ["a"], "somewhere")


def test_files_are_taken_in_order_compressed_or_not(tmp_path):
    find_file = RunData(tmp_path).find_file
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.jsonl").touch()
    (tmp_path / "a.jsonl.gz").touch()
    names = ["a.jsonl", "sub/b.jsonl"]
    assert find_file("x", names, "o") == ("a.jsonl", tmp_path / "a.jsonl.gz")
    assert find_file("x", names[::-1], "o") == ("sub/b.jsonl", tmp_path / "sub/b.jsonl")
    (tmp_path / "a.jsonl").touch()
    assert find_file("x", names, "o") == ("a.jsonl", tmp_path / "a.jsonl")


def test_a_directory_set_by_the_run_goes_before_the_environment(tmp_path, monkeypatch):
    assert RunData().data_dir is None
    monkeypatch.setenv("TLM_JAX_DATA_DIR", "/from/environment")
    assert str(RunData().data_dir) == "/from/environment"
    assert RunData(tmp_path).data_dir == tmp_path


def test_two_runs_in_one_process_share_nothing(tmp_path):
    path, pool = tmp_path / "mine_train.jsonl", tmp_path / "pool.jsonl"
    records = file_records("mine", "o", {"train": [uniform("mine_train")]})
    form = FORMATS["answer_in_context"]
    source = FormattedRecords(records, form, DemonstrationPool(records))
    settings = DemonstrationSettings(num=1, pool_file=str(pool))

    def first_inputs(data):
        return source.for_run(data).example("train", 0)["inputs"]

    write_records(path, [_record("asked")])
    write_records(pool, [_record("shown")])
    one = RunData(tmp_path, demonstrations=settings)
    assert first_inputs(one) == "Q: shown\nA: The answer is a\n\nQ: asked\nA:"
    # Written anew, of the same size, as a stage that runs again does.
    write_records(path, [_record("asker")])
    write_records(pool, [_record("known")])
    assert first_inputs(one) == "Q: shown\nA: The answer is a\n\nQ: asked\nA:"
    two = RunData(tmp_path, demonstrations=settings)
    assert first_inputs(two) == "Q: known\nA: The answer is a\n\nQ: asker\nA:"
    with pytest.raises(UserError, match="no data directory is named"):
        first_inputs(RunData())


def test_a_run_does_not_inherit_the_settings_of_the_one_before(tmp_path):
    first = run_data(DataConfig(data_dir=str(tmp_path), examples_file="x.jsonl"))
    assert first.data_dir == tmp_path
    second = run_data(DataConfig())
    assert second.data_dir is None
    with pytest.raises(UserError, match="none is named: set EXAMPLES_FILE"):
        _ = second.examples_file


def _record(question):
    return Record(question, "mine", "train", "text", question, None, "a")
