"""The encoder-decoder model: T5 1.0 and 1.1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from tlm_jax.models import cache as caches
from tlm_jax.models import masks
from tlm_jax.models.block import BlockContext, LayersMade
from tlm_jax.models.branches import branch_context
from tlm_jax.models.config import EncoderDecoderConfig
from tlm_jax.models.inner import NO_STATES, Keeps
from tlm_jax.models.projections import Embedder
from tlm_jax.models.stack import DecoderStack, Stack
from tlm_jax.sharding.rules import constrain
from tlm_jax.types import Batch


class EncoderDecoder(nn.Module):
    """Maps a batch to the decoder's hidden states, in training or with a cache."""

    config: EncoderDecoderConfig
    deterministic: bool = True
    emit_cache: bool = False
    keeps: Keeps = NO_STATES

    def setup(self) -> None:
        config = self.config
        self.token_embedder = Embedder(
            config.vocab_size,
            config.embed_dim,
            stddev=config.embedding_init_stddev,
            dtype=config.dtype,
        )
        self.input_dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
        self.encoder = Stack(
            config.encoder_spec(), config.dtype, self.deterministic, keeps=self.keeps.encoder
        )
        self.decoder = DecoderStack(
            config.decoder_spec(),
            config.dtype,
            self.deterministic,
            self.emit_cache,
            self.keeps.decoder,
            vocab_size=config.vocab_size,
            logits_kernel=not config.tie_embeddings,
            logits_width=config.token_width,
        )

    def __call__(self, batch: Batch) -> jax.Array:
        """Returns teacher-forced hidden states [B, T, D]."""
        encoded, encoder_segments = self.encode(batch)
        decoder_segments = masks.segments(
            batch["decoder_target_tokens"], batch.get("decoder_segment_ids")
        )
        hidden, _ = self.decode(
            batch["decoder_input_tokens"], decoder_segments, encoded, encoder_segments
        )
        return hidden

    def encode(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Returns encoded inputs [B, S, D], and the segments [B, S] they belong to."""
        tokens = batch["encoder_input_tokens"]
        segments = masks.segments(tokens, batch.get("encoder_segment_ids"))
        context = BlockContext(masks.same_segment(segments, segments), _rows(tokens))
        encoded, _ = self.encoder(self._embed(tokens), context)
        return encoded, segments

    def decode(
        self,
        tokens: jax.Array,
        segments: jax.Array,
        encoded: jax.Array,
        encoder_segments: jax.Array,
    ) -> tuple[jax.Array, list[LayersMade]]:
        """Returns the hidden states of all decoder positions, and the cache made if asked for."""
        mask = masks.same_segment(segments, segments) & masks.causal(tokens.shape[1])
        context = BlockContext(
            mask,
            _rows(tokens),
            encoded=encoded,
            cross_mask=masks.same_segment(segments, encoder_segments),
        )
        return self.decoder(self._embed(tokens), context)

    def branched(self, batch: Batch) -> jax.Array:
        """Returns the decoder's hidden states [B, T, D] of several targets in each row."""
        encoded, segments = self.encode(batch)
        tokens = batch["decoder_input_tokens"]
        everywhere = jnp.ones_like(tokens, bool)
        context = branch_context(batch)._replace(
            encoded=encoded, cross_mask=everywhere[:, :, None] & (segments > 0)[:, None]
        )
        return self.decoder(self._embed(tokens), context)[0]

    def prefill(self, batch: Batch) -> tuple[jax.Array, list[LayersMade], jax.Array]:
        """Encodes, and decodes BOS. Returns hidden [B, 1, D], layers' cache, encoder segments."""
        encoded, segments = self.encode(batch)
        # Inputs are one example a row here: every token that is no padding belongs to it.
        segments = (segments > 0).astype(jnp.int32)
        tokens = batch.get("decoder_input_tokens", jnp.zeros_like(segments[:, :1]))[:, :1]
        hidden, made = self.decode(tokens, jnp.ones_like(tokens), encoded, segments)
        return hidden, made, segments

    def step(self, tokens: jax.Array, cache: caches.Cache) -> tuple[jax.Array, list[LayersMade]]:
        """Returns the hidden states [B, 1, D] of one more token a row, and its keys and values."""
        context = caches.step_context(cache)
        return self.decoder(self._embed(tokens[:, None]), context, cache.layers)

    def _embed(self, tokens: jax.Array) -> jax.Array:
        x = constrain(self.token_embedder(tokens), ("batch", "length", "embed"))
        return self.input_dropout(x, deterministic=self.deterministic)


def _rows(tokens: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
