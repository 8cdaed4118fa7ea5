"""What a wheel installs runs by itself: nothing of a checkout is beside it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("tlm_jax", "tasks", "gin_configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
TINY = (
    *("TRAIN_STEPS=2", "BATCH_SIZE=8", "EVAL_TASKS=[]", "CHECKPOINT_PERIOD=2"),
    *("models.EncoderDecoderConfig.embed_dim=16", "models.EncoderDecoderConfig.mlp_dim=16"),
    "schedules.Cosine.warmup_steps=1",
)


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a wheel made of this checkout, with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: setuptools leaves what it builds beside the sources.
    for name in SOURCES:
        source, copy = ROOT / name, folder / "sources" / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(source, copy)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    offline = ("--no-deps", "--no-index")
    build = ("wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, folder / "sources")
    run(*pip, *build)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(folder / "sources")
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(*pip, "install", *offline, "--target", site, wheel)
    return environment


@pytest.mark.slow
def test_training_in_an_empty_folder(installed, tmp_path):
    settings = [f"--gin.{text}" if "." in text else text for text in TINY]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    python = installed / "bin" / "python"
    where = run(
        python, "-c", "import tlm_jax; print(tlm_jax.__file__)", cwd=tmp_path, env=environment
    )
    assert Path(where.strip()).is_relative_to(installed)
    command = (python, "-m", "tlm_jax", "train", "--gin_file=gin_configs/quickstart.gin")
    run(*command, "MODEL_DIR=run", *settings, cwd=tmp_path, env=environment)
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    # What other commands read where no file is named is found, too.
    defaults = run(
        *command[:3],
        *("eval", "--dry_run", "CHECKPOINTS=['run']", "EVAL_TASKS=['addition_direct']"),
        cwd=tmp_path,
        env=environment,
    )
    assert "addition_direct" in defaults
    # A model that comes along, too.
    infer = ("infer", "MODEL=asset:word_problems_student", "OUTPUT_DIR=samples", "NUM_EXAMPLES=1")
    task = ("MIXTURE_OR_TASK_NAME=word_problems_easy_cot_zero_shot", "MAX_TOKENS=2")
    run(*command[:3], *infer, *task, cwd=tmp_path, env=environment)
    assert (tmp_path / "samples" / "samples.jsonl").is_file()
