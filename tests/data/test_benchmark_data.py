"""`scripts/benchmark data` runs and reports what it promises."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "data.py"


def load():
    spec = importlib.util.spec_from_file_location("benchmark_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_small_run_reports_speed_and_fill(capsys):
    sizes = ["--rows=48", "--repeats=1", "--batches=2", "--batch=4", "--window=24", "--cores=0"]
    assert load().main(["--task=word_problems_cot_zero_shot", *sizes]) == 0
    lines = {line.strip().partition("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    for label in ("our packing", "SeqIO's packing"):
        assert "tokens/s" in lines[label]
        assert "fill of targets" in lines[label]
    assert "tokens/s" in lines["tokenizing, one thread"]
    assert "fill of decoder" in lines["whole pipeline"]


def test_an_unknown_task_is_one_line(capsys):
    assert load().main(["--task=word_problem_cot_zero_shot", "--cores=0"]) == 1
    assert "Did you mean 'word_problems_cot_zero_shot'" in capsys.readouterr().out
