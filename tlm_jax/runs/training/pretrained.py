"""The existing model that a run starts from: its configuration, parameters and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax.checkpoints.families import model_differences
from tlm_jax.checkpoints.formats import native
from tlm_jax.checkpoints.loading import load_array, load_params, with_run_choices
from tlm_jax.checkpoints.optimizer_slots import load_optimizer_state
from tlm_jax.checkpoints.pretrained import Pretrained, open_pretrained
from tlm_jax.data.reading import Reading
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory
from tlm_jax.models.config import ModelConfig
from tlm_jax.runs.opened.trained_vocabulary import trained_fingerprint, trained_vocabulary_text
from tlm_jax.runs.training import console, files
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.trainable import of_model
from tlm_jax.training.state import TrainState
from tlm_jax.vocabularies import Vocabulary


def model_of(
    path: str,
    *,
    dtype: str = "float32",
    remat_policy: str = "none",
    scan_layers: bool = True,
    dropout_rate: float = 0.0,
    vocab_size: int | None = None,
) -> ModelConfig:
    """Returns the model that a checkpoint of any format is of, for `MODEL` in a gin file.

    Args:
      path: as INITIAL_CHECKPOINT_PATH.
      dtype: of activations.
      remat_policy: see `TransformerConfig`.
      scan_layers: whether layers are stacked.
      dropout_rate: when training.
      vocab_size: rows for tokens, if others than the checkpoint's (with RESIZE_VOCABULARY).
    """
    config = open_pretrained(path).config
    return with_run_choices(
        config,
        vocab_size=config.vocab_size if vocab_size is None else vocab_size,
        dtype=dtype,
        remat_policy=remat_policy,
        scan_layers=scan_layers,
        dropout_rate=dropout_rate,
    )


def initial_state(
    run: RunConfig, abstract: TrainState, state: TrainState
) -> tuple[Pretrained, TrainState]:
    """Loads what INITIAL_CHECKPOINT_PATH holds, each device its part.

    Args:
      run: the configuration.
      abstract: the train state's shapes, types and shardings.
      state: the state to start from otherwise.

    Raises:
      UserError: there is no model, or another one than the run's, or no optimizer state where it
        is wanted.
    """
    assert run.initial_checkpoint_path is not None
    source = open_pretrained(run.initial_checkpoint_path)
    params = load_params(
        source,
        run.model,
        of_model(abstract.params),
        resize_vocabulary=run.resize_vocabulary,
        announce=console.say,
    )
    state = state._replace(params={**state.params, **params})
    if run.restore_optimizer:
        slots = load_optimizer_state(source, run.model, abstract.opt_state)
        step = load_array("step", in_memory(np.asarray(source.step, np.int32)), abstract.step)
        state = state._replace(opt_state=slots, step=step)
    return source, state


def describe_model(
    model_dir: Path,
    run: RunConfig,
    source: Pretrained | None,
    vocabulary: Vocabulary,
    reading: Reading,
) -> None:
    """Writes model.json, vocabulary.json, and the tokenizer files of the model one starts from.

    With them MODEL_DIR can be converted, continued from and served like any other model. Says so
    where training gives the ids of that model another meaning, and where a run goes on with
    another model of the same parameters.
    """
    hugging_face: Any = None
    if source is not None:
        hugging_face = source.hugging_face
    elif (model_dir / native.MODEL_FILE).is_file():
        try:
            before, hugging_face = native.read_model_file(model_dir)
        except UserError as error:
            console.say(f"note: {error}; it is written anew")
        else:
            for difference in model_differences(before, run.model):
                console.say(f"note: {model_dir} and the model of this run differ in {difference}")
    text = native.model_file_text(run.model, hugging_face)
    files.write_text(model_dir / native.MODEL_FILE, text)
    for name, content in (source.companions if source is not None else {}).items():
        data = content.read_bytes() if isinstance(content, Path) else content
        files.write_bytes(model_dir / name, data)
        if name == native.VOCABULARY_FILE and trained_fingerprint(data) != vocabulary.fingerprint:
            console.say(
                "note: the checkpoint to start from was trained with another vocabulary: its ids "
                "stand for other tokens now"
            )
    trained = trained_vocabulary_text(vocabulary, reading)
    files.write_text(model_dir / native.VOCABULARY_FILE, trained)
