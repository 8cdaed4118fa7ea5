"""Tiny models, and adapters that PEFT made for them."""

import dataclasses
from pathlib import Path

from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.pretrained import open_pretrained

ROOT = Path(__file__).parents[2]


MODELS, ADAPTERS = ROOT / "tests" / "golden" / "hf", ROOT / "tests" / "golden" / "peft"


Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def opened(name, **choices):
    """Returns a model's source, its configuration with these choices, and its family."""
    source = open_pretrained(MODELS / name)
    config = dataclasses.replace(source.config, **choices)
    return source, config, families.family_of(source.hugging_face, name)
