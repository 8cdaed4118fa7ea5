"""Refuses distributions that no loss could learn from; names the step and the remedy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import StepDistributions

MASS_TOLERANCE = 1e-3
"""Sums this near to 1 are rounding, and are normalised."""

MIN_LOGPROB_NATS = -8192.0
"""What is less probable is taken for a masked logit."""


def check_weights(weights: Float32[np.ndarray, "..."], num_tokens: int) -> None:
    """Checks one weight a token, each 0 or 1.

    Raises:
      UserError: else.
    """
    if weights.shape != (num_tokens,):
        raise UserError(
            f"{num_tokens} token ids but {len(weights)} steps; expected one step a token."
        )
    if not np.isin(weights, (0, 1)).all():
        step = _first(~np.isin(weights, (0, 1)))
        raise UserError(f"step {step}: weight {weights[step]}; expected 0 (dropped) or 1.")


def check_ids(ids: Int32[np.ndarray, "..."], vocabulary_size: int, what: str) -> None:
    """Checks that ids are of the teacher's vocabulary.

    Raises:
      UserError: else.
    """
    wrong = ids[(ids < 0) | (ids >= vocabulary_size)]
    if wrong.size:
        raise UserError(
            f"{what} {int(wrong.flat[0])} is outside the teacher's vocabulary of "
            f"{vocabulary_size:,}; is it another tokenizer's?"
        )


def checked_counts(steps: StepDistributions, vocabulary_size: int) -> Int64[np.ndarray, " T"]:
    """Returns how many candidates each step has, 0 where it was dropped.

    Raises:
      UserError: a probability of 0, not a number or far below what a softmax gives; an id twice or
        outside the vocabulary; a step without candidates; a mass other than 1.
    """
    kept, logprobs, tails = steps.weights > 0, steps.logprobs, steps.tail_logprobs
    _refuse(
        kept[:, None] & (np.isnan(logprobs) | np.isposinf(logprobs)),
        steps,
        "has log-probability {value}; expected a finite one",
    )
    _refuse(
        kept[:, None] & np.isfinite(logprobs) & (logprobs < MIN_LOGPROB_NATS),
        steps,
        f"has log-probability {{value}}, below {MIN_LOGPROB_NATS:g}: a masked logit? Leave it out",
    )
    present = kept[:, None] & (logprobs > -np.inf)
    counts = present.sum(1)
    # Padding comes last, with id 0; any other -inf is a candidate that cannot occur.
    beyond = np.arange(logprobs.shape[1]) >= counts[:, None]
    refused = kept[:, None] & (present == beyond)
    refused |= kept[:, None] & ~present & (steps.ids != 0)
    _refuse(refused & ~present, steps, "has probability 0 (log-probability -inf); leave it out")
    check_ids(steps.ids[present], vocabulary_size, "the candidate id")
    # Each absent place gets a negative id of its own.
    distinct = np.where(present, steps.ids, -1 - np.arange(logprobs.shape[1], dtype=np.int32))
    in_order = np.sort(distinct, axis=1)
    twice = in_order[:, 1:] == in_order[:, :-1]
    if twice.any():
        step, place = np.argwhere(twice)[0].tolist()
        raise UserError(
            f"step {step}: the candidate id {in_order[step, place]} occurs twice; add the "
            "probabilities of the two."
        )
    if (kept & (counts == 0)).any():
        step = _first(kept & (counts == 0))
        raise UserError(f"step {step}: weight 1 but no candidates; give it weight 0 to drop it.")
    if (kept & (np.isnan(tails) | np.isposinf(tails))).any():
        step = _first(kept & (np.isnan(tails) | np.isposinf(tails)))
        raise UserError(f"step {step}: the mass outside the candidates is {tails[step]}.")
    _check_mass(steps, kept)
    return counts


def _check_mass(steps: StepDistributions, kept: Bool[np.ndarray, " T"]) -> None:
    exact = np.exp(steps.logprobs.astype(np.float64)).sum(1)
    mass = exact + np.exp(steps.tail_logprobs.astype(np.float64))
    over, under = (kept & (sign * (mass - 1) > MASS_TOLERANCE) for sign in (1, -1))
    if over.any():
        step = _first(over)
        raise UserError(
            f"step {step}: probabilities sum to {mass[step]:.6g}, above 1 by more than rounding; "
            "are they log-probabilities in nats, of one softmax?"
        )
    if under.any():
        step = _first(under)
        raise UserError(
            f"step {step}: probabilities sum to {mass[step]:.6g}; expected 1, with the mass of all "
            "other tokens in tail_logprobs."
        )


def _refuse(wrong: Bool[np.ndarray, "T C"], steps: StepDistributions, message: str) -> None:
    if wrong.any():
        step, place = np.argwhere(wrong)[0].tolist()
        value = steps.logprobs[step, place]
        raise UserError(
            f"step {step}: candidate {place} (id {steps.ids[step, place]}) "
            f"{message.format(value=value)}."
        )


def _first(wrong: Bool[np.ndarray, " T"]) -> int:
    return int(np.flatnonzero(wrong)[0])
