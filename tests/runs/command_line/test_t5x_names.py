"""Names of T5X are answered with the word for them here."""

import pytest

from tlm_jax import train
from tlm_jax.errors import UserError

START = ("--gin_file=gin_configs/quickstart.gin", "--dry_run")
ANSWERS = {
    '--gin.MIXTURE_OR_TASK_MODULE="a"': "TASK_MODULES, a list",
    "USE_CACHED_TASKS=False": "not needed",
    "--gin.SHUFFLE_TRAIN_EXAMPLES=False": "always shuffled",
    "RANDOM_SEED=1": "T5X's RANDOM_SEED is SEED.",
    "--gin.train.eval_period=3": "T5X's train.eval_period is EVAL_PERIOD.",
    "--gin.partitioning.PjitPartitioner.num_partitions=2": "is mesh.MeshShape.tensor.",
    "--gin.utils.SaveCheckpointConfig.period=3": "is CHECKPOINT_PERIOD.",
    "--gin.utils.SaveCheckpointConfig.dtype='float32'": "CHECKPOINT_PERIOD and KEEP_CHECKPOINTS.",
    "--tfds_data_dir=/data": "T5X's --tfds_data_dir is DATA_DIR=DIR.",
    "--gin_bindings=A=1": "T5X's --gin_bindings is --gin.NAME=VALUE",
}


@pytest.mark.parametrize(("argument", "answer"), ANSWERS.items())
def test_answer(argument, answer):
    with pytest.raises(UserError) as caught:
        train.main([*START, argument])
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "binding",
    ["DROPOUT_RATE=0.1", "LABEL_SMOOTHING=0.1", "Z_LOSS=0.0", "LOSS_NORMALIZING_FACTOR=64.0"],
)
def test_macros_that_t5x_and_we_share(binding, capsys):
    assert train.main([*START, binding]) == 0
    name, _, value = binding.partition("=")
    assert f"{name} = {value}" in capsys.readouterr().out


def test_a_gin_file_of_t5x_is_told_where_to_begin(tmp_path):
    path = tmp_path / "t5x.gin"
    path.write_text("from __gin__ import dynamic_registration\nfrom t5x import partitioning\n")
    with pytest.raises(UserError, match=r"begin with gin_configs/runs/train\.gin instead"):
        train.main([f"--gin_file={path}", "--dry_run"])
