"""T5X's own trainer learns one of our tasks and says how many answers are right."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.data.formatted import EMBEDDED_VOCABULARY
from tlm_jax.vocabularies.base import vocabulary_file

ROOT = Path(__file__).parents[1]
TASK = "word_problems_easy_answer_zero_shot"
RUN = """
from __gin__ import dynamic_registration
import __main__ as train_script
import seqio
from t5x import utils
from t5x.examples.t5 import network
from tlm_jax import seqio_tasks
include 't5x/examples/t5/t5_1_1/tiny.gin'
include 't5x/configs/runs/pretrain.gin'
MIXTURE_OR_TASK_NAME = '{task}'
TASK_FEATURE_LENGTHS = {{'inputs': 64, 'targets': 32}}
TRAIN_STEPS = 2
MODEL_DIR = '{model_dir}'
BATCH_SIZE = 8
USE_CACHED_TASKS = False
DROPOUT_RATE = 0.0
seqio.SentencePieceVocabulary.sentencepiece_model_file = '{vocabulary}'
network.T5Config.vocab_size = 1024
train_script.train:
  eval_steps = 1
  eval_period = 2
  infer_eval_dataset_cfg = @infer_eval/utils.DatasetConfig()
  inference_evaluator_cls = @seqio.Evaluator
infer_eval/utils.DatasetConfig:
  mixture_or_task_name = %MIXTURE_OR_TASK_NAME
  task_feature_lengths = %TASK_FEATURE_LENGTHS
  split = 'validation'
  batch_size = %BATCH_SIZE
  shuffle = False
  seed = 42
  pack = False
seqio.Evaluator:
  logger_cls = [@seqio.JSONLogger]
  num_examples = 8
  use_memory_cache = True
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("t5x") is None,
    reason="t5x is not installed: put a checkout of google-research/t5x on PYTHONPATH",
)
def test_training_and_evaluation(tmp_path):
    spec = importlib.util.find_spec("t5x")
    assert spec is not None
    assert spec.origin is not None
    script = Path(spec.origin).with_name("train.py")
    file = tmp_path / "run.gin"
    vocabulary = vocabulary_file(EMBEDDED_VOCABULARY.path)
    model_dir = tmp_path / "model"
    (model_dir / "inference_eval").mkdir(parents=True)  # SeqIO's JSONLogger makes no folder
    file.write_text(RUN.format(task=TASK, model_dir=model_dir, vocabulary=vocabulary))
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(script), f"--gin_file={file}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, done.stderr
    (metrics,) = model_dir.rglob(f"{TASK}-metrics.jsonl")
    assert '"accuracy": 0.0' in metrics.read_text()
