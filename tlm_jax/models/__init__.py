"""Encoder-decoder and decoder-only transformers, as pure functions over plain parameter trees."""

from tlm_jax.models.api import (
    abstract_params,
    branched_hidden_states,
    encode,
    hidden_states,
    init,
    layer_states,
    logical_axes,
    logits,
    unembedding,
)
from tlm_jax.models.block import LayerCache
from tlm_jax.models.cache import Cache, permute_rows, repeat_rows, select_rows
from tlm_jax.models.cached import (
    decode_step,
    prefill,
    read_prefix,
    tile_kernels,
    unroll_layers,
)
from tlm_jax.models.config import (
    DecoderOnlyConfig,
    EncoderDecoderConfig,
    ModelConfig,
)
from tlm_jax.models.flops import forward_flops, train_flops
from tlm_jax.models.info import model_info, num_params
from tlm_jax.models.inner import InnerStates, Keeps, KeptLayers, LayerStates
from tlm_jax.models.layouts import check_shapes, to_layout
from tlm_jax.models.prefix import Prefix
from tlm_jax.models.specs import RotaryScaling

__all__ = [
    "Cache",
    "DecoderOnlyConfig",
    "EncoderDecoderConfig",
    "InnerStates",
    "Keeps",
    "KeptLayers",
    "LayerCache",
    "LayerStates",
    "ModelConfig",
    "Prefix",
    "RotaryScaling",
    "abstract_params",
    "branched_hidden_states",
    "check_shapes",
    "decode_step",
    "encode",
    "forward_flops",
    "hidden_states",
    "init",
    "layer_states",
    "logical_axes",
    "logits",
    "model_info",
    "num_params",
    "permute_rows",
    "prefill",
    "read_prefix",
    "repeat_rows",
    "select_rows",
    "tile_kernels",
    "to_layout",
    "train_flops",
    "unembedding",
    "unroll_layers",
]
