"""SeqIO's own tools, which T5X is made of, on our tasks: one import enters them all."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import gin
import numpy as np
import pytest
import seqio
from fresh_python import run_python

from tlm_jax import seqio_tasks
from tlm_jax.data import seqio_bridge, tasks
from tlm_jax.data.sources import ListSource
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import ByteVocabulary

ROOT = Path(__file__).parents[1]
EMBEDDED = "word_problems_easy_answer_zero_shot"
LENGTHS = {"inputs": 96, "targets": 48}
QUESTIONS = [
    ("numeric", "12", [], "The answer is 12"),
    ("numeric", "7", [], "So it is 7.\nThe answer is 7"),
    ("choice", "B", ["red", "blue"], "The answer is (B)"),
    ("text", "", [], "nothing is known"),
]


@pytest.fixture
def sums():
    """Registers a task of four questions, one of them without an answer; returns its name."""
    name = "seqio_sums"
    examples = [
        {
            "id": f"q{i}",
            "inputs": f"question {i}",
            "targets": targets,
            "answer": answer,
            "kind": kind,
            "options_json": str(options).replace("'", '"'),
        }
        for i, (kind, answer, options, targets) in enumerate(QUESTIONS)
    ]
    tasks.register_task(name, ListSource({"validation": examples}))
    yield name
    tasks.unregister(name)


@pytest.fixture
def other_vocabulary():
    """Lets a test choose the vocabulary of all tasks; they have their own again afterwards."""
    yield seqio_tasks.register
    seqio_tasks.register()


def evaluator(name, **options):
    return seqio.Evaluator(
        mixture_or_task_name=name,
        feature_converter=seqio.EncDecFeatureConverter(pack=False),
        eval_split="validation",
        **options,
    )


def accuracy_of(name, answers, **options):
    """Returns SeqIO's metrics for a model that writes `answers`."""
    vocabulary = seqio.get_mixture_or_task(name).output_features["targets"].vocabulary
    written = [[*vocabulary.encode(text), vocabulary.eos_id] for text in answers]
    width = max(map(len, written))

    def predict(dataset):
        rows = [int(i) for i, _ in dataset.as_numpy_iterator()]
        return [(i, written[i] + [0] * (width - len(written[i]))) for i in reversed(rows)]

    # Kept until its thread has ended: the last to know it has to wait for that.
    with contextlib.closing(evaluator(name, **options)) as evaluated:
        metrics, _ = evaluated.evaluate(compute_metrics=True, predict_fn=predict)
        return metrics.result()[name]


def test_all_tasks_and_mixtures_are_in_seqio():
    ours = tasks.load_tasks()
    assert len(ours) > 100
    for name, entry in ours.items():
        assert isinstance(seqio.get_mixture_or_task(name), seqio.Task) == isinstance(
            entry, tasks.Task
        )


@pytest.mark.parametrize("order", ["seqio, tlm_jax.seqio_tasks", "tlm_jax.seqio_tasks, seqio"])
def test_before_or_after_seqio(order, tmp_path):
    code = f"import {order}\nprint(len(seqio.TaskRegistry.names()) > 100)"
    assert run_python(code, directory=tmp_path) == "True\n"


