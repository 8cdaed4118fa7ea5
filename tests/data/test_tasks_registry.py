"""The registry mirrors SeqIO's, gives the same tokens, and explains wrong names."""

import subprocess
import sys

import numpy as np
import pytest
import seqio

from tlm_jax.data import seqio_bridge, tasks
from tlm_jax.data.pipeline.store import RecordReader, tokenize
from tlm_jax.data.sources import ListSource, RecordSource
from tlm_jax.errors import UserError
from tlm_jax.ragged import TokenizedExamples


def examples(count, label="x"):
    return [
        {"id": f"{label}{i}", "inputs": f"{label} {i} + 1 =", "targets": str(i + 1), "answer": "a"}
        for i in range(count)
    ]


class Counting(RecordSource):
    """Endless: example i counts to i."""

    splits = ("train",)

    def num_examples(self, split):
        return None

    def example(self, split, index):
        return {"id": f"c{index}", "targets": " ".join(map(str, range(index)))}


@pytest.fixture
def registered():
    """Registers tasks for one test."""
    names = []

    def register(name, *args, **kwargs):
        names.append(name)
        add = tasks.register_mixture if isinstance(args[0], dict) else tasks.register_task
        return add(name, *args, **kwargs)

    yield register
    for name in names:
        tasks.unregister(name)


def test_seqio_gives_the_same_tokens(registered):
    task = registered("registry_sums", ListSource({"train": examples(5)}))
    ours = RecordReader(task, "train").read(np.arange(5))
    theirs = list(
        seqio.get_mixture_or_task("registry_sums")
        .get_dataset(sequence_length=None, split="train", shuffle=False)
        .as_numpy_iterator()
    )
    assert len(theirs) == 5
    for i, example in enumerate(theirs):
        for name in ("inputs", "targets"):
            np.testing.assert_array_equal(ours.features[name][i], example[name])
            assert example[name][-1] == 1  # EOS
        assert example["id"].decode() == ours.ids[i]
        assert example["answer"] == b"a"
        assert example["inputs_pretokenized"].decode() == ours.records[i]["inputs"]


def test_seqio_shuffles_and_shards_without_loss(registered):
    registered("registry_shards", ListSource({"train": examples(10)}))
    source = seqio.TaskRegistry.get("registry_shards").source
    assert source.num_input_examples("train") == 10
    parts = [
        [
            e["id"].decode()
            for e in source.get_dataset(
                "train", shuffle=True, seed=3, shard_info=seqio.ShardInfo(i, 2)
            ).as_numpy_iterator()
        ]
        for i in range(2)
    ]
    assert sorted(parts[0] + parts[1]) == sorted(f"x{i}" for i in range(10))
    assert parts[0] != sorted(parts[0])


def test_endless_sources_work_in_seqio(registered):
    registered("registry_counting", Counting(), features=("targets",))
    dataset = seqio.get_mixture_or_task("registry_counting").get_dataset(
        sequence_length={"targets": 3}, split="train", shuffle=True
    )
    lengths = [len(e["targets"]) for e in dataset.take(3).as_numpy_iterator()]
    assert all(1 <= n <= 3 for n in lengths)


def test_mixtures_reach_seqio_whatever_the_order(registered):
    registered("registry_mixture", {"registry_b": 3, "registry_a": 1})
    registered("registry_a", ListSource({"train": examples(3, "a")}))
    registered("registry_b", ListSource({"train": examples(3, "b")}))
    found = seqio_bridge.find("registry_mixture")
    assert isinstance(found, seqio.Mixture)
    assert {task.name for task in found.tasks} == {"registry_b", "registry_a"}
    assert seqio_bridge.task_rates("registry_mixture") == {"registry_b": 0.75, "registry_a": 0.25}


def test_rates_of_sub_mixtures_multiply(registered):
    for name in "abc":
        registered(f"registry_{name}", ListSource({"train": examples(2)}))
    registered("registry_inner", {"registry_a": 1, "registry_b": 4})
    registered("registry_outer", {"registry_inner": 2, "registry_c": 1, "registry_a": 1})
    rates = tasks.task_rates("registry_outer")
    expected = {"registry_a": 0.5 / 5 + 0.25, "registry_b": 0.5 * 4 / 5, "registry_c": 0.25}
    assert rates == pytest.approx(expected)
    # SeqIO divides a sub-mixture's rate in the same way.
    assert seqio_bridge.task_rates("registry_outer") == pytest.approx(expected)


def test_a_mixture_that_contains_itself(registered):
    registered("registry_p", {"registry_q": 1})
    registered("registry_q", {"registry_p": 1})
    with pytest.raises(UserError, match="contains itself: registry_p > registry_q > registry_p"):
        tasks.task_rates("registry_p")


def test_names_are_unique_and_rates_positive(registered):
    registered("registry_once", ListSource({"train": examples(1)}))
    with pytest.raises(UserError, match="'registry_once' is registered already"):
        registered("registry_once", ListSource({"train": examples(1)}))
    with pytest.raises(UserError, match=r"gives 'registry_once' the rate 0\.0"):
        tasks.register_mixture("registry_zero", {"registry_once": 0})
    with pytest.raises(UserError, match="has no members"):
        tasks.register_mixture("registry_none", {})
    registered("registry_once_mixture", {"registry_once": 1})
    with pytest.raises(UserError, match=r"is a mixture \(of registry_once\); expected a task"):
        tasks.get_task("registry_once_mixture")


