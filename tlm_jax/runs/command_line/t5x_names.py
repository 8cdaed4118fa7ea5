"""Names of T5X's command line and gin files, with the word for each here."""

from __future__ import annotations

MACROS = {
    "MIXTURE_OR_TASK_MODULE": "TASK_MODULES, a list: TASK_MODULES=['my.tasks']",
    "USE_CACHED_TASKS": "not needed: examples are read by index, not from SeqIO's cache",
    "SHUFFLE_TRAIN_EXAMPLES": "not a choice: training examples are always shuffled, by SEED",
    "RANDOM_SEED": "SEED",
    "EVALUATOR_USE_MEMORY_CACHE": "not needed: evaluation sets are tokenized once",
    "EVALUATOR_NUM_EXAMPLES": "EVAL_EXAMPLES",
    "INFER_OUTPUT_DIR": "OUTPUT_DIR of tlm infer",
    "EVAL_OUTPUT_DIR": "OUTPUT_DIR of tlm eval",
    "CHECKPOINT_PATH": "CHECKPOINTS of tlm eval, MODEL of tlm infer",
    "JSON_WRITE_N_RESULTS": "not needed: all predictions are written to eval/TASK/step_N.jsonl",
    "ACTIVATION_DTYPE": "the field `dtype` of the model, models.EncoderDecoderConfig.dtype",
}
"""Macros of T5X's own gin files that have another name here, or none."""

BINDINGS = {
    "train.eval_period": "EVAL_PERIOD",
    "train.eval_steps": "EVAL_EXAMPLES, in examples rather than steps",
    "train.random_seed": "SEED",
    "train.use_hardware_rng": "not a choice: random numbers are the same on every device",
    "train.stats_period": "LOG_PERIOD",
    "train.total_steps": "TRAIN_STEPS",
    "train.model_dir": "MODEL_DIR",
    "train.model": "MODEL",
    "partitioning.PjitPartitioner.num_partitions": "mesh.MeshShape.tensor",
    "partitioning.PjitPartitioner.model_parallel_submesh": "mesh.MeshShape.tensor",
    "partitioning.PjitPartitioner": "mesh.MeshShape, with the sizes data, fsdp and tensor",
    "utils.SaveCheckpointConfig.period": "CHECKPOINT_PERIOD",
    "utils.SaveCheckpointConfig.keep": "KEEP_CHECKPOINTS",
    "utils.SaveCheckpointConfig": "CHECKPOINT_PERIOD and KEEP_CHECKPOINTS",
    "utils.RestoreCheckpointConfig.path": "INITIAL_CHECKPOINT_PATH",
    "utils.RestoreCheckpointConfig.mode": "RESTORE_OPTIMIZER says whether more than parameters",
    "utils.RestoreCheckpointConfig": "INITIAL_CHECKPOINT_PATH and RESTORE_OPTIMIZER",
    "utils.CheckpointConfig": "CHECKPOINT_PERIOD, KEEP_CHECKPOINTS and INITIAL_CHECKPOINT_PATH",
    "utils.DatasetConfig": "MIXTURE_OR_TASK_NAME, TASK_FEATURE_LENGTHS, BATCH_SIZE, PACK",
    "utils.create_learning_rate_scheduler": "a schedule of tlm_jax.optim.schedules",
    "adafactor.Adafactor": "optimizers.Adafactor",
    "trainer.Trainer.num_microbatches": "MICRO_BATCHES",
    "models.EncoderDecoderModel.z_loss": "Z_LOSS",
    "models.EncoderDecoderModel.label_smoothing": "LABEL_SMOOTHING",
    "models.EncoderDecoderModel.loss_normalizing_factor": "LOSS_NORMALIZING_FACTOR",
    "models.EncoderDecoderModel": "MODEL = @models.EncoderDecoderConfig()",
    "models.DecoderOnlyModel": "MODEL = @models.DecoderOnlyConfig()",
    "network.T5Config.dropout_rate": "DROPOUT_RATE, or models.EncoderDecoderConfig.dropout_rate",
    "network.T5Config": "models.EncoderDecoderConfig",
}
"""What T5X's gin files bind, longest names first where one begins another."""

FLAGS = {
    "--gin_bindings": "--gin.NAME=VALUE, once for each binding",
    "--tfds_data_dir": "DATA_DIR=DIR",
    "--seqio_additional_cache_dirs": "not needed: examples are read by index, not from a cache",
    "--run_mode": "a command each: tlm train, tlm eval, tlm infer",
    "--multiprocess_gpu": "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID",
    "--coordinator_address": "the environment variable JAX_COORDINATOR_ADDRESS",
    "--process_count": "the environment variable JAX_NUM_PROCESSES",
    "--process_index": "the environment variable JAX_PROCESS_ID",
}


def macro(name: str) -> str:
    """Returns a sentence on a macro of T5X's, or an empty string."""
    return _sentence(name, MACROS.get(name))


def binding(name: str) -> str:
    """Returns a sentence on what T5X binds under `name`, or an empty string."""
    for known in sorted(BINDINGS, key=len, reverse=True):
        if name == known or name.startswith(known + "."):
            return _sentence(name, BINDINGS[known])
    return ""


def flag(name: str) -> str:
    """Returns a sentence on a flag of T5X's mains, or an empty string."""
    return _sentence(name, FLAGS.get(name))


def _sentence(name: str, word: str | None) -> str:
    if word is None:
        return ""
    return f" T5X's {name} is {word}."
