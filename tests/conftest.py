"""Every test runs on eight simulated CPU devices with array annotations checked."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Programs of tests are compiled once and run a few times, so the quick way to compile is the quick
# way to run them; values differ from those of optimised programs in the last bits only.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false",
    )
).strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jaxtyping

# Not `runs`: gin binds any value to a configuration, and the check there says it better.
CHECKED = (
    *("checkpoints", "data", "decoding", "evaluation", "losses", "metrics", "models", "optim"),
    *("sharding", "training", "trees", "types", "lazy", "ragged", "system", "vocabularies"),
    *("alignment", "teacher_cache", "scoring", "reports", "rating", "conformance"),
)
_hook = jaxtyping.install_import_hook([f"tlm_jax.{name}" for name in CHECKED], "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402
import suite_session  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# Many tests build the same tiny program anew; each is compiled once a machine.
_cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tlm_jax", "tests")
jax.config.update("jax_compilation_cache_dir", str(_cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_configure(config: pytest.Config) -> None:
    """Adds the hooks of a whole session."""
    config.pluginmanager.register(suite_session, "suite_session")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference outputs and data sets; tests that need it skip where it is absent."""
    default = Path(__file__).parents[2] / "shared"
    path = Path(os.environ.get("TLM_JAX_SHARED", default))
    if not path.is_dir():
        pytest.skip(f"no reference folder at {path} (set TLM_JAX_SHARED to its path)")
    return path


@pytest.fixture
def start_training() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Returns a function that starts `python -m tlm_jax.train` on the tiny run.

    It takes further arguments of the command, and environment variables by keyword. Standard
    output and error come together. Processes that still run at the end of the test are killed.
    """
    repository = Path(__file__).parents[1]
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tlm_jax.train", "--gin_file=tests/tiny_run.gin", *arguments],
            cwd=repository,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def run_processes() -> Callable[..., None]:
    """Returns a function that runs `python -m MODULE arguments...` in JAX processes of one job.

    The devices are divided among the processes; all of them have to succeed.
    """

    def run(
        module: str, *arguments: str, processes: int, devices: int, timeout_s: float = 400
    ) -> None:
        with socket.socket() as listener:
            listener.bind(("localhost", 0))
            port = listener.getsockname()[1]
        flags = f"--xla_force_host_platform_device_count={devices // processes}"
        running = []
        for index in range(processes):
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
            if processes > 1:
                environment["JAX_COORDINATOR_ADDRESS"] = f"localhost:{port}"
                environment["JAX_NUM_PROCESSES"] = str(processes)
                environment["JAX_PROCESS_ID"] = str(index)
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    cwd=Path(__file__).parents[1],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        try:
            said = [process.communicate(timeout=timeout_s)[0] for process in running]
        finally:
            for process in running:
                process.kill()
        assert [process.returncode for process in running] == [0] * processes, "\n".join(said)

    return run
