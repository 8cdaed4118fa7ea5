"""Divergences between a teacher's and a student's next-token distribution, chosen by name."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlm_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Divergence:
    """A sum over outcomes of a term of log p (teacher) and log q (student), in nats.

    Where neither distribution gives an outcome mass (both logs are -inf: masked candidates) its
    term and slope are 0. Where the teacher gives none and the divergence would be infinite, log p
    counts as -87 (the smallest normal float32), so that values and gradients stay finite.

    Attributes:
      unbiased_from_samples: whether the gradient is linear in p, so that frequencies of sampled
        tokens in p's place give the right gradient in expectation.
    """

    unbiased_from_samples: ClassVar[bool] = False

    @property
    def is_bounded_without_mass(self) -> bool:
        """Whether it is finite where the teacher gives no mass to what the student does.

        Where it is not, a target of one token alone costs up to 87 nats.
        """
        return True

    @property
    def fits_parts(self) -> bool:
        """Whether a sum over a part of the outcomes still draws the student's q toward p there.

        Where it does not, it is least at q below p: sum q log(q / p) at q = p / e.
        """
        return True

    def __call__(
        self, log_p: Float[Array, "*batch N"], log_q: Float[Array, "*batch N"]
    ) -> Float[Array, "*batch"]:
        """Returns the divergence over the last axis; its gradient goes to `log_q` alone."""
        return _summed(self, log_p, log_q)

    def terms(self, log_p: Float[Array, "*n"], log_q: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Returns each outcome's term."""
        raise NotImplementedError

    def slopes(self, log_p: Float[Array, "*n"], log_q: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Returns each term's derivative by its log q."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ForwardKL(Divergence):
    """KL(p ‖ q) = sum p (log p - log q): cover what the teacher does."""

    unbiased_from_samples: ClassVar[bool] = True

    def terms(self, log_p, log_q):
        """Returns p (log p - log q)."""
        return jnp.exp(log_p) * (_floored(log_p) - _finite(log_q))

    def slopes(self, log_p, log_q):
        """Returns -p."""
        return jnp.broadcast_to(-jnp.exp(log_p), log_q.shape)


@dataclasses.dataclass(frozen=True)
class ReverseKL(Divergence):
    """KL(q ‖ p) = sum q (log q - log p): do only what the teacher does."""

    @property
    def is_bounded_without_mass(self) -> bool:
        """False."""
        return False

    @property
    def fits_parts(self) -> bool:
        """False."""
        return False

    def terms(self, log_p, log_q):
        """Returns q (log q - log p)."""
        return jnp.exp(log_q) * (_finite(log_q) - _floored(log_p))

    def slopes(self, log_p, log_q):
        """Returns q (log q - log p + 1)."""
        return jnp.exp(log_q) * (_finite(log_q) - _floored(log_p) + 1)


@dataclasses.dataclass(frozen=True)
class JensenShannon(Divergence):
    """Generalised: beta KL(p ‖ m) + (1 - beta) KL(q ‖ m) with m = beta p + (1 - beta) q.

    The ends are the limits that GKD and TRL put there: KL(p ‖ q) at beta 0 and KL(q ‖ p) at 1,
    although the expression itself goes to 0 (divided by beta or 1 - beta it goes to those).

    Source: arXiv 2306.13649, equation 1.
    """

    beta: float = 0.5

    def __post_init__(self):
        """Checks the range."""
        _require_share("jensen_shannon's beta", self.beta, below_one=False)

    @property
    def is_bounded_without_mass(self) -> bool:
        """False where it is the reverse KL."""
        return self.beta < 1

    @property
    def fits_parts(self) -> bool:
        """False where it is the reverse KL."""
        return self.beta < 1

    def terms(self, log_p, log_q):
        """Returns beta p (log p - log m) + (1 - beta) q (log q - log m)."""
        if end := self._end():
            return end.terms(log_p, log_q)
        p, q, log_m = _mixed(log_p, log_q, self.beta)
        teacher = self.beta * p * (_floored(log_p) - log_m)
        return teacher + (1 - self.beta) * q * (_finite(log_q) - log_m)

    def slopes(self, log_p, log_q):
        """Returns (1 - beta) q (log q - log m)."""
        if end := self._end():
            return end.slopes(log_p, log_q)
        _, q, log_m = _mixed(log_p, log_q, self.beta)
        return (1 - self.beta) * q * (_finite(log_q) - log_m)

    def _end(self) -> Divergence | None:
        return {0.0: ForwardKL(), 1.0: ReverseKL()}.get(float(self.beta))


@dataclasses.dataclass(frozen=True)
class SkewedKL(Divergence):
    """KL(p ‖ m) with m = alpha p + (1 - alpha) q: bounded by -log alpha.

    Source: DistiLLM, arXiv 2402.03898, equation 3.
    """

    alpha: float = 0.1

    def __post_init__(self):
        """Checks the range."""
        _require_share("skewed_kl's alpha", self.alpha)

    def terms(self, log_p, log_q):
        """Returns p (log p - log m)."""
        p, _, log_m = _mixed(log_p, log_q, self.alpha)
        return p * (_floored(log_p) - log_m)

    def slopes(self, log_p, log_q):
        """Returns -p (1 - alpha) q / m."""
        p, q, log_m = _mixed(log_p, log_q, self.alpha)
        return -p * (1 - self.alpha) * q * jnp.exp(-log_m)


@dataclasses.dataclass(frozen=True)
class SkewedReverseKL(Divergence):
    """KL(q ‖ m) with m = (1 - alpha) p + alpha q: bounded by -log alpha.

    Source: DistiLLM, arXiv 2402.03898, section 3.1.
    """

    alpha: float = 0.1

    def __post_init__(self):
        """Checks the range."""
        _require_share("skewed_reverse_kl's alpha", self.alpha)

    @property
    def is_bounded_without_mass(self) -> bool:
        """False where it is the reverse KL."""
        return self.alpha > 0

    @property
    def fits_parts(self) -> bool:
        """False: the student is charged for what it gives these outcomes alone."""
        return False

    def terms(self, log_p, log_q):
        """Returns q (log q - log m)."""
        _, q, log_m = _mixed(log_p, log_q, 1 - self.alpha)
        return q * (_finite(log_q) - log_m)

    def slopes(self, log_p, log_q):
        """Returns q (log q - log m + (1 - alpha) p / m)."""
        p, q, log_m = _mixed(log_p, log_q, 1 - self.alpha)
        return q * (_finite(log_q) - log_m + (1 - self.alpha) * p * jnp.exp(-log_m))


@dataclasses.dataclass(frozen=True)
class TotalVariation(Divergence):
    """sum |p - q| / 2, between 0 and 1."""

    def terms(self, log_p, log_q):
        """Returns |p - q| / 2."""
        return 0.5 * jnp.abs(jnp.exp(log_p) - jnp.exp(log_q))

    def slopes(self, log_p, log_q):
        """Returns sign(q - p) q / 2."""
        q = jnp.exp(log_q)
        return 0.5 * jnp.sign(q - jnp.exp(log_p)) * q


_BY_NAME = {
    "forward_kl": ForwardKL,
    "reverse_kl": ReverseKL,
    "jensen_shannon": JensenShannon,
    "skewed_kl": SkewedKL,
    "skewed_reverse_kl": SkewedReverseKL,
    "total_variation": TotalVariation,
}


def divergence(name: str | Divergence) -> Divergence:
    """Returns the divergence called `name`, such as `forward_kl` or `jensen_shannon(0.5)`.

    Raises:
      UserError: the name is unknown, or its number is missing its range or its purpose.
    """
    if isinstance(name, Divergence):
        return name
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(?:\w+\s*=\s*)?([^()]*?)\s*\))?\s*", name)
    if match is None or match[1] not in _BY_NAME:
        known = match[1] if match else name
        raise UserError(
            f"unknown divergence {name!r}.{nearest(known, _BY_NAME)} Known: {', '.join(_FORMS)}"
        )
    made = _BY_NAME[match[1]]
    if not match[2]:
        return made()
    try:
        return made(float(match[2]))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"divergence {name!r} cannot be read: expected one of {', '.join(_FORMS)}"
        ) from error


