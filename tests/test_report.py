"""The report holds what a run left behind, shows model output as text only, and fetches nothing."""

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.reports.run_page import write_report

EVIL = "</pre></script><script>alert('%s')</script><img src=x onerror=alert(1)> \"'&\x00\ud800"


@pytest.fixture
def model_dir(tmp_path):
    """A run of 30 steps on one task, every text of which tries to break out of the page."""
    rows = [
        {"step": s, "split": "train", "loss": 3.0 / s, "gradient_norm": 1.0, "accuracy": 0.5}
        for s in range(1, 31)
    ]
    rows.append({"step": 30, "split": "eval/sums", "nll_nats": 0.25, "unparsable_share": 0.1})
    write_lines(tmp_path / "metrics.jsonl", rows)
    predictions = [
        {
            "id": EVIL % f"id{i}",
            "prompt": EVIL % f"prompt{i}",
            "prediction": EVIL % f"prediction{i}" + f" The answer is {i}.",
            "extracted": str(i) if i != 4 else EVIL % "extracted",
            "gold": str(i) if i < 3 else EVIL % "gold",
            "correct": i < 3,
        }
        for i in range(5)
    ]
    write_lines(tmp_path / "eval" / "sums" / "step_30.jsonl", predictions)
    (tmp_path / "config.gin").write_text(EVIL.replace("\ud800", "") % "config")
    (tmp_path / "model-info.txt").write_text("decoder/logits_dense/kernel [64, 256]")
    return tmp_path


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class Page(HTMLParser):
    """The elements of a page, their attributes, and the text of it."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.text, self.marked = [], [], "", []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data
            if self.open[-1] == "mark":
                self.marked.append(data)


def test_model_output_stays_text(model_dir):
    page = Page(write_report(model_dir))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "img" not in [tag for tag, _ in page.elements]
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
    for place in ("id0", "prompt0", "prediction3", "extracted", "gold", "config"):
        assert f"<script>alert('{place}')</script><img src=x onerror=alert(1)>" in page.text


def test_contents(model_dir):
    path = write_report(model_dir)
    assert path == model_dir / "report.html"
    page = Page(path)
    assert page.elements[0][0] == "html"
    for title in ("Loss", "Exact answers", "Next-token accuracy", "Gradient norm", "Evaluation"):
        assert title in page.text
    # 3 of 5 with its Wilson interval, calculated by hand: (23.07 %, 88.24 %).
    for cell in ("3 of 5", "60.0%", "23.1% to 88.2%", "10.0%", "0.2500", "60.0% at 30"):
        assert cell in page.text
    assert page.marked[:4] == ["0", "3", "1", EVIL_MARK]
    assert "decoder/logits_dense/kernel [64, 256]" in page.text
    # No address but SVG's own would be fetched.
    assert "http://" not in path.read_text()
    assert "https://" not in path.read_text()


# The text has no place equal to this answer, so the line behind the marker is marked.
EVIL_MARK = "4."


@pytest.mark.parametrize(
    "missing", ["metrics.jsonl", "config.gin", "model-info.txt", "eval/sums/step_30.jsonl"]
)
def test_each_file_may_be_missing(model_dir, missing):
    (model_dir / missing).unlink()
    page = Page(write_report(model_dir))
    assert "Curves" in page.text
    assert "Evaluation" in page.text
    assert ("3 of 5" in page.text) == (missing != "eval/sums/step_30.jsonl")


def test_a_run_that_has_only_begun(tmp_path):
    (tmp_path / "config.gin").write_text("BATCH_SIZE = 8")
    page = Page(write_report(tmp_path, tmp_path / "page.html"))
    assert "Nothing was recorded." in page.text
    assert "BATCH_SIZE = 8" in page.text


def test_predictions_with_missing_fields(tmp_path):
    write_lines(tmp_path / "eval" / "t" / "step_1.jsonl", [{}, {"correct": True}, {"id": 7}])
    page = Page(write_report(tmp_path))
    assert "1 right, 2 not graded" in page.text


def run_main(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment
    )


def test_main(model_dir):
    done = run_main("-m", "tlm_jax.report", str(model_dir))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{model_dir / 'report.html'}\n"


def test_main_does_not_import_tensorflow(model_dir):
    program = (
        "import sys; from tlm_jax.report import main; main(sys.argv[1:]); "
        "assert not {'tensorflow', 'seqio'} & set(sys.modules)"
    )
    done = run_main("-c", program, str(model_dir))
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_arguments_are_one_line(tmp_path):
    done = run_main("-m", "tlm_jax.report", str(tmp_path / "absent"))
    assert done.returncode == 1
    assert done.stderr == f"error: MODEL_DIR {tmp_path / 'absent'} does not exist\n"
    with pytest.raises(UserError, match=r"holds nothing to report \(expected config\.gin"):
        write_report(tmp_path)
    (tmp_path / "config.gin").write_text("")
    with pytest.raises(UserError, match=r"holds nothing to report"):
        write_report(tmp_path)
    (tmp_path / "config.gin").write_text("A = 1")
    with pytest.raises(UserError, match=r"absent/page\.html cannot be written: No such file"):
        write_report(tmp_path, tmp_path / "absent" / "page.html")
