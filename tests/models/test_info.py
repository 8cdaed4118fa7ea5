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


def test_projected_embeddings_and_their_positions(kind):
    config = kind("opt_350m")
    lines = models.model_info(config, make_mesh(MeshShape(data=2, fsdp=2, tensor=2))).splitlines()
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if "/" in line}
    assert rows["decoder/token_embedder/embedding"].startswith("64 x 16  ")
    assert rows["decoder/position_embedder/embedding"].startswith("40 x 32  ")
    assert rows["decoder/project_in/kernel"].startswith("16 x 32  ")
    assert rows["decoder/project_in/kernel"].endswith("-, fsdp")
    assert rows["decoder/project_out/kernel"].startswith("32 x 16  ")
    assert rows["decoder/project_out/kernel"].endswith("fsdp, -")
    assert "decoder/decoder_norm/scale" not in rows
