"""The decoder-only model: causal or prefix language model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from tlm_jax.models import cache as caches
from tlm_jax.models import masks
from tlm_jax.models.block import BlockContext, LayersMade
from tlm_jax.models.branches import branch_context
from tlm_jax.models.config import DecoderOnlyConfig
from tlm_jax.models.inner import NOTHING, KeptLayers
from tlm_jax.models.norms import Norm
from tlm_jax.models.prefix import Prefix, behind_prefix
from tlm_jax.models.projections import Embedder, Projection
from tlm_jax.models.stack import DecoderStack
from tlm_jax.sharding.rules import constrain
from tlm_jax.types import Batch


class LanguageModel(nn.Module):
    """Embeddings and decoder stack; named `decoder` within `DecoderOnly`, as in T5X."""

    config: DecoderOnlyConfig
    deterministic: bool = True
    emit_cache: bool = False
    keeps: KeptLayers = NOTHING

    def setup(self) -> None:
        config = self.config
        self.token_embedder = Embedder(
            config.vocab_size,
            config.token_width,
            stddev=config.embedding_init_stddev,
            dtype=config.dtype,
        )
        if config.position == "learned":
            assert config.max_positions is not None
            self.position_embedder = Embedder(
                config.max_positions + config.position_offset,
                config.embed_dim,
                axes=("positions", "embed"),
                stddev=config.embedding_init_stddev,
                dtype=config.dtype,
            )
        if config.word_embed_dim is not None:
            # E stays whole: a parameter is split over fsdp once, and D is the larger.
            self.project_in = Projection(config.embed_dim, (None, "embed"), dtype=config.dtype)
            self.project_out = Projection(config.token_width, ("embed", None), dtype=config.dtype)
        if config.embedding_norm:
            self.embedding_norm = Norm(config.norm_spec(), config.dtype)
        self.input_dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
        self.stack = DecoderStack(
            config.decoder_spec(),
            config.dtype,
            self.deterministic,
            self.emit_cache,
            self.keeps,
            vocab_size=config.vocab_size,
            logits_kernel=not config.tie_embeddings,
            logits_bias=config.logits_bias,
            logits_width=config.token_width,
        )
        nn.share_scope(self, self.stack)

    def __call__(
        self,
        tokens: jax.Array,
        context: BlockContext,
        cache: caches.Cache | None = None,
        prefix: Prefix | None = None,
    ) -> tuple[jax.Array, list[LayersMade]]:
        if prefix is not None:
            context = behind_prefix(context, prefix)
        x = self.token_embedder(tokens) * self.config.embedding_scale
        if self.config.word_embed_dim is not None:
            x = self.project_in(x)
        if self.config.position == "learned":
            x += self.position_embedder(context.positions + self.config.position_offset)
        if self.config.embedding_norm:
            x = self.embedding_norm(x)
        x = constrain(x, ("batch", "length", "embed"))
        x = self.input_dropout(x, deterministic=self.deterministic)
        x, made = self.stack(
            x,
            context,
            None if cache is None else cache.layers,
            None if prefix is None else prefix.layers,
        )
        return x if self.config.word_embed_dim is None else self.project_out(x), made


class DecoderOnly(nn.Module):
    """Maps a batch to hidden states, in training or with a cache."""

    config: DecoderOnlyConfig
    deterministic: bool = True
    emit_cache: bool = False
    keeps: KeptLayers = NOTHING

    def setup(self) -> None:
        self.decoder = LanguageModel(self.config, self.deterministic, self.emit_cache, self.keeps)

    def __call__(self, batch: Batch, prefix: Prefix | None = None) -> jax.Array:
        """Returns teacher-forced hidden states [B, T, D], or [B, T, E]; so do the following."""
        tokens = batch["decoder_input_tokens"]
        segments = masks.segments(batch["decoder_target_tokens"], batch.get("decoder_segment_ids"))
        rows = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        first = 0 if prefix is None else prefix.length
        positions = batch.get("decoder_positions", rows + first)
        return self._forward(batch, segments, positions, prefix)[0]

    def branched(self, batch: Batch, prefix: Prefix | None = None) -> jax.Array:
        """Returns hidden states [B, T, D] of a text and several continuations of it in each row."""
        context = branch_context(batch, prefix_lm=self.config.prefix_lm)
        return self.decoder(batch["decoder_input_tokens"], context, None, prefix)[0]

    def prefill(
        self, batch: Batch, valid: jax.Array, positions: jax.Array, prefix: Prefix | None = None
    ) -> tuple[jax.Array, list[LayersMade]]:
        """Returns hidden states [B, T, D] of the prompt, and the layers' keys and values."""
        return self._forward(batch, valid.astype(jnp.int32), positions, prefix)

    def step(
        self, tokens: jax.Array, cache: caches.Cache, prefix: Prefix | None = None
    ) -> tuple[jax.Array, list[LayersMade]]:
        """Returns the hidden states [B, 1, D] of one more token a row, and its keys and values."""
        return self.decoder(tokens[:, None], caches.step_context(cache), cache, prefix)

    def _forward(
        self,
        batch: Batch,
        segments: jax.Array,
        positions: jax.Array,
        before: Prefix | None = None,
    ) -> tuple[jax.Array, list[LayersMade]]:
        tokens = batch["decoder_input_tokens"]
        prefix = batch.get("decoder_causal_attention") if self.config.prefix_lm else None
        mask = masks.same_segment(segments, segments) & masks.causal(tokens.shape[1], prefix)
        return self.decoder(tokens, BlockContext(mask, positions), None, before)
