"""Every registered task: its formats, its files, and the splits it refuses."""

import json
import subprocess
import sys

import pytest
from task_sources import source_of

from tlm_jax.data import tasks
from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.data.formats import FORMATS
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError

DATA_SETS = (
    "gsm8k",
    "commonsenseqa",
    "aqua",
    "creak",
    "ecqa",
    "qasc",
    "sensemaking",
    "strategyqa",
    "esnli",
    "qed",
    "svamp",
    "asdiv",
    "multiarith",
    "bbh",
    "math",
    "word_problems",
    "word_problems_easy",
    "gsm8k_tfds",
    "qasc_tfds",
    "esnli_tfds",
    "cos_e",
    *(
        f"flan_cot_{name}"
        for name in ("aqua", "creak", "ecqa", "gsm8k", "qasc", "sensemaking", "strategyqa")
    ),
)

# Rows of each split that the reference folder holds.
ROWS = {
    "gsm8k": {
        "train_full": 7473,
        "train": 7113,
        "validation": 360,
        "test": 1319,
        "train_flant5": 7273,
        "validation_flant5": 200,
    },
    "commonsenseqa": {"train": 9741, "validation": 1221},
    "creak": {"train": 10176, "validation": 1371, "contrast": 500},
    "ecqa": {"test": 2194},
    "strategyqa": {"train": 2061, "validation": 229},
    "esnli": {"validation": 9842, "test": 9824},
    "qed": {"validation": 1355},
    "svamp": {"test": 1000},
    "asdiv": {"test": 2305},
    "multiarith": {"test": 600},
    "bbh": {"test": 6511},
    "math": {"train_full": 4587, "test": 5000},
    "flan_cot_aqua": {"train_full": 2728},
    "flan_cot_sensemaking": {"train_full": 6070},
}


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    tasks.load_tasks()


@pytest.fixture
def data(shared_dir):
    return RunData(shared_dir / "data")


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_data_set_has_the_four_formats(name):
    for form in FORMATS:
        task = tasks.get_task(f"{name}_{form}")
        assert task.description
        assert task.vocabulary.size == 1024


