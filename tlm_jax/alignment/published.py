"""The published targets of Flan-T5 specialization, on texts: what `dtw` must give exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tlm_jax.alignment.aligned import Alignment


def written_for_t5(token: str) -> str:
    """Returns how a token would be written as a SentencePiece piece: `▁` for each space."""
    return token.replace(" ", "▁")


def targets(
    teacher_tokens: Sequence[str],
    student_pieces: Sequence[str],
    step_probabilities: Sequence[Sequence[tuple[str, float]]],
    alignment: Alignment,
    is_piece: Callable[[str], bool],
) -> list[dict[str, float]]:
    """Returns for each student piece its target: pieces and their probabilities, in order.

    A piece aligned to one teacher token of the same spelling gets that step's alternatives, those
    that are pieces, with the probabilities as they are; the first of equal ones counts. Every
    other piece gets itself with probability 1.

    Args:
      teacher_tokens: what the teacher sampled, one token a step.
      student_pieces: of the same text, without EOS.
      step_probabilities: for each step the sampled token and the most probable ones, each with
        its probability.
      alignment: `dtw.align` of the two.
      is_piece: whether the student's vocabulary has a piece.
    """
    found = []
    for j, piece in enumerate(student_pieces):
        steps = alignment.steps_of(j)
        soft: dict[str, float] = {}
        if len(steps) == 1 and written_for_t5(teacher_tokens[steps[0]]) == piece:
            for token, probability in step_probabilities[steps[0]]:
                if is_piece(written := written_for_t5(token)):
                    soft.setdefault(written, probability)
        found.append(soft or {piece: 1.0})
    return found
