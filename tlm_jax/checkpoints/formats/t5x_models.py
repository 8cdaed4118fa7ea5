"""Tells which of T5X's models some parameters are of, and lays out a model of ours as T5X does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families import causal, same_model
from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray
from tlm_jax.models import layouts
from tlm_jax.models.config import DecoderOnlyConfig, EncoderDecoderConfig, ModelConfig


def config_from_arrays(
    arrays: Mapping[str, LazyArray], where: str = "the checkpoint"
) -> ModelConfig:
    """Returns the T5X model (t5, scalable_t5 or decoder_only) that has these parameters.

    Names and shapes tell all but the activation function: two input projections are GeGLU (T5 1.1),
    one is ReLU (T5 1.0), as in T5X's gin files.

    Args:
      arrays: by T5X's '/'-joined names; layers scanned or not, heads split or joined.
      where: for messages.

    Raises:
      UserError: a parameter that all of these models have is missing, or has another number of
        axes.
    """

    def shape(ending: str, *ranks: int) -> tuple[int, ...]:
        name = next((name for name in sorted(arrays) if name.endswith(ending)), None)
        if name is None:
            raise UserError(f"{where} has no parameter {ending!r}: it is not of a T5X model")
        found = arrays[name].shape
        if len(found) not in ranks or 0 in found:
            raise UserError(
                f"{where}: {name!r} has shape {list(found)}, expected "
                f"{' or '.join(map(str, ranks))} axes with entries: it is not of a T5X model"
            )
        return found

    def num_layers(stack: str) -> int:
        if scanned:
            return shape(f"{stack}/{stack}/mlp/wo/kernel", 3)[1]
        return len({name.split("/")[1] for name in arrays if name.startswith(f"{stack}/layers_")})

    scanned = "decoder/decoder/mlp/wo/kernel" in arrays
    vocab_size, embed_dim = shape("token_embedder/embedding", 2)
    num_heads, *_, buckets = shape("relpos_bias/rel_embedding", 2, 3)
    query = shape("attention/query/kernel", 2, 3, 4)
    # [D, (L,) N·H] or [D, (L,) N, H].
    heads_axis = 2 if scanned else 1
    joined = query[heads_axis] if len(query) == heads_axis + 1 else num_heads * query[-1]
    gated = any(name.endswith("mlp/wi_0/kernel") for name in arrays)
    fields: dict[str, Any] = {
        "vocab_size": vocab_size,
        "embed_dim": embed_dim,
        "num_heads": num_heads,
        "head_dim": joined // num_heads,
        "mlp_dim": shape("mlp/wo/kernel", 2, 3)[0],
        "mlp_activations": ("gelu", "linear") if gated else ("relu",),
        "tie_embeddings": "decoder/logits_dense/kernel" not in arrays,
        "scan_layers": scanned,
        "relpos_buckets": buckets,
        "relpos_per_layer": "decoder/relpos_bias/rel_embedding" not in arrays,
    }
    if any(name.startswith("encoder/") for name in arrays):
        return EncoderDecoderConfig(
            num_encoder_layers=num_layers("encoder"),
            num_decoder_layers=num_layers("decoder"),
            **fields,
        )
    return DecoderOnlyConfig(
        num_layers=num_layers("decoder"), position="relative", attention_scale=1.0, **fields
    )


def arranged_for_t5x(arrays: Mapping[str, LazyArray], config: ModelConfig) -> dict[str, LazyArray]:
    """Returns parameters as one of T5X's models has them.

    With `config.scan_layers` that is scalable_t5: layers stacked at axis 1, heads split, a relative
    bias for every layer. Without, it is t5 or decoder_only: heads joined, one bias for a stack.

    Args:
      arrays: by our names, layers unrolled and heads joined.
      config: the model, and whether to scan layers.

    Raises:
      UserError: T5X has no such model, or layers not scanned have different biases.
    """
    config = dataclasses.replace(config, relpos_per_layer=config.scan_layers)
    if config.scan_layers:
        arrays = layouts.split_heads(arrays, config.head_dim)
    try:
        arranged = layouts.arrange(arrays, config)
    except UserError as error:
        raise UserError(
            f"{error} T5X's models without scanned layers all share it: write scanned layers"
        ) from None
    _check_t5x_has_it(arranged, config)
    return dict(sorted(arranged.items()))


def _check_t5x_has_it(arranged: Mapping[str, LazyArray], config: ModelConfig) -> None:
    try:
        found = config_from_arrays(arranged, "this model")
    except UserError as error:
        raise UserError(
            f"T5X has no model that does what this one does ({error}); write hf or native instead"
        ) from None
    config = causal(config)  # T5X's decoders see a prompt both ways where a batch says so.
    if same_model(found, config):
        return
    differing = [
        f"{field.name}={getattr(config, field.name)!r}"
        for field in dataclasses.fields(config)
        if not same_model(
            found, dataclasses.replace(found, **{field.name: getattr(config, field.name)})
        )
    ]
    raise UserError(
        f"T5X has no model that does what this one does ({', '.join(differing)}); write hf or "
        "native instead"
    )
