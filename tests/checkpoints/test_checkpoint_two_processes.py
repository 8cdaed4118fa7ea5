"""Two processes with four devices each write one checkpoint, and read it back onto other meshes."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).parent / "worker_two_processes.py"


def test_two_processes_save_and_restore_together(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, address, str(index), tmp_path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for index in range(2)
    ]
    found = []
    for worker in workers:
        out, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
        found.append(json.loads(out.splitlines()[-1]))
    announced = [f.pop("announced") for f in found]
    assert found[0] == found[1]
    assert [row["process"] for row in found[0]["gathered"]] == [0, 1]
    assert [len(row["text"]) for row in found[0]["gathered"]] == [5, 105]
    assert found[0]["nothing"] is None
    assert found[0]["steps"] == [2, 3]
    assert found[0]["restored"] == [3, {"position": 3}, {"n": 3}, True]
    assert "'params/kernel' has shape [16, 8] there" in found[0]["other_model"]
    assert found[0]["after_damage"] == [2, {"position": 2}, True]
    assert len(announced[0]) == 1
    assert re.match(r"checkpoint 3 is damaged: file state/.* has been altered", announced[0][0])
    assert announced[1] == []
