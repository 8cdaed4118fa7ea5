"""Official files, prepared offline by TFDS itself, come out of the registered tasks as text."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from task_sources import source_of

from tlm_jax.data import tasks
from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.data.pipeline.mixing import ExampleOrder
from tlm_jax.data.pipeline.store import OrderedReader, open_readers
from tlm_jax.data.run_data import RunData
from tlm_jax.data.tfds.preparation import prepare
from tlm_jax.data.tfds.records import BUILDERS

# TensorFlow's and TFDS's own.
pytestmark = pytest.mark.filterwarnings("ignore")

# A few rows written by hand in each official format.
OFFICIAL_FILES = Path(__file__).parent / "official_files"

# By task and split: the question with its options, the rationale, the answer.
EXPECTED = {
    ("gsm8k_tfds", "train"): [
        (
            "Ann has 3 boxes of 4 pens. How many pens has she?",
            "She has 3*4=12 pens.",
            "12",
        )
    ],
    ("gsm8k_tfds", "test"): [
        (
            "Bo earns $500 a month. What does he earn in 3 months?",
            "3 months are 3 times $500.\nThat is $1,500.",
            "1500",
        )
    ],
    ("qasc_tfds", "train"): [
        (
            "What do feathers keep birds? (A) warm (B) wet (C) blue (D) heavy (E) loud (F) thin "
            "(G) old (H) far",
            "Feathers hold air. Air that is held keeps heat in. Feathers keep birds warm.",
            "(A)",
        )
    ],
    ("qasc_tfds", "validation"): [
        (
            "What does rain come from? (A) sand (B) light (C) clouds (D) stone (E) iron (F) salt "
            "(G) wood (H) oil",
            "Rain is water that falls. Water falls from clouds. Rain comes from clouds.",
            "(C)",
        )
    ],
    ("esnli_tfds", "train"): [
        (
            "Premise: A dog runs.\nHypothesis: It is late. (A) entailment (B) neutral "
            "(C) contradiction",
            'A dog runs "any time".',
            "(B)",
        ),
        (
            "Premise: A man, old, sings.\nHypothesis: A man sings. (A) entailment (B) neutral "
            "(C) contradiction",
            "Old men do.",
            "(A)",
        ),
    ],
    ("esnli_tfds", "validation"): [
        (
            "Premise: She sits.\nHypothesis: She runs. (A) entailment (B) neutral "
            "(C) contradiction",
            "No.",
            "(C)",
        )
    ],
    ("esnli_tfds", "test"): [
        (
            "Premise: Two cats eat.\nHypothesis: Cats eat. (A) entailment (B) neutral "
            "(C) contradiction",
            "They do.",
            "(A)",
        )
    ],
    ("cos_e", "train"): [
        (
            "Where is bread baked? (A) oven (B) lake (C) sky (D) car (E) book",
            "ovens are for baking",
            "(A)",
        )
    ],
    ("cos_e", "validation"): [
        (
            "Where do people sleep? (A) road (B) desk (C) sea (D) bed (E) tree",
            "beds are made for sleep",
            "(D)",
        )
    ],
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data directory in which TFDS has prepared all four data sets, without a network."""
    tasks.load_tasks()
    folder = tmp_path_factory.mktemp("tfds")
    # QASC is published as an archive.
    downloaded = folder / "downloaded"
    shutil.copytree(OFFICIAL_FILES, downloaded)
    shutil.make_archive(
        str(downloaded / "qasc/qasc_dataset"), "gztar", downloaded / "qasc", "QASC_Dataset"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("requests.sessions.Session.send", _no_network)
        for name in BUILDERS:
            prepare(name, folder / "data", downloaded / name)
    return folder / "data"


def _no_network(*arguments, **keywords):
    raise ConnectionError("a download was tried")


@pytest.fixture
def data(prepared):
    return RunData(prepared, demonstrations=DemonstrationSettings(num=1))


@pytest.mark.parametrize(("name", "split"), EXPECTED)
def test_zero_shot_text(data, name, split):
    answer, cot = (source_of(f"{name}_{form}_zero_shot", data) for form in ("answer", "cot"))
    expected = EXPECTED[name, split]
    assert answer.num_examples(split) == cot.num_examples(split) == len(expected)
    # TFDS shuffles the rows as it prepares them.
    shown = [[source.example(split, i) for i in range(len(expected))] for source in (answer, cot)]
    assert sorted((e["inputs"], e["targets"]) for e in shown[0]) == sorted(
        (f"Q: {question} A:", f"The answer is {gold}") for question, _, gold in expected
    )
    assert sorted((e["inputs"], e["targets"]) for e in shown[1]) == sorted(
        (f"Q: {question}\nLet's think step by step", f"{rationale}\nThe answer is {gold}")
        for question, rationale, gold in expected
    )


@pytest.mark.parametrize(
    ("name", "split"),
    [("gsm8k_tfds", "test"), ("qasc_tfds", "validation"), ("cos_e", "validation")],
)
def test_in_context_text(data, name, split):
    ((shown, reason, key),) = EXPECTED[name, "train"]
    ((asked, rationale, gold),) = EXPECTED[name, split]
    answer = source_of(f"{name}_answer_in_context", data).example(split, 0)
    assert answer["inputs"] == f"Q: {shown}\nA: The answer is {key}\n\nQ: {asked}\nA:"
    assert answer["targets"] == f"The answer is {gold}"
    cot = source_of(f"{name}_cot_in_context", data).example(split, 0)
    assert cot["inputs"] == (
        f"Q: {shown}\nLet's think step by step\n{reason}\nThe answer is {key}\n\n"
        f"Q: {asked}\nLet's think step by step"
    )
    assert cot["targets"] == f"{rationale}\nThe answer is {gold}"


def test_in_context_text_of_a_task_with_two_training_rows(data):
    example = source_of("esnli_tfds_cot_in_context", data).example("test", 0)
    ((asked, _, _),) = EXPECTED["esnli_tfds", "test"]
    assert example["inputs"] in {
        f"Q: {shown}\nLet's think step by step\n{reason}\nThe answer is {key}\n\n"
        f"Q: {asked}\nLet's think step by step"
        for shown, reason, key in EXPECTED["esnli_tfds", "train"]
    }


@pytest.mark.parametrize("name", ["gsm8k_tfds", "qasc_tfds", "esnli_tfds", "cos_e"])
def test_what_the_pipeline_reads(data, name):
    rates, readers = open_readers(f"{name}_cot_zero_shot", "train", feature_lengths={}, data=data)
    sizes = {task: reader.num_examples for task, reader in readers.items()}
    expected = EXPECTED[name, "train"]
    order = ExampleOrder(rates, sizes, seed=0)
    rows = OrderedReader(order, readers)(np.arange(len(expected)))
    vocabulary = next(iter(readers.values())).vocabulary
    texts = [vocabulary.decode(rows.features["targets"][i]) for i in range(len(expected))]
    assert sorted(texts) == sorted(f"{why}\nThe answer is {gold}" for _, why, gold in expected)


@pytest.mark.parametrize(
    ("name", "folder", "splits"),
    [
        ("gsm8k", "", ["test"]),
        ("qasc", "qasc", ["train", "validation"]),
        ("esnli", "", ["train", "validation", "test"]),
    ],
)
def test_the_same_text_as_from_the_files_themselves(prepared, name, folder, splits):
    def texts(task, data_dir, split):
        source = source_of(f"{task}_cot_zero_shot", RunData(data_dir))
        shown = [source.example(split, i) for i in range(source.num_examples(split))]
        return sorted((example["inputs"], example["targets"]) for example in shown)

    for split in splits:
        from_files = texts(name, OFFICIAL_FILES / folder, split)
        assert from_files == texts(f"{name}_tfds", prepared, split)
        assert from_files


def test_prepared_files_may_lie_directly_in_the_data_directory(prepared, tmp_path):
    shutil.copytree(prepared / "tensorflow_datasets" / "gsm8k", tmp_path / "gsm8k")
    source = source_of("gsm8k_tfds_answer_zero_shot", RunData(tmp_path))
    assert source.example("test", 0)["targets"] == "The answer is 1500"


def test_the_newest_whole_version_is_read(prepared, tmp_path):
    shutil.copytree(prepared / "tensorflow_datasets/gsm8k/1.0.0", tmp_path / "gsm8k/10.0.0")
    for other in ("9.0.0", "10.0.0.incompleteABC123"):
        (tmp_path / "gsm8k" / other).mkdir()
        (tmp_path / "gsm8k" / other / "dataset_info.json").write_text("{}")
    source = source_of("gsm8k_tfds_answer_zero_shot", RunData(tmp_path))
    assert source.num_examples("train") == 1
