"""What of a training run decides its parameters, for the stages that train."""

from __future__ import annotations

import json
from typing import Any

from tlm_jax.recipes.done import described
from tlm_jax.runs.training.config import DataConfig, RunConfig
from tlm_jax.runs.training.student_vocabulary import named_vocabulary

_DECIDES_NOTHING = (
    *("model_dir", "initial_checkpoint_path", "mesh", "evaluation", "checkpoints"),
    "log_period_steps",
)
_DATA_DECIDES_NOTHING = ("data_dir", "examples_file", "prefetch_batches")


def decides(run: RunConfig) -> dict[str, Any]:
    """Returns what of a training run decides its parameters, beside what it reads."""
    fields = json.loads(json.dumps(described(run)))
    for name in _DECIDES_NOTHING:
        fields.pop(name)
    for name in _DATA_DECIDES_NOTHING:
        fields["data"].pop(name)
    fields["data"]["vocabulary"] = vocabulary_digest(run.data)
    return fields


def vocabulary_digest(data: DataConfig) -> str | None:
    """Returns the content of the vocabulary that is named; None: that of the model."""
    named = named_vocabulary(data)
    return None if named is None else named.fingerprint
