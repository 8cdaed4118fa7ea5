"""The table decides how arrays are split; conflicts and unknown names are refused."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from tlm_jax.errors import UserError
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh


@pytest.fixture
def mesh():
    return make_mesh(MeshShape(data=2, fsdp=2, tensor=2))


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (("embed", "layers", "mlp"), (8, 3, 8), P("fsdp", None, "tensor")),
        (("vocab", "embed"), (8, 8), P("tensor", "fsdp")),
        (("joined_kv", "embed"), (8, 8), P("tensor", "fsdp")),
        (("heads", "relpos_buckets"), (4, 32), P("tensor", None)),
        (("embed",), (7,), P(None)),
        (("embed", None), (8, 8), P("fsdp", None)),
    ],
)
def test_parameters(mesh, axes, shape, expected):
    assert rules.parameter_spec(axes, shape, mesh) == expected


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (("batch", "length", "embed"), (8, 5, 8), P(("data", "fsdp"), None, None)),
        (
            ("batch", "length", "heads", "kv"),
            (8, 5, 4, 8),
            P(("data", "fsdp"), None, "tensor", None),
        ),
        (("batch", "length", "heads", "kv"), (2, 5, 3, 8), P("data", None, None, None)),
        (("batch", "length", "vocab"), (1, 5, 8), P(None, None, "tensor")),
    ],
)
def test_activations(mesh, axes, shape, expected):
    assert rules.activation_spec(axes, shape, mesh) == expected


def test_axes_of_size_one_are_left_out():
    mesh = make_mesh(MeshShape(fsdp=8))
    assert rules.parameter_spec(("vocab", "embed"), (8, 8), mesh) == P(None, "fsdp")


def test_two_dimensions_on_one_mesh_axis_are_refused(mesh):
    with pytest.raises(UserError, match=r"both 'vocab' and 'mlp'.*mesh axis 'tensor'"):
        rules.parameter_spec(("vocab", "mlp"), (8, 8), mesh)


def test_unknown_names_are_refused(mesh):
    with pytest.raises(UserError, match=r"'embd'.*Did you mean 'embed'"):
        rules.parameter_spec(("embd",), (8,), mesh)


def test_trees_of_shardings(mesh):
    axes = {"a": {"kernel": ("embed", "mlp")}, "b": ("embed",)}
    shapes = {"a": {"kernel": jnp.zeros((4, 6))}, "b": jnp.zeros((3,))}
    shardings = rules.named_shardings(axes, mesh, shapes=shapes)
    assert shardings["a"]["kernel"].spec == P("fsdp", "tensor")
    assert shardings["b"].spec == P(None)


def test_batches_are_split_over_data_and_fsdp(mesh):
    assert rules.batch_sharding(mesh).spec == P(("data", "fsdp"))
    assert rules.batch_divisor(mesh) == 4


def test_constrain_acts_within_its_context_only(mesh):
    x = jnp.zeros((8, 4, 6))
    axes = ("batch", "length", "mlp")

    def constrained(x):
        return rules.constrain(x, axes) + 1

    assert rules.constrain(x, axes) is x
    with rules.use_rules(mesh):
        inside = jax.jit(constrained)(x)
    expected = jax.sharding.NamedSharding(mesh, P(("data", "fsdp"), None, "tensor"))
    assert inside.sharding.is_equivalent_to(expected, 3)
    assert rules.constrain(x, axes) is x
