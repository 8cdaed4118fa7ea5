"""Learning from a teacher's next-token distributions, mixed with cross entropy."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from tlm_jax.errors import UserError, nearest
from tlm_jax.losses.candidates import (
    CandidateStatistics,
    candidate_log_probabilities,
    candidate_statistics,
)
from tlm_jax.losses.columns import Columns
from tlm_jax.losses.cross_entropy import (
    TokenStatistics,
    reduce_terms,
    token_statistics,
    token_terms,
)
from tlm_jax.losses.divergences import Divergence, divergence
from tlm_jax.losses.full import FullStatistics, full_divergence, full_statistics
from tlm_jax.losses.reduction import LossOutput, WeightedSum
from tlm_jax.losses.teachers import (
    DenseTeacher,
    LogitsTeacher,
    SparseTeacher,
    Teacher,
    dense_logits,
)

SUPPORTS = ("tail", "renormalized", "unnormalized")


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How to learn from a teacher.

    Attributes:
      divergence: by name, such as "forward_kl" or "jensen_shannon(0.5)": see `divergences`.
      support: the outcomes compared when the teacher names candidates.
        "tail": the candidates, and one outcome for all other tokens: never negative, no mass lost.
        "renormalized": the candidates, both distributions divided by their mass on them.
        "unnormalized": the candidates' terms as they are, as in the official code of the Flan-T5
        specialization; its forward KL has the gradient (sum p) q - p, and may be negative.
        The whole distributions of a dense teacher are compared as they are.
      temperature: divides the student's logits and those of a dense teacher. A cached sparse
        teacher's distributions stay as cached, so cache them at the same temperature. The loss is
        not multiplied by temperature squared.
      alpha: weight of the divergence; 1 - alpha is that of the cross entropy.
      without_teacher: what trains a token of which the teacher says nothing: "cross_entropy" alone
        or nothing ("skip": weight 0).
      label_smoothing: of the cross entropy.
      z_loss: coefficient of the squared log-normalizer, for every token.
      report_entropy: whether to report the student's entropy, a further sweep over the logits.
    """

    divergence: str | Divergence = "forward_kl"
    support: str = "tail"
    temperature: float = 1.0
    alpha: float = 1.0
    without_teacher: Literal["cross_entropy", "skip"] | str = "cross_entropy"
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    report_entropy: bool = False

    def __post_init__(self):
        """Checks the names and ranges, so that a run stops before it starts."""
        divergence(self.divergence)
        _require_name("support", self.support, SUPPORTS)
        _require_name("without_teacher", self.without_teacher, ("cross_entropy", "skip"))
        if self.temperature <= 0:
            raise UserError(f"distillation temperature is {self.temperature}: give one above 0")
        if not 0.0 <= self.alpha <= 1.0:
            raise UserError(f"distillation alpha is {self.alpha}: give a number from 0 to 1")
        if self.without_teacher == "skip":
            self.check_label_smoothing()

    def check_label_smoothing(self) -> None:
        """Checks that there is a cross entropy to smooth, where the teacher knows every token.

        Raises:
          UserError: there is none.
        """
        if self.label_smoothing and self.alpha == 1.0:
            raise UserError(
                f"LABEL_SMOOTHING={self.label_smoothing} is of the cross entropy, of which "
                "ALPHA=1.0 leaves nothing here: set ALPHA below 1, or leave LABEL_SMOOTHING out"
            )


def distillation_loss(
    logits: Float[Array, "B T V"],
    targets: Int[Array, "B T"],
    weights: Num[Array, "B T"],
    teacher: Teacher,
    settings: Distillation,
    *,
    columns: Columns | None = None,
) -> LossOutput:
    """Returns the sum over tokens of w ((1 - a) cross entropy + a divergence + z-loss), in nats.

    a is `settings.alpha` where the teacher says something about a token and 0 elsewhere. Everything
    is float32. Gradients flow to the logits alone.

    Args:
      logits: the student's.
      targets: token ids, for the cross entropy; those of weight 0 may be anything in [0, V).
      weights: 0 leaves a token out of loss, gradient and metrics.
      teacher: what the teacher says.
      settings: the divergence, its support, and the mixture.
      columns: which of the logits these (and a dense teacher's) are, with `distillation_statistics`
        of all; None: these are all.

    Returns:
      The loss over the sum of `effective_weights`. Metrics: `cross_ent_loss`, `z_loss` and
      `accuracy` as of `cross_entropy`; `divergence` over the weight of tokens with a teacher;
      `teacher_share`, the share of counted tokens that have one; with `report_entropy` also
      `student_entropy`.
    """
    weights, teacher = jax.lax.stop_gradient((weights, teacher))
    weights = effective_weights(weights, teacher, settings)
    taught = weights * teacher.weights
    if columns is None:
        statistics = distillation_statistics(logits, targets, teacher, settings)
        columns = Columns(jnp.arange(logits.shape[-1]), logits.shape[-1], statistics)
    statistics = columns.statistics
    cross_ent, z_term, correct = token_terms(
        logits,
        targets,
        label_smoothing=settings.label_smoothing,
        z_loss=settings.z_loss,
        columns=columns._replace(statistics=statistics.tokens),
    )
    output = reduce_terms((cross_ent, z_term, correct), weights)
    token_divergence = token_divergences(
        logits, teacher, settings, columns=columns._replace(statistics=statistics.teacher)
    )
    # Where the weight is 0 the divergence may be infinite.
    divergence_sum = jnp.sum(jnp.where(taught != 0, taught * token_divergence, 0.0))
    total = (
        jnp.sum(cross_ent * (weights - settings.alpha * taught))
        + settings.alpha * divergence_sum
        + jnp.sum(z_term * weights)
    )
    counted = (weights != 0).astype(jnp.float32)
    metrics = {
        **output.metrics,
        "divergence": WeightedSum(divergence_sum, jnp.sum(taught)),
        "teacher_share": WeightedSum(
            jnp.sum(jnp.where(taught != 0, counted, 0.0)), jnp.sum(counted)
        ),
    }
    if settings.report_entropy:
        entropy = jnp.sum(weights * statistics.entropy)
        metrics["student_entropy"] = WeightedSum(entropy, jnp.sum(weights))
    return LossOutput(
        WeightedSum(total, output.loss.weight),
        jax.lax.stop_gradient(metrics),
    )


