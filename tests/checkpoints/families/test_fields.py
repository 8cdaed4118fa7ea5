"""Fields of a config.json are checked by their kind, which each has."""

import pytest

from tlm_jax.checkpoints.families.fields import Fields


def test_a_field_whose_kind_is_not_known_is_no_unknown_architecture():
    """`families.fits` passes over what does not suit a model, but not over unfinished families."""
    with pytest.raises(NotImplementedError, match="kind of value is known for the field 'use_qkv"):
        Fields({}).get("use_qkv_bias", default=False)