def test_unknown_names_get_the_nearest(registered):
    registered("registry_subtraction", ListSource({"train": examples(1)}))
    with pytest.raises(UserError, match=r"'registry_substraction'.*'registry_subtraction'"):
        tasks.get("registry_substraction")
    with pytest.raises(UserError, match=r"'registry_substraction'.*'registry_subtraction'"):
        seqio_bridge.find("registry_substraction")


def test_modules_are_loaded_by_name(tmp_path, monkeypatch):
    (tmp_path / "my_registry_tasks.py").write_text(
        "from tlm_jax.data import sources, tasks\n"
        "tasks.register_task('registry_mine', sources.ListSource({'train': []}))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert "registry_mine" in tasks.load_tasks(["my_registry_tasks"])
    finally:
        tasks.unregister("registry_mine")
        sys.modules.pop("my_registry_tasks", None)
    with pytest.raises(UserError, match="cannot import module 'my_registry_task'"):
        tasks.load_tasks(["my_registry_task"])


def test_a_run_has_the_tasks_of_its_own_modules_only(tmp_path, monkeypatch):
    """Two modules give one name, and a third imports the first."""
    for module, text in (("one", "first"), ("two", "second")):
        (tmp_path / f"registry_module_{module}.py").write_text(
            "from tlm_jax.data import sources, tasks\n"
            f"example = {{'id': '1', 'inputs': '', 'targets': {text!r}}}\n"
            "source = sources.ListSource({'train': [example]})\n"
            "tasks.register_task('registry_shared', source)\n"
        )
    (tmp_path / "registry_module_three.py").write_text("import registry_module_one\n")
    monkeypatch.syspath_prepend(tmp_path)

    def read(*modules: str) -> str:
        tasks.load_tasks([f"registry_module_{module}" for module in modules])
        example = tasks.get_task("registry_shared").source.example("train", 0)
        assert "registry_shared" in seqio.TaskRegistry.names()
        return str(example["targets"])

    try:
        assert read("three") == "first"
        assert read("two") == "second"
        assert read("one") == "first"
        tasks.load_tasks()
        assert read("three") == "first"
        tasks.load_tasks([])
        assert "registry_shared" not in seqio.TaskRegistry.names()
        with pytest.raises(UserError, match="no task or mixture named 'registry_shared'"):
            tasks.get("registry_shared")
        with pytest.raises(UserError, match="'registry_shared' is registered already"):
            read("two", "one")
    finally:
        tasks.unregister("registry_shared")
        for module in ("one", "two", "three"):
            sys.modules.pop(f"registry_module_{module}", None)


def test_a_wrong_split_is_named():
    with pytest.raises(UserError, match=r"no split 'valid': expected one of train, validation\."):
        ListSource({"train": [], "validation": []}).check_split("valid")


def test_integer_arrays_are_tokens_already(registered):
    task = registered("registry_arrays", ListSource({"train": []}), features=("targets",))
    record = {
        "id": "r",
        "targets": np.array([0, 5, 1]),
        "teacher_logprobs": np.zeros((3, 2), np.float32),
    }
    result = tokenize([record, record], task, task.vocabulary)
    assert isinstance(result, TokenizedExamples)
    assert result.features["targets"].values.tolist() == [0, 5, 1, 0, 5, 1]
    assert result.features["teacher_logprobs"].values.shape == (6, 2)
    assert result.features["teacher_logprobs"].values.dtype == np.float32


def test_fields_are_checked(registered):
    task = registered("registry_fields", ListSource({"train": []}))
    with pytest.raises(UserError, match="example 'r': no field 'targets'; it has id, inputs"):
        tokenize([{"id": "r", "inputs": "x"}], task, task.vocabulary)
    wrong = {"id": "r", "inputs": "x", "targets": "yz", "teacher": np.zeros((2, 1), np.float32)}
    with pytest.raises(UserError, match="teacher has 2 steps but targets 3 tokens, EOS included"):
        tokenize([wrong], task, task.vocabulary)


def test_tasks_load_and_feed_a_run_without_tensorflow():
    code = (
        "import sys\n"
        "from tlm_jax.data import tasks\n"
        "from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig\n"
        "tasks.load_tasks()\n"
        "lengths = {'inputs': 64, 'targets': 64}\n"
        "config = PipelineConfig('addition_scratchpad', lengths, 4, packing_window=8)\n"
        "with Pipeline(config) as pipeline:\n"
        "    next(pipeline)\n"
        "heavy = {'tensorflow', 'seqio', 'flax', 'optax'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_embedded_tasks_give_seqio_the_same_tokens():
    name = "word_problems_cot_zero_shot"
    tasks.load_tasks()
    ours = RecordReader(tasks.get_task(name), "train").read(np.arange(3))
    dataset = seqio.get_mixture_or_task(name).get_dataset(
        sequence_length=None, split="train", shuffle=False
    )
    for i, example in enumerate(dataset.take(3).as_numpy_iterator()):
        for feature in ("inputs", "targets"):
            np.testing.assert_array_equal(ours.features[feature][i], example[feature])
