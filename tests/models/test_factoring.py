"""Which dimensions are factored, for parameters of every shape the models have."""

import pytest

from tlm_jax.errors import UserError
from tlm_jax.models.factoring import factored_dims, matrix_dims


@pytest.mark.parametrize(
    ("shape", "axes", "rows", "columns"),
    [
        ((256, 64), ("vocab", "embed"), (1,), (0,)),  # the smaller side is the rows
        ((64, 256), ("embed", "vocab"), (0,), (1,)),
        ((64, 15), ("embed", "mlp"), (), ()),  # too small
        ((64,), ("embed",), (), ()),
        ((4, 32), ("heads", "relpos_buckets"), (), ()),
        ((64, 2, 128), ("embed", "layers", "mlp"), (0,), (2,)),
        ((2, 2, 2), ("embed", "layers", "mlp"), (0,), (2,)),  # rules hold whatever the size
        ((64, 2, 4, 16), ("embed", "layers", "heads", "kv"), (0,), (2, 3)),
        ((4, 2, 16, 64), ("heads", "layers", "kv", "embed"), (3,), (0, 2)),
        ((4, 2, 32), ("heads", "layers", "relpos_buckets"), (), ()),
        ((64, 2), ("embed", "layers"), (), ()),
    ],
)
def test_factored_dimensions(shape, axes, rows, columns):
    dims = factored_dims("name", shape, axes, min_dim_size=16)
    assert (dims.rows, dims.columns) == (rows, columns)


def test_layers_are_never_averaged_over():
    assert matrix_dims("scale", ("embed", "layers")).batch == (1,)


def test_unknown_axis_names_parameter_and_nearest():
    with pytest.raises(UserError, match=r"'mlp/wi/kernel' has the logical axis 'embd'.*'embed'"):
        matrix_dims("mlp/wi/kernel", ("embd", "mlp"))


def test_rows_and_columns_beside_an_axis_of_neither_are_refused():
    with pytest.raises(UserError, match="rows, columns and dimensions of neither"):
        matrix_dims("x", ("embed", "mlp", "relpos_buckets"))
