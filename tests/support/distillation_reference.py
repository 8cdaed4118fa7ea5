"""Distillation in float64 NumPy, term by term, and an example of it."""

import jax.numpy as jnp
import numpy as np

from tlm_jax.losses.teachers import SparseTeacher

B, T, V, C = 2, 5, 13, 4


DIVERGENCES = (
    "forward_kl",
    "reverse_kl",
    "jensen_shannon(0.3)",
    "skewed_kl(0.2)",
    "skewed_reverse_kl(0.2)",
    "total_variation",
)


def example(seed=0):
    """Float64 logits of student and teacher, targets, weights, and the teacher's best C tokens."""
    random = np.random.default_rng(seed)
    student, teacher = 2 * random.normal(size=(2, B, T, V))
    targets = random.integers(0, V, (B, T))
    weights = random.uniform(0.5, 2, (B, T)) * (np.arange(T) < [[T], [3]])
    log_p = teacher - np.log(np.exp(teacher).sum(-1, keepdims=True))
    ids = np.argsort(-log_p, axis=-1)[..., :C]
    logprobs = np.take_along_axis(log_p, ids, -1)
    tail = np.log1p(-np.exp(logprobs).sum(-1))
    taught = np.ones((B, T))
    taught[0, 1] = 0
    return student, teacher, targets, weights, (ids, logprobs, tail, taught)


def float32(*arrays):
    return tuple(
        jnp.asarray(x, jnp.int32 if np.issubdtype(x.dtype, np.integer) else jnp.float32)
        for x in arrays
    )


def sparse(said):
    return SparseTeacher(*float32(*said))


def kl(p, q):
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0).sum(-1)


def apart(name, p, q):
    """The divergence of nonnegative float64 vectors, which need not sum to 1."""
    kind, _, number = name.removesuffix(")").partition("(")
    share = float(number or 0)
    if kind == "forward_kl":
        return kl(p, q)
    if kind == "reverse_kl":
        return kl(q, p)
    if kind == "jensen_shannon":
        m = share * p + (1 - share) * q
        return share * kl(p, m) + (1 - share) * kl(q, m)
    if kind == "skewed_kl":
        return kl(p, share * p + (1 - share) * q)
    if kind == "skewed_reverse_kl":
        return kl(q, (1 - share) * p + share * q)
    return 0.5 * np.abs(p - q).sum(-1)


def on_support(support, q, said):
    """Returns p and q on the outcomes compared, from the student's whole float64 distribution."""
    ids, logprobs, tail, _ = said
    p, q_at = np.exp(logprobs), np.take_along_axis(q, ids, -1)
    if support == "tail":
        others = np.ones_like(q)
        np.put_along_axis(others, ids, 0, axis=-1)
        rest = (q * others).sum(-1, keepdims=True)
        return np.concatenate([p, np.exp(tail)[..., None]], -1), np.concatenate([q_at, rest], -1)
    if support == "renormalized":
        return p / p.sum(-1, keepdims=True), q_at / q_at.sum(-1, keepdims=True)
    return p, q_at


def softmax(x, temperature=1.0):
    e = np.exp((x - x.max(-1, keepdims=True)) / temperature)
    return e / e.sum(-1, keepdims=True)


def reference_total(student, targets, weights, taught, alpha, token_divergences):
    """The loss in float64: per token, then weighted."""
    own = np.take_along_axis(np.log(softmax(student)), targets[..., None], -1)[..., 0]
    share = alpha * taught
    return ((1 - share) * -own + share * token_divergences(student)) * weights


def numeric_gradient(token_losses, logits):
    """Central differences in float64; a token's loss depends on its own logits alone."""
    steps = 1e-6 * np.eye(V)
    differences = [token_losses(logits + e) - token_losses(logits - e) for e in steps]
    return np.stack(differences, axis=-1) / 2e-6