def test_registering_everything_reads_nothing_and_imports_no_tensorflow():
    code = (
        "import sys\n"
        "from tlm_jax.data import tasks\n"
        "names = tasks.load_tasks()\n"
        "assert len(names) > 100, names\n"
        "assert 'tensorflow' not in sys.modules and 'seqio' not in sys.modules\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "TLM_JAX_DATA_DIR": "/does/not/exist"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("name", ROWS)
def test_splits_have_the_rows_of_the_files(data, name):
    source = source_of(f"{name}_answer_zero_shot", data)
    for split, rows in ROWS[name].items():
        assert source.num_examples(split) == rows, split
        example = source.example(split, rows - 1)
        assert example["targets"].startswith("The answer is ")
        json.loads(example["options_json"])


def test_gsm8k_to_the_byte(data):
    example = source_of("gsm8k_cot_zero_shot", data).example("train_full", 0)
    assert example["id"] == "gsm8k-train-0"
    assert example["inputs"] == (
        "Q: Natalia sold clips to 48 of her friends in April, and then she sold half as many "
        "clips in May. How many clips did Natalia sell altogether in April and May?\n"
        "Let's think step by step"
    )
    assert example["targets"] == (
        "Natalia sold 48/2 = 24 clips in May.\n"
        "Natalia sold 48+24 = 72 clips altogether in April and May.\nThe answer is 72"
    )


def test_the_flant5_development_rows_are_apart_from_its_training_rows(data):
    source = source_of("gsm8k_answer_zero_shot", data)

    def ids(split):
        return {source.example(split, i)["id"] for i in range(source.num_examples(split))}

    develop, rest = ids("validation_flant5"), ids("train_flant5")
    assert "gsm8k-train-4041" in develop
    assert not develop & rest
    assert len(develop | rest) == 7473


def test_the_demonstrations_of_the_four_case_prompt_can_be_named(shared_dir):
    ids = tuple(f"gsm8k-train-{row}" for row in (802, 6893, 7003, 2778))
    data = RunData(shared_dir / "data", demonstrations=DemonstrationSettings(ids=ids))
    example = source_of("svamp_cot_in_context", data).example("test", 0)
    assert example["inputs"].count("Let's think step by step") == 5


def test_test_only_sets_borrow_demonstrations_from_gsm8k(data):
    example = source_of("svamp_cot_in_context", data).example("test", 0)
    *demonstrations, query = example["inputs"].split("\n\n")
    assert len(demonstrations) == 4
    assert all(
        "\nLet's think step by step\n" in d and "\nThe answer is " in d for d in demonstrations
    )
    assert query == (
        "Q: Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each "
        "pack. How much do you have to pay to buy each pack?\nLet's think step by step"
    )


def test_bbh_uses_the_published_demonstrations_of_its_task(data):
    source = source_of("bbh_cot_in_context", data)
    example = source.example("test", 0)
    assert example["inputs"].startswith(
        "Q: not ( ( not not True ) ) is\nLet's think step by step\nRemember that (i)"
    )
    assert example["inputs"].count("\nThe answer is ") == 3
    published = source_of("bbh_published_prompt", data)
    for index in range(0, 6511, 250):
        prompted = published.example("test", index)
        assert prompted["inputs"].endswith("\nA: Let's think step by step.\n")
        assert "canary" not in prompted["inputs"].lower()
        assert source.example("test", index)["inputs"].count("\nThe answer is ") == 3


@pytest.mark.parametrize("name", ["bbh", "svamp", "asdiv", "multiarith"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_test_only_sets_cannot_be_trained_on(name, form, split):
    source = tasks.get_task(f"{name}_{form}").source
    assert source.splits == ("test",)
    for ask in (source.check_split, source.num_examples):
        with pytest.raises(UserError, match=f"{name} has no split '{split}': it is for evaluation"):
            ask(split)


def test_hidden_labels_are_explained():
    with pytest.raises(UserError, match="its labels are not public; use validation"):
        tasks.get_task("commonsenseqa_answer_zero_shot").source.num_examples("test")


def test_training_on_rationales_that_do_not_exist_is_an_error(data):
    with pytest.raises(UserError, match="commonsenseqa: no record of the split 'train' has a rat"):
        source_of("commonsenseqa_cot_zero_shot", data).num_examples("train")


def test_absent_data_is_one_line_that_says_what_and_where(tmp_path):
    for name in (
        "gsm8k",
        "aqua",
        "creak",
        "ecqa",
        "qasc",
        "sensemaking",
        "esnli",
        "qed",
        "math",
        "flan_cot_aqua",
    ):
        with pytest.raises(UserError) as error:
            source_of(f"{name}_answer_zero_shot", RunData(tmp_path)).num_examples("train")
        message = str(error.value)
        assert message.startswith(f"{name}, split 'train': no such file in {tmp_path}.")
        assert "Wanted: " in message
        assert "To get it: the " in message
        assert "\n" not in message


def test_mixtures_hold_what_they_say():
    rates = tasks.task_rates("gsm8k_four_formats")
    assert rates == {f"gsm8k_{form}": 0.25 for form in FORMATS}
    assert tasks.task_rates("word_problems_easy_four_formats").keys() == {
        f"word_problems_easy_{form}" for form in FORMATS
    }
    flan = tasks.task_rates("flan_cot_zero_shot")
    assert len(flan) == 7
    assert flan["flan_cot_gsm8k_cot_zero_shot"] == pytest.approx(7473 / 33443)


@pytest.mark.parametrize("split", ["train", "validation", "test", "ood"])
def test_embedded_tasks_need_no_files(split):
    for name in ("word_problems", "word_problems_easy"):
        for form in FORMATS:
            task = tasks.get_task(f"{name}_{form}")
            source = source_of(task.name, RunData())
            assert source.num_examples(split) is None
            example = source.example(split, 3)
            for feature in ("inputs", "targets"):
                text = example[feature]
                assert task.vocabulary.decode(task.vocabulary.encode(text)) == text


def test_addition_tasks():
    scratch = source_of("addition_scratchpad", RunData()).example("train", 0)
    assert scratch["targets"].endswith(f"</scratch>\n{scratch['answer']}")
    direct = source_of("addition_direct", RunData()).example("train", 0)
    assert direct["inputs"] == scratch["inputs"]
    assert direct["targets"] == direct["answer"]
    shown = source_of("addition_scratchpad_in_context", RunData()).example("train", 0)
    assert shown["inputs"].count("</scratch>") == 4