def test_beside_modules_of_t5x_that_come_first_on_the_path(tmp_path):
    """`python t5x/train.py` puts T5X's folder in front, with a `tasks.py` and more in it."""
    for name in ("tasks", "models", "losses", "metrics", "checkpoints", "data", "train_state"):
        (tmp_path / f"{name}.py").write_text("OF_T5X = True\n")
    (tmp_path / "train.py").write_text(
        "import seqio, tasks, tlm_jax.seqio_tasks\n"
        f"print(tasks.OF_T5X, '{EMBEDDED}' in seqio.TaskRegistry.names())\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "train.py")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "True True\n", done.stderr


def test_gin_files_of_t5x_import_it():
    with gin.unlock_config():
        gin.parse_config(f"import tlm_jax.seqio_tasks\nMIXTURE_OR_TASK_NAME = '{EMBEDDED}'")
    assert gin.query_parameter("%MIXTURE_OR_TASK_NAME") in seqio.TaskRegistry.names()
    gin.clear_config()


def test_the_evaluator_grades_by_our_rules(sums):
    answers = ["The answer is 12.0", "The answer is 8", "no idea", "The answer is 1"]
    metrics = accuracy_of(sums, answers)
    # The last question has no answer to be graded by.
    assert metrics == {"accuracy": pytest.approx(1 / 3), "unparsable_share": pytest.approx(1 / 3)}
    right = [targets for _, _, _, targets in QUESTIONS]
    assert accuracy_of(sums, right) == {"accuracy": 1.0, "unparsable_share": 0.0}


def test_a_task_without_answers_has_no_figures():
    assert seqio_tasks.exact_answer([{}, {"kind": "numeric", "answer": ""}], ["1", "2"]) == {}


def test_tasks_keep_their_own_metrics():
    def length(targets, predictions):
        return {"length": float(np.mean([len(text) for text in predictions]))}

    name = "seqio_own_metrics"
    example = {"id": "a", "inputs": "x", "targets": "yes", "kind": "text", "answer": "yes"}
    options = {"metric_fns": [length], "postprocess_fn": None}
    tasks.register_task(name, ListSource({"validation": [example]}), seqio_options=options)
    try:
        assert accuracy_of(name, ["four"]) == {"length": 4.0}
    finally:
        tasks.unregister(name)


def test_held_out_splits_of_embedded_tasks_end():
    task = seqio.TaskRegistry.get(EMBEDDED)
    for split in ("validation", "test", "ood"):
        assert task.source.num_input_examples(split) == seqio_bridge.HELD_OUT_EXAMPLES
    dataset = task.get_dataset(LENGTHS, split="validation", shuffle=True, num_epochs=1)
    ids = [example["id"] for example in dataset.as_numpy_iterator()]
    assert len(set(ids)) == len(ids) == seqio_bridge.HELD_OUT_EXAMPLES


def test_an_epoch_of_embedded_training_examples_ends():
    source = seqio.TaskRegistry.get(EMBEDDED).source
    assert source.num_input_examples("train") == seqio_bridge.TRAIN_EXAMPLES
    last = seqio.ShardInfo(seqio_bridge.TRAIN_EXAMPLES - 1, seqio_bridge.TRAIN_EXAMPLES)
    shard = source.get_dataset("train", shuffle=False, shard_info=last)
    assert len(list(shard.as_numpy_iterator())) == 1


@pytest.mark.parametrize("given", ["byte", ByteVocabulary(), seqio.ByteVocabulary()])
def test_the_vocabulary_can_be_chosen(given, other_vocabulary):
    other_vocabulary(vocabulary=given)
    for name in (EMBEDDED, "gsm8k_cot_zero_shot"):
        for feature in seqio.TaskRegistry.get(name).output_features.values():
            assert feature.vocabulary == seqio.ByteVocabulary()
    (example,) = seqio.TaskRegistry.get(EMBEDDED).get_dataset(LENGTHS, "test").take(1)
    text = example["targets_pretokenized"].numpy()
    assert example["targets"].numpy().tolist() == [*(byte + 3 for byte in text), 1]


def test_the_vocabulary_can_be_named_in_the_environment(tmp_path):
    code = (
        "import tlm_jax.seqio_tasks, seqio\n"
        f"print(seqio.TaskRegistry.get('{EMBEDDED}').output_features['inputs'].vocabulary.vocab_size)"
    )
    said = run_python(code, directory=tmp_path, TLM_JAX_VOCABULARY="byte+5")
    assert said == "264\n"  # 256 bytes, 3 special ids and 5 more


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bytes.txt", "cannot tell what vocabulary 'bytes.txt' is"),
        ("nowhere/spiece.model", "nowhere/spiece.model"),
    ],
)
def test_a_wrong_vocabulary_is_told(name, reason, monkeypatch, other_vocabulary):
    monkeypatch.setenv("TLM_JAX_VOCABULARY", name)
    with pytest.raises(UserError, match=f"^TLM_JAX_VOCABULARY={name}: .*{reason}"):
        seqio_tasks._register_as_named()
    with pytest.raises(UserError, match=reason):
        other_vocabulary(vocabulary=name)


@pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="seqio_cache_tasks needs Apache Beam: pip install 'tlm_jax[beam]'",
)
def test_a_task_is_cached_offline_and_read_from_there(tmp_path, other_vocabulary):
    module = tmp_path / "cached_sums.py"
    module.write_text(
        "import tlm_jax.seqio_tasks\n"
        "from tlm_jax.data import sources, tasks\n"
        "ROWS = [{'id': str(i), 'inputs': f'{i} + 1 =', 'targets': f'The answer is {i + 1}',\n"
        "         'kind': 'numeric', 'answer': str(i + 1)} for i in range(20)]\n"
        "tasks.register_task('seqio_cached', sources.ListSource({'validation': ROWS}))\n"
    )
    command = [sys.executable, "-m", "seqio.scripts.cache_tasks_main", "--tasks=seqio_cached"]
    done = subprocess.run(
        [
            *command,
            f"--output_cache_dir={tmp_path}",
            f"--module_import={module.stem}",
            "--min_shards=2",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )
    assert done.returncode == 0, done.stderr
    module.unlink()  # what follows knows no rows
    tasks.register_task("seqio_cached", ListSource({"validation": []}))
    try:
        task = seqio.TaskRegistry.get("seqio_cached")
        with seqio.test_utils.mock.patch.object(
            seqio.utils, "_GLOBAL_CACHE_DIRECTORIES", [str(tmp_path)]
        ):
            read = list(
                task.get_dataset(
                    LENGTHS, split="validation", use_cached=True, shuffle=False
                ).as_numpy_iterator()
            )
            assert sorted(int(example["id"]) for example in read) == list(range(20))
            for example in read:
                assert example["targets"].tolist() == [
                    *ByteVocabulary().encode(example["targets_pretokenized"].decode()).tolist(),
                    1,
                ]
            answers = [example["targets_pretokenized"].decode() for example in read]
            assert accuracy_of("seqio_cached", answers, use_cached=True)["accuracy"] == 1.0
    finally:
        tasks.unregister("seqio_cached")


def test_tasks_support_caching():
    for name in (EMBEDDED, "gsm8k_cot_zero_shot"):
        assert seqio.TaskRegistry.get(name).supports_caching
