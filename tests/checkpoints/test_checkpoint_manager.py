"""What is saved comes back bit for bit, on any mesh, and old checkpoints go as the policy says."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.errors import UserError


class State(NamedTuple):
    step: jax.Array
    params: dict
    opt_state: tuple
    rng: jax.Array


OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adafactor(1e-2, min_dim_size_to_factor=4)
)


def first_state(seed=0):
    rng = np.random.default_rng(seed)
    params = {
        "encoder": {"kernel": rng.normal(size=(16, 8)).astype(np.float32)},
        "scale": rng.normal(size=(8,)).astype(jnp.bfloat16),
    }
    params = jax.tree.map(jnp.asarray, params)
    return State(jnp.int32(0), params, OPTIMIZER.init(params), jax.random.PRNGKey(seed))


def step_once(state):
    noise = jax.random.normal(jax.random.fold_in(state.rng, state.step), (16, 8))

    def loss(params):
        out = (noise + params["encoder"]["kernel"]) * params["scale"].astype(jnp.float32)[None]
        return jnp.sum(out**2)

    updates, opt_state = OPTIMIZER.update(
        jax.grad(loss)(state.params), state.opt_state, state.params
    )
    return State(state.step + 1, optax.apply_updates(state.params, updates), opt_state, state.rng)


def assert_bitwise_equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(np.asarray(g), np.asarray(w))


def test_stopping_and_going_on_equals_never_stopping(tmp_path):
    # Donation checks too that a save does not read buffers that the next step has overwritten.
    train_step = jax.jit(step_once, donate_argnums=0)
    unbroken = first_state()
    for _ in range(9):
        unbroken = train_step(unbroken)

    state = first_state()
    for stop in (2, 5, 9):
        manager = CheckpointManager(tmp_path)
        restored = manager.restore(jax.eval_shape(lambda s: s, state))
        start = 0
        if restored is not None:
            start, items = restored
            state = items.state
            assert items == Items(state, {"position": start, "seed": 2**40}, {"loss": [0.1, start]})
        for step in range(start, stop):
            state = train_step(state)
            items = Items(state, {"position": step + 1, "seed": 2**40}, {"loss": [0.1, step + 1]})
            manager.save(step + 1, items)
        manager.close()
        # Not from memory.
        state = first_state(seed=1)

    manager = CheckpointManager(tmp_path)
    step, items = manager.restore(unbroken)
    assert step == 9
    assert_bitwise_equal(items.state, unbroken)


@pytest.mark.parametrize("shape", [(8, 1), (2, 4), (1, 2), (1, 1)])
def test_restores_onto_another_mesh(tmp_path, shape):
    saved_on = Mesh(np.array(jax.devices()).reshape(4, 2), ("fsdp", "tensor"))
    values = {
        "params": {
            "kernel": np.arange(16 * 8, dtype=np.float32).reshape(16, 8),
            "scale": np.arange(8, dtype=np.float32),
        }
    }
    specs = {"params": {"kernel": PartitionSpec("fsdp", "tensor"), "scale": PartitionSpec()}}

    def shardings(mesh):
        return jax.tree.map(
            lambda spec: NamedSharding(mesh, spec),
            specs,
            is_leaf=lambda x: isinstance(x, PartitionSpec),
        )

    manager = CheckpointManager(tmp_path)
    manager.save(1, Items(jax.device_put(values, shardings(saved_on))))
    mesh = Mesh(np.array(jax.devices()[: shape[0] * shape[1]]).reshape(shape), ("fsdp", "tensor"))
    wanted = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), values, shardings(mesh)
    )
    _, items = manager.restore(wanted)
    assert_bitwise_equal(items.state, values)
    for array, struct in zip(jax.tree.leaves(items.state), jax.tree.leaves(wanted)):
        assert array.sharding == struct.sharding


def test_a_leaf_without_a_sharding_comes_back_as_numpy(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.save(1, Items({"params": {"w": jnp.arange(3, dtype=jnp.bfloat16)}}))
    _, items = manager.restore({"params": {"w": jax.ShapeDtypeStruct((3,), jnp.bfloat16)}})
    assert type(items.state["params"]["w"]) is np.ndarray
    np.testing.assert_array_equal(items.state["params"]["w"].astype(np.float32), [0, 1, 2])


def test_nothing_saved_is_none_and_a_missing_step_is_an_error(tmp_path):
    manager = CheckpointManager(tmp_path / "new" / "checkpoints")
    state = {"params": {"w": jnp.zeros(2)}}
    assert manager.restore(state) is None
    assert manager.latest_step() is None
    manager.save(4, Items(state))
    manager.wait()
    assert manager.latest_step() == 4
    with pytest.raises(UserError, match=r"no checkpoint of step 7 in .*checkpoints; it has \[4\]"):
        manager.restore(state, step=7)


def test_object_store_addresses_are_refused():
    with pytest.raises(UserError, match=r"gs://bucket/run is an object-store address.*gcsfuse"):
        CheckpointManager("gs://bucket/run")


def test_policy_by_hand():
    scores = dict.fromkeys((10, 20, 30, 40, 50))
    assert KeepPolicy(last=2).superseded(scores) == [10, 20, 30]
    assert KeepPolicy(last=1, every_steps=20).superseded(scores) == [10, 30]
    assert KeepPolicy(last=None).superseded(scores) == []
    scores = {10: 0.9, 20: 0.2, 30: float("nan"), 40: 0.2, 50: None}
    assert KeepPolicy(last=1, best=1).superseded(scores) == [20, 30, 40]
    assert KeepPolicy(last=1, best=1, higher_is_better=False).superseded(scores) == [10, 20, 30]
    with pytest.raises(UserError, match=r"KeepPolicy.last is 0"):
        KeepPolicy(last=0)


def test_policy_on_disk(tmp_path):
    manager = CheckpointManager(tmp_path, keep=KeepPolicy(last=2, every_steps=4, best=1))
    for step in range(1, 10):
        score = 0.8 if step == 3 else 0.1
        manager.save(step, Items({"params": {"w": jnp.full(2, step)}}), score=score)
    manager.close()
    assert manager.all_steps() == [3, 4, 8, 9]
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == ["3", "4", "8", "9"]
    _, items = manager.restore({"params": {"w": jnp.zeros(2, int)}}, step=3)
    np.testing.assert_array_equal(items.state["params"]["w"], [3, 3])


def test_a_step_just_saved_is_not_saved_again(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.save(1, Items({"params": {"w": jnp.zeros(2)}}))
    manager.wait()
    written = (tmp_path / "1" / "manifest.json").stat().st_mtime_ns
    manager.save(1, Items({"params": {"w": jnp.ones(2)}}))
    manager.wait()
    assert (tmp_path / "1" / "manifest.json").stat().st_mtime_ns == written
    # A new manager that starts from an older step replaces what lies ahead.
    other = CheckpointManager(tmp_path)
    other.save(1, Items({"params": {"w": jnp.ones(2)}}))
    _, items = other.restore({"params": {"w": jnp.zeros(2)}})
    np.testing.assert_array_equal(items.state["params"]["w"], [1, 1])
