"""Reads a model with what transformers recorded of it, and makes our batches of its inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from tlm_jax import models
from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.formats.hugging_face import CONFIG
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.types import Batch, Params

REFERENCE = "reference.npz"


@dataclasses.dataclass(frozen=True)
class HuggingFaceRecording:
    """One directory: the model as we read it, and everything that transformers recorded.

    Attributes:
      directory: where it is.
      family: of the model; it knows transformers' names.
      config: the model, in float32 and with unrolled layers.
      params: its parameters in float32.
      arrays: of `reference.npz`.
    """

    directory: Path
    family: families.Family
    config: models.ModelConfig
    params: Params
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def load(cls, directory: Path) -> HuggingFaceRecording:
        """Reads a directory; see `hf_agreement.check_directory`."""
        for name in (CONFIG, REFERENCE):
            if not (directory / name).exists():
                raise UserError(
                    f"no {directory / name}: expected a folder with {CONFIG}, safetensors and "
                    f"{REFERENCE}"
                )
        source = open_pretrained(directory, "hf")
        assert source.hugging_face is not None
        # Few layers compile faster unrolled, and gradients then have transformers' shapes.
        config = dataclasses.replace(source.config, dtype="float32", scan_layers=False)
        params = jax.tree.map(jnp.asarray, load_params(source, config))
        family = families.family_of(source.hugging_face, str(directory / CONFIG))
        with np.load(directory / REFERENCE) as arrays:
            return cls(directory, family, config, params, dict(arrays))


def decoder_batch(
    ids: Int[np.ndarray, "B t"], mask: Int[np.ndarray, "B t"], *, length: int
) -> Batch:
    """Returns decoder-only rows, padded on the right to `length`, in [B, length].

    The loss is of every real token that follows a real one; as prompts, they end with the last.

    Args:
      ids: padded on either side.
      mask: 1 where there is text.
      length: T.
    """
    ids, mask = _padded(ids, length), _padded(mask, length)
    after = np.zeros_like(mask[:, :1])
    weights = np.hstack([mask[:, 1:] * mask[:, :-1], after])
    batch = _as_batch(
        decoder_input_tokens=ids,
        decoder_target_tokens=np.hstack([ids[:, 1:], after]),
        decoder_segment_ids=mask,
        decoder_positions=_positions(mask),
        decoder_causal_attention=mask,
    )
    return {**batch, "decoder_loss_weights": jnp.asarray(weights, jnp.float32)}


def encoder_batch(ids: Int[np.ndarray, "B S"], mask: Int[np.ndarray, "B S"]) -> Batch:
    """Returns the encoder's inputs; `mask` is 1 where there is text."""
    return _as_batch(
        encoder_input_tokens=ids, encoder_segment_ids=mask, encoder_positions=_positions(mask)
    )


def target_batch(
    targets: Int[np.ndarray, "B t"], real: Bool[np.ndarray, "B t"], *, length: int
) -> Batch:
    """Returns the decoder's targets padded to `length`, and its inputs, which start with 0."""
    targets, mask = _padded(np.where(real, targets, 0), length), _padded(real, length)
    batch = _as_batch(
        decoder_input_tokens=np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        decoder_target_tokens=targets,
        decoder_segment_ids=mask,
        decoder_positions=_positions(mask),
    )
    return {**batch, "decoder_loss_weights": jnp.asarray(mask, jnp.float32)}


def _padded(array: np.ndarray, length: int) -> Int[np.ndarray, "B T"]:
    return np.pad(array.astype(np.int32), ((0, 0), (0, length - array.shape[1])))


def _positions(mask: Int[np.ndarray, "B T"]) -> Int[np.ndarray, "B T"]:
    return np.maximum(np.cumsum(mask, axis=1) - 1, 0)


def _as_batch(**arrays: np.ndarray) -> Batch:
    return {name: jnp.asarray(array, jnp.int32) for name, array in arrays.items()}
