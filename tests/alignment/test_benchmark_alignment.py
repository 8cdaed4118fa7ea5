"""`scripts/benchmark alignment` runs and reports what it promises."""

import importlib.util
import json
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "alignment.py"
TOKENIZERS = ["--teacher=byte", "--student=asset:word_problems", "--no-pin", "--repeats=1"]


def run(*arguments):
    spec = importlib.util.spec_from_file_location("benchmark_alignment", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([*TOKENIZERS, *arguments])


def test_rates_of_a_file(tmp_path, capsys):
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"a": {"b": "Mia has 3 apples."}}) + "\n")
    assert run(f"--texts={path}", "--field=a.b") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 solutions of 18 teacher and 8 student tokens, 8 candidates")
    assert [line.partition("  ")[0] for line in lines if line[:1] != " "][1:] == [
        "offsets: 50.0% of student tokens soft",
        "dtw: 0.0% of student tokens soft",
    ]
    assert sum("solutions/s of CPU time" in line for line in lines) == 5


def test_a_missing_file_is_one_line(capsys):
    assert run("--texts=none.jsonl") == 1
    assert capsys.readouterr().out == "error: none.jsonl: no such file.\n"
