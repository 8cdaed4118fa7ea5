"""The models that come with the library are opened by name."""

import pytest

from tlm_jax.checkpoints.pretrained import ASSETS, open_pretrained
from tlm_jax.errors import UserError


@pytest.mark.parametrize(
    ("name", "embed_dim"), [("word_problems_student", 96), ("word_problems_teacher", 128)]
)
def test_opened_by_name(name, embed_dim):
    source = open_pretrained(f"asset:{name}")
    assert source.path == ASSETS / name
    assert source.config.embed_dim == embed_dim
    assert source.config.is_encoder_decoder


def test_another_name_is_one_line():
    with pytest.raises(UserError, match=r"'asset:word_problem_teacher'.*asset:word_problems_t"):
        open_pretrained("asset:word_problem_teacher")
