"""The tiny models of tests/golden/hf, in float32."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained

GOLDEN = Path(__file__).parents[1] / "golden" / "hf"


def load(family: str) -> tuple[models.ModelConfig, Any]:
    """Returns a model and its parameters."""
    source = open_pretrained(GOLDEN / family)
    config = dataclasses.replace(source.config, dtype="float32")
    return config, jax.tree.map(jnp.asarray, load_params(source, config))
