"""Predictions as JSON Lines, one object an example, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tlm_jax.errors import UserError, system_reason


@dataclass(frozen=True)
class Prediction:
    """What the model made of one example.

    Attributes:
      id: the example's.
      prompt: the text the model was given.
      prediction: the text it wrote, without the closing EOS.
      extracted: the answer found in it; None where there is none.
      gold: the right answer; None where the data set has none.
      correct: whether the extracted answer is the right one; None without a right answer, or
        where the grading rule cannot read it.
      length_tokens: number of tokens written, the closing EOS included.
      finished: whether it ended by itself rather than at the limit.
      logprob_nats: log-probability of the written tokens.
    """

    id: str
    prompt: str
    prediction: str
    extracted: str | None
    gold: str | None
    correct: bool | None
    length_tokens: int
    finished: bool
    logprob_nats: float


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Writes one JSON object a line; the file appears only once it is complete.

    Raises:
      UserError: it cannot be written (a full disk, a missing right).
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8") as file:
            for prediction in predictions:
                file.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: predictions cannot be written ({system_reason(error)}); free some space "
            "or choose another MODEL_DIR"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            unfinished.unlink(missing_ok=True)
