"""Lets a script be started with any Python: it goes on in the project's own environment."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def enter() -> None:
    """Sets the project's environment up if needed, and runs the script again inside it."""
    if sys.prefix == sys.base_prefix:
        subprocess.run([ROOT / "scripts" / "setup"], check=True)
        python = str(ROOT / ".venv" / "bin" / "python")
        os.execv(python, [python, *sys.argv])
