"""Label smoothing is of a cross entropy, and refused where a distilled student has none."""

import pytest

from tlm_jax.errors import UserError
from tlm_jax.losses.distillation import Distillation


def test_label_smoothing_without_cross_entropy_is_refused():
    with pytest.raises(UserError, match=r"ALPHA=1.0 leaves nothing here: set ALPHA below 1"):
        Distillation(label_smoothing=0.1, without_teacher="skip")
    Distillation(label_smoothing=0.1)  # tokens without a teacher have it
    Distillation(label_smoothing=0.1, alpha=0.5, without_teacher="skip")
