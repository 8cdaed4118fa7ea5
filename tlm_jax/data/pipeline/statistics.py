"""Counts what a pipeline has handed out."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class PipelineStatistics:
    """Counts of what this host was handed since the pipeline was made.

    Attributes:
      batches: handed out.
      examples: in those batches.
      wait_seconds: time the caller spent waiting for them.
      tokens: real tokens, by axis ("encoder", "decoder").
      capacity: positions, real or padding, by axis.
      truncated: those of them that lost tokens, by feature; a live teacher's features of another
        vocabulary are apart, `teacher/inputs` and `teacher/targets`.
      unknown: those of them with text that the vocabulary cannot express, by feature.
    """

    batches: int = 0
    examples: int = 0
    wait_seconds: float = 0.0
    tokens: dict[str, int] = dataclasses.field(default_factory=dict)
    capacity: dict[str, int] = dataclasses.field(default_factory=dict)
    truncated: dict[str, int] = dataclasses.field(default_factory=dict)
    unknown: dict[str, int] = dataclasses.field(default_factory=dict)

    def fill(self) -> dict[str, float]:
        """Returns the share of positions that hold real tokens, by axis."""
        return {axis: self.tokens[axis] / max(self.capacity[axis], 1) for axis in self.tokens}
