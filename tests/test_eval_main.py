"""`python -m tlm_jax.eval` as a command; what it does is tested in tests/runs/evaluation."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_help_needs_neither_jax_nor_tensorflow():
    code = (
        "import sys\nfrom tlm_jax import eval as main\n"
        "try:\n    main.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('jax', 'flax', 'tensorflow', 'seqio') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--gin_file" in output
    assert output.splitlines()[-1] == "[]"
