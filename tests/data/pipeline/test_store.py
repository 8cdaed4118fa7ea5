"""Any SeqIO task can be read by index, from memory or from files of an earlier run."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tlm_jax.data.pipeline.materialized import MaterializedReader
from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.pipeline.store import open_readers, task_vocabulary
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import CacheWriter, Header, TopK
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow, content_key
from tlm_jax.vocabularies import ByteVocabulary
from tlm_jax.vocabularies.token_bytes import token_table

RUNS = []
PREPROCESSED = []
TEXTS = [f"text number {i}" for i in range(6)]


def make_dataset(split, shuffle_files, seed=None):
    RUNS.append(split)
    texts = list(TEXTS)
    return tf.data.Dataset.from_tensor_slices({"inputs": texts, "targets": texts})


def preprocess(dataset):
    PREPROCESSED.append(dataset)
    return dataset


@pytest.fixture(scope="module", autouse=True)
def seqio_tasks():
    for name in ("store_plain", "store_upper"):
        seqio.TaskRegistry.add(
            name,
            source=seqio.FunctionDataSource(make_dataset, splits=["train"]),
            output_features={
                "inputs": seqio.Feature(seqio.ByteVocabulary()),
                "targets": seqio.Feature(seqio.ByteVocabulary()),
            },
            preprocessors=[
                preprocess,
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos,
            ],
        )
    seqio.MixtureRegistry.add("store_mixture", [("store_plain", 1), ("store_upper", 3)])
    yield
    seqio.MixtureRegistry.remove("store_mixture")
    for name in ("store_plain", "store_upper"):
        seqio.TaskRegistry.remove(name)


def test_a_foreign_task_is_read_by_index():
    reader = MaterializedReader(seqio.TaskRegistry.get("store_plain"), "train", {})
    assert reader.num_examples == 6
    read = reader.read(np.array([4, 0]))
    expected = [*ByteVocabulary().encode("text number 4").tolist(), 1]
    assert read.features["targets"][0].tolist() == expected
    assert read.ids == ("store_plain-4", "store_plain-0")
    assert read.records[1]["inputs"] == "text number 0"


def test_the_file_cache_is_read_instead_of_the_task(tmp_path):
    task = seqio.TaskRegistry.get("store_plain")
    lengths = {"inputs": 16, "targets": 16}
    first = MaterializedReader(task, "train", lengths, cache_dir=str(tmp_path))
    runs = len(PREPROCESSED)
    second = MaterializedReader(task, "train", lengths, cache_dir=str(tmp_path))
    assert len(PREPROCESSED) == runs
    for name in ("inputs", "targets"):
        a, b = (r.read(np.arange(6)).features[name] for r in (first, second))
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.lengths, b.lengths)
    # Other lengths may change what the task's preprocessors do.
    MaterializedReader(task, "train", {"inputs": 8, "targets": 8}, cache_dir=str(tmp_path))
    assert len(PREPROCESSED) == runs + 1


def test_the_file_cache_of_other_data_is_not_read(tmp_path, monkeypatch):
    task = seqio.TaskRegistry.get("store_plain")
    MaterializedReader(task, "train", {}, cache_dir=str(tmp_path))
    monkeypatch.setitem(globals(), "TEXTS", [*TEXTS[:5], "text nUmber 5"])
    reader = MaterializedReader(task, "train", {}, cache_dir=str(tmp_path))
    assert reader.read(np.array([5])).records[0]["targets"] == "text nUmber 5"


def test_an_unfinished_cache_is_not_read(tmp_path):
    task = seqio.TaskRegistry.get("store_plain")
    MaterializedReader(task, "train", {}, cache_dir=str(tmp_path))
    (folder,) = tmp_path.iterdir()
    (folder / "done.json").unlink()
    (folder / "targets.values.npy").write_bytes(b"half a file")
    reader = MaterializedReader(task, "train", {}, cache_dir=str(tmp_path))
    assert reader.read(np.array([5])).records[0]["targets"] == "text number 5"


def test_a_foreign_mixture_goes_through_the_pipeline():
    config = PipelineConfig("store_mixture", {"inputs": 16, "targets": 16}, 8, pack=False)
    with Pipeline(config) as pipeline:
        ids = [row[0] for _ in range(8) for row in next(pipeline).example_ids]
    assert sum(i.startswith("store_upper") for i in ids) == 48
    assert {i.rpartition("-")[2] for i in ids} == set("012345")


def test_a_foreign_task_keeps_its_vocabulary():
    _, readers = open_readers(
        "store_plain", "train", feature_lengths={}, vocabulary=ByteVocabulary()
    )
    assert readers["store_plain"].vocabulary == ByteVocabulary()
    with pytest.raises(UserError, match="'store_plain' has its own vocabulary"):
        open_readers(
            "store_plain", "train", feature_lengths={}, vocabulary=ByteVocabulary(extra_ids=1)
        )
    with pytest.raises(UserError, match="'store_plain' has no split 'test'; it has train"):
        open_readers("store_plain", "test", feature_lengths={})


@pytest.mark.parametrize("name", ["store_plain", "store_plain_with_teacher", "store_mixture"])
def test_the_vocabulary_of_a_foreign_task_is_known_without_reading_it(name):
    runs = len(RUNS)
    assert task_vocabulary(name) == ByteVocabulary()
    assert len(RUNS) == runs


def test_a_foreign_task_without_targets_is_told():
    task = seqio.Task(
        "store_texts",
        source=seqio.FunctionDataSource(make_dataset, splits=["train"]),
        output_features={"text": seqio.Feature(seqio.ByteVocabulary())},
        preprocessors=[],
    )
    with pytest.raises(UserError, match="'store_texts' has the features text; expected 'targets'"):
        MaterializedReader(task, "train", {})


def test_a_foreign_task_is_joined_with_a_teacher(tmp_path):
    """Its examples are known by their texts, as decoded from its tokens."""
    table = token_table(ByteVocabulary())
    header = Header("made up", "teacher-1", table.fingerprint, table.size)
    with CacheWriter(tmp_path, header, encoding=TopK(1), table=table) as writer:
        for i in range(5):
            text = f"text number {i}"
            ids = np.append(ByteVocabulary().encode(text), 1).astype(np.int32)
            tail = np.full(len(ids), np.log(0.5), np.float32)
            weights = np.ones(len(ids), np.float32)
            steps = StepDistributions(ids[:, None], tail[:, None], tail, weights)
            writer.write(TeacherRow(content_key(text, text), str(i), ids, steps))
    config = PipelineConfig(
        "store_plain_with_teacher",
        {"inputs": 16, "targets": 16},
        batch_size=2,
        pack=True,
        num_epochs=1,
        teacher=TeacherJoin([str(tmp_path)]),
    )
    with Pipeline(config) as pipeline:
        for batch in pipeline:
            scored = batch.arrays["teacher_weights"] == 1
            targets = batch.arrays["decoder_target_tokens"]
            np.testing.assert_array_equal(
                batch.arrays["teacher_token_ids"][..., 0][scored], targets[scored]
            )
        counts = pipeline.teacher.counts
    assert (counts.matched, counts.missing) == (5, 1)
    assert counts.first_unmatched == "'store_plain-5' (missing)"
