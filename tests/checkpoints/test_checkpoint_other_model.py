"""A checkpoint of another model is refused, naming the first array that does not fit."""

import jax.numpy as jnp
import pytest

from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.errors import UserError


def state(width=4, layers=2, dtype=jnp.float32):
    params = {
        "decoder": {
            f"layers_{i}": {"wi": {"kernel": jnp.ones((width, 2 * width), dtype)}}
            for i in range(layers)
        },
        "token_embedder": {"embedding": jnp.ones((10, width), dtype)},
    }
    return {"opt_state": {"count": jnp.int32(0), "v": params}, "params": params}


@pytest.fixture
def model_dir(tmp_path):
    manager = CheckpointManager(tmp_path / "checkpoints")
    manager.save(7, Items(state()))
    manager.close()
    return tmp_path


CASES = [
    (
        {"width": 6},
        r"'params/decoder/layers_0/wi/kernel' has shape \[4, 8\] there and "
        r"\[6, 12\] in this model\.",
    ),
    (
        {"layers": 3},
        r"it has no 'params/decoder/layers_2/wi/kernel', which this model needs\. ",
    ),
    ({"layers": 1}, r"it has 'params/decoder/layers_1/wi/kernel', which this model has not\."),
    (
        {"dtype": jnp.bfloat16},
        r"'params/decoder/layers_0/wi/kernel' is float32 there and bfloat16 in this",
    ),
]


@pytest.mark.parametrize(("change", "problem"), CASES)
def test_resuming_with_another_model(model_dir, change, problem):
    manager = CheckpointManager(model_dir / "checkpoints")
    with pytest.raises(UserError) as raised:
        manager.restore(state(**change))
    raised.match(rf"^checkpoint .*/checkpoints/7 is of a different model: {problem}")
    raised.match(r"Train with the configuration that made it \(config\.gin .* another MODEL_DIR\.$")
    assert "\n" not in str(raised.value)
    # It is whole, so it stays where it is.
    assert manager.all_steps() == [7]


def test_another_optimizer_is_named(model_dir):
    wanted = state()
    wanted["opt_state"]["momentum"] = jnp.zeros(3)
    with pytest.raises(UserError, match=r"it has no 'opt_state/momentum', which this model needs"):
        CheckpointManager(model_dir / "checkpoints").restore(wanted)
