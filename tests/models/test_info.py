"""The parameter table names every parameter with its shape, axes and split."""

from tlm_jax import models
from tlm_jax.sharding.mesh import MeshShape, make_mesh


def test_table():
    config = models.EncoderDecoderConfig(
        vocab_size=64, embed_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_encoder_layers=2,
        num_decoder_layers=2,
    )  # fmt: skip
    mesh = make_mesh(MeshShape(data=2, fsdp=2, tensor=2))
    lines = models.model_info(config, mesh).splitlines()
    row = next(line for line in lines if line.startswith("encoder/encoder/mlp/wi_0/kernel"))
    assert "  16 x 2 x 32  " in row
    assert "embed, layers, mlp" in row
    assert row.endswith("fsdp, -, tensor")
    assert f"{models.num_params(config):,} parameters" in lines
