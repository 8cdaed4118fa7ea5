"""Every test runs on eight simulated CPU devices with array annotations checked."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jaxtyping

_hook = jaxtyping.install_import_hook("tlm_jax", "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference outputs and data sets; tests that need it skip where it is absent."""
    default = Path(__file__).parents[2] / "shared"
    path = Path(os.environ.get("TLM_JAX_SHARED", default))
    if not path.is_dir():
        pytest.skip(f"no reference folder at {path} (set TLM_JAX_SHARED to its path)")
    return path