_FORMS = tuple(
    f"{name}({dataclasses.fields(made)[0].default})" if dataclasses.fields(made) else name
    for name, made in _BY_NAME.items()
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _summed(kind: Divergence, log_p: Array, log_q: Array) -> Array:
    return jnp.sum(kind.terms(log_p, log_q), axis=-1)


def _summed_forward(kind: Divergence, log_p: Array, log_q: Array):
    return _summed(kind, log_p, log_q), (log_p, log_q)


def _summed_backward(kind: Divergence, residuals, cotangent):
    log_p, log_q = residuals
    return None, cotangent[..., None] * kind.slopes(log_p, log_q)


_summed.defvjp(_summed_forward, _summed_backward)

_TINY = float(jnp.finfo(jnp.float32).tiny)
_LOG_TINY = math.log(_TINY)


def _floored(log_p: Array) -> Array:
    """The teacher's logarithm where the divergence needs one although p may be 0."""
    return jnp.maximum(log_p, _LOG_TINY)


def _finite(log_q: Array) -> Array:
    """The student's logarithm, however small; finite, because 0 times it must be 0."""
    return jnp.maximum(log_q, -1e9)


def _mixed(log_p: Array, log_q: Array, share: float) -> tuple[Array, Array, Array]:
    """Returns p, q and the logarithm of share p + (1 - share) q."""
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    return p, q, jnp.log(jnp.maximum(share * p + (1 - share) * q, _TINY))


def _require_share(what: str, value: float, *, below_one: bool = True) -> None:
    if not 0.0 <= value <= 1.0 or (below_one and value == 1.0):
        end = "below 1" if below_one else "1"
        raise UserError(f"{what} is {value}: give a number from 0 to {end}")
