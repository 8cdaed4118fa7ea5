"""Files of a MODEL_DIR."""

from tlm_jax.runs.training.files import write_configuration


def test_an_earlier_configuration_is_never_overwritten(tmp_path):
    for text in ("a", "b", "c"):
        write_configuration(tmp_path, text)
    assert (tmp_path / "config.gin.2").read_text() == "b"
    (tmp_path / "config.gin.1").unlink()
    write_configuration(tmp_path, "d")
    assert (tmp_path / "config.gin.2").read_text() == "b"
    assert (tmp_path / "config.gin.3").read_text() == "c"