class DistillationStatistics(NamedTuple):
    """What distillation knows of tokens' logits."""

    tokens: TokenStatistics
    teacher: CandidateStatistics | FullStatistics
    entropy: Float[Array, "B T"] | None
    """Of the student, where it is reported."""


def distillation_statistics(
    logits: Float[Array, "B T V"],
    targets: Int[Array, "B T"],
    teacher: Teacher,
    settings: Distillation,
) -> DistillationStatistics:
    """Returns what `distillation_loss` needs to know of all logits, student's and teacher's."""
    logits, teacher = jax.lax.stop_gradient((logits.astype(jnp.float32), teacher))
    tokens = token_statistics(logits, targets, label_smoothing=settings.label_smoothing)
    return DistillationStatistics(
        tokens,
        _teacher_statistics(logits, teacher, settings),
        _entropy(logits) if settings.report_entropy else None,
    )


def effective_weights(
    weights: Num[Array, "B T"], teacher: Teacher, settings: Distillation
) -> Float[Array, "B T"]:
    """Returns the tokens' weights, 0 for those that `without_teacher="skip"` leaves out."""
    weights = weights.astype(jnp.float32)
    if settings.without_teacher == "skip":
        return jnp.where(teacher.weights != 0, weights, 0.0)
    return weights


def token_divergences(
    logits: Float[Array, "B T V"],
    teacher: Teacher,
    settings: Distillation,
    *,
    columns: Columns | None = None,
) -> Float[Array, "B T"]:
    """Returns each token's divergence in nats; where the teacher's weight is 0 it means nothing."""
    kind = divergence(settings.divergence)
    logits, temperature = logits.astype(jnp.float32), settings.temperature
    statistics = None if columns is None else columns.statistics
    if not isinstance(teacher, SparseTeacher):
        return full_divergence(
            kind,
            _teacher_logits(teacher, logits),
            logits,
            temperature=temperature,
            statistics=statistics,
        )
    log_q, log_q_tail = candidate_log_probabilities(
        logits, teacher.token_ids, _present(teacher), temperature=temperature, columns=columns
    )
    log_p = teacher.logprobs
    if settings.support == "tail":
        log_p = jnp.concatenate([log_p, teacher.tail_logprobs[..., None]], axis=-1)
        log_q = jnp.concatenate([log_q, log_q_tail[..., None]], axis=-1)
    elif settings.support == "renormalized":
        log_p, log_q = _renormalized(log_p), _renormalized(log_q)
    return kind(log_p, log_q)


def _teacher_statistics(
    logits: Array, teacher: Teacher, settings: Distillation
) -> CandidateStatistics | FullStatistics:
    if isinstance(teacher, SparseTeacher):
        return candidate_statistics(
            logits, teacher.token_ids, _present(teacher), temperature=settings.temperature
        )
    kind, teacher_logits = divergence(settings.divergence), _teacher_logits(teacher, logits)
    return full_statistics(kind, teacher_logits, logits, temperature=settings.temperature)


def _present(teacher: SparseTeacher) -> Array:
    return ~jnp.isneginf(teacher.logprobs)


def _teacher_logits(teacher: DenseTeacher | LogitsTeacher, logits: Array) -> Array:
    teacher_logits = dense_logits(teacher)
    if teacher_logits.shape[-1] != logits.shape[-1]:
        raise UserError(
            f"the teacher's vocabulary has {teacher_logits.shape[-1]} tokens, the student's "
            f"{logits.shape[-1]}: whole distributions are compared over one vocabulary only; "
            "align different ones through a cache of candidates"
        )
    return teacher_logits


def _renormalized(logs: Array) -> Array:
    """Returns the logs of the distribution over the present candidates; all -inf without any."""
    return logs - jax.nn.logsumexp(jnp.maximum(logs, -1e9), axis=-1, keepdims=True)


def _entropy(logits: Float[Array, "*batch V"]) -> Float[Array, "*batch"]:
    log_q = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return -jnp.sum(jnp.exp(log_q) * jnp.maximum(log_q, -1e9), axis=-1)


def _require_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UserError(f"unknown {what} {name!r}.{nearest(name, known)} Known: {', '.join(known)}")
