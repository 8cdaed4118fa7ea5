"""TFDS prepares the four data sets from files already there; what it cannot do is one line."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.data.tfds.preparation import prepare
from tlm_jax.errors import UserError

# TensorFlow's and TFDS's own.
pytestmark = pytest.mark.filterwarnings("ignore")

REPOSITORY = Path(__file__).parents[3]
OFFICIAL_FILES = REPOSITORY / "tests/tasks/official_files"


@pytest.fixture
def no_network(monkeypatch):
    def send(*arguments, **keywords):
        raise ConnectionError("a download was tried")

    monkeypatch.setattr("requests.sessions.Session.send", send)


@pytest.mark.usefixtures("no_network")
def test_every_split_is_prepared_and_no_download_folder_is_left(tmp_path):
    prepared = prepare("cos_e", tmp_path, OFFICIAL_FILES / "cos_e")
    assert prepared.sizes == {"train": 1, "validation": 1}
    assert prepared.path.is_relative_to(tmp_path / "tensorflow_datasets/cos_e")
    assert [path.name for path in (tmp_path / "tensorflow_datasets").iterdir()] == ["cos_e"]
    again = prepare("cos_e", tmp_path, OFFICIAL_FILES / "cos_e")
    assert again.path == prepared.path


@pytest.mark.usefixtures("no_network")
def test_content_other_than_the_recorded_is_named(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo

    name = "esnli_dev.csv"
    infos = tfds.builder_cls("esnli").url_infos
    url = next(url for url in infos if url.endswith(name))
    content = (OFFICIAL_FILES / "esnli" / name).read_bytes()
    recorded = UrlInfo(len(content), hashlib.sha256(content).hexdigest(), name)
    monkeypatch.setitem(infos, url, recorded)
    prepared = prepare("esnli", tmp_path, OFFICIAL_FILES / "esnli")
    assert sorted(prepared.unrecorded) == [
        "esnli_test.csv",
        "esnli_train_1.csv",
        "esnli_train_2.csv",
    ]


def test_a_missing_file_is_said(tmp_path):
    folder = tmp_path / "downloaded"
    shutil.copytree(OFFICIAL_FILES / "esnli", folder)
    (folder / "esnli_train_2.csv").unlink()
    with pytest.raises(UserError) as error:
        prepare("esnli", tmp_path, folder)
    assert str(error.value) == (
        f"esnli: no file esnli_train_2.csv in {folder} or below. Wanted: esnli_dev.csv, "
        "esnli_test.csv, esnli_train_1.csv, esnli_train_2.csv. To get it: "
        "https://raw.githubusercontent.com/OanaMariaCamburu/e-SNLI/master/dataset/esnli_train_2.csv."
    )


def test_an_unknown_data_set_is_said(tmp_path):
    with pytest.raises(
        UserError, match=r"no TFDS data set 'esnil': .* cos_e\. Did you mean 'esnli'"
    ):
        prepare("esnil", tmp_path)


@pytest.mark.usefixtures("no_network")
def test_files_that_cannot_be_read_or_fetched_are_said(tmp_path):
    shutil.copytree(OFFICIAL_FILES / "gsm8k", tmp_path / "downloaded")
    (tmp_path / "downloaded/train.jsonl").write_text('{"question": ')
    with pytest.raises(
        UserError, match=r"^gsm8k: TensorFlow Datasets could not prepare it \(JSOND"
    ):
        prepare("gsm8k", tmp_path / "data", tmp_path / "downloaded")
    with pytest.raises(UserError, match=r"gsm8k: .* prepare it \(ConnectionError: .*was tried"):
        prepare("gsm8k", tmp_path / "data")


def test_the_script(tmp_path):
    def run(*arguments):
        command = [sys.executable, REPOSITORY / "scripts/prepare_tfds", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    data = f"--data_dir={tmp_path}"
    done = run("gsm8k", data, f"--downloaded={OFFICIAL_FILES / 'gsm8k'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (  # TFDS prints lines of its own before.
        f"{tmp_path}/tensorflow_datasets/gsm8k/1.0.0: "
        "train 1, test 1, train_socratic 1, test_socratic 1 rows"
    )
    failed = run("gsm9k", data)
    assert failed.returncode == 1
    assert failed.stderr.startswith("prepare_tfds: no TFDS data set 'gsm9k': expected one of gsm8k")
