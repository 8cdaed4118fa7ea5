"""How probable a model finds wrong paths and their corrected chains: before and after."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlm_jax.recipes.lema.forms import Pair
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.scoring.continuations import Scorer
from tlm_jax.scoring.rows import Request
from tlm_jax.scoring.text import with_start


def perplexities(
    model: OpenedModel, pairs: Sequence[tuple[Pair, Pair]], *, plain: bool, batch_size: int
) -> dict[str, Any]:
    """Returns the mean perplexities of wrong paths and corrected ones, given their question.

    A path's perplexity is exp(mean of -log p over its tokens), in tokens of the model. The paper's
    delta is PPL(wrong) - PPL(corrected), averaged over pairs: higher is better. Perplexities have a
    long tail, so the mean difference in nats a token is told, too, and how many pairs have the
    corrected path as the more probable one.

    Args:
      model: whose they are.
      pairs: of a wrong path and its corrected chain, asked the same.
      plain: whether prompts and answers are one text as they stand, without what divides them.
      batch_size: questions at a time.
    """
    scorer = Scorer(
        model.config, batch_size=batch_size, bos_id=model.reading.start_id or 0, mesh=model.mesh
    )
    requests = [_request(model, pair, plain) for pair in pairs]
    scored = scorer.score(model.params, requests)
    nats = np.array([[-s.logprob_nats / s.num_tokens for s in found] for found in scored])
    wrong, right = np.exp(nats[:, 0]), np.exp(nats[:, 1])
    return {
        "pairs": len(pairs),
        "wrong": statistics.fmean(wrong.tolist()),
        "corrected": statistics.fmean(right.tolist()),
        "delta": statistics.fmean((wrong - right).tolist()),
        "delta_nats": statistics.fmean((nats[:, 0] - nats[:, 1]).tolist()),
        "corrected_more_probable": int((nats[:, 1] < nats[:, 0]).sum()),
    } | ({} if math.isfinite(float(wrong.sum())) else {"wrong": None, "delta": None})


def _request(model: OpenedModel, pair: tuple[Pair, Pair], plain: bool) -> Request:
    reading, vocabulary = model.reading, model.vocabulary
    prompt = pair[0].inputs if plain else reading.prompt_text(pair[0].inputs)
    contexts, texts = reading.encode(vocabulary, [prompt] * 2, [one.targets for one in pair])
    context = contexts[0].astype(np.int32)
    if reading.prompt_eos and not plain:
        context = np.append(context, np.int32(vocabulary.eos_id)).astype(np.int32)
    if not model.encoder_decoder:
        context = with_start(context, vocabulary, reading.start_id)
    return Request(context, [text.astype(np.int32) for text in texts])
