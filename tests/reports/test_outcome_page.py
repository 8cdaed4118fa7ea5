"""The evaluation's page: text stays text, and a real browser shows it without faults."""

import importlib.util
import json
import queue
import re
import shutil
import subprocess
import threading
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tlm_jax.evaluation.outcomes import compared
from tlm_jax.reports import outcome_page

HERE = Path(__file__).parent
_QUESTIONS = 40


def _example_outcomes():
    spec = importlib.util.spec_from_file_location("example", HERE / "example_outcomes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.example_outcomes(_QUESTIONS)


@pytest.fixture(scope="module")
def outcomes():
    return _example_outcomes()


def _render(outcomes, **options):
    first, second = outcomes[: len(outcomes) // 2], outcomes[len(outcomes) // 2 :]
    comparisons = [compared(one, other) for one, other in zip(first, second)]
    known = [
        {"task": "gsm8k", "training_set": "t:train", "questions": 9, "found": 2, "kinds": {}},
    ]
    return outcome_page.render(
        outcomes, [o.summary() for o in outcomes], comparisons, known, **options
    )


@pytest.fixture(scope="module")
def page(outcomes):
    return _render(outcomes)


def test_whatever_was_written_is_text(page):
    page.encode("utf-8")
    assert page.count("<script>") == 1  # our own
    assert "<b>bold</b>" not in page
    assert "&lt;script&gt;alert(" in page
    assert "http" not in page.replace("http-equiv", "")


def test_sections(page):
    headings = [unescape(text) for text in re.findall("<h2>(.*?)</h2>", page)]
    part = "gsm8k_cot_zero_shot, majority of samples"
    for expected in (
        "Scores",
        "Majority and any of k samples",
        f"Difficulty and length: {part}",
        "Test questions in training sets",
        f"{part}: checkpoint_10000 → a_longer_name_of_a_run",
        f"Hardest: {part}",
        f"Questions: {part}",
    ):
        assert expected in headings
    assert 'aria-label="gsm8k_cot_zero_shot, checkpoint_10000 by k: maj@k, pass@k"' in page
    assert "<mark>" in page


def test_every_question_and_sample_is_in_the_page_once_more_where_it_changed(page, outcomes):
    found = outcomes[1]
    listed = page[page.index(f"<h2>Questions: {found.task}, majority of samples") :]
    listed = listed[: listed.index("</section>")]
    assert listed.count('class="question"') == _QUESTIONS
    assert listed.count('<pre class="sample') == 2 * 8 * _QUESTIONS
    broken = compared(found, outcomes[len(outcomes) // 2 + 1])
    start = page.index("<h2>gsm8k_cot_zero_shot, majority of samples")
    changed = page[start : page.index("</section>", start)]
    for title, ids in (("broken", broken["newly_broken"]), ("solved", broken["newly_right"])):
        assert (f"Newly {title}: {len(ids)}" in changed) == bool(ids)
    assert changed.count('class="question"') == broken["broken"] + broken["fixed"]


def test_what_is_left_out_is_said(outcomes):
    few = _render(outcomes, show_questions=5)
    assert few.count("5 of 40 questions") == 4
    assert "in the folder samples beside this page" in few
    short = _render(outcomes, most_characters=30_000)
    assert len(short) < len(few) * 3
    assert "0 of 40 questions" in short


def test_nothing_graded_makes_a_page():
    from tlm_jax.evaluation.outcomes import Outcome

    empty = Outcome("one", "sums", "greedy", (), ungraded=3)
    page = outcome_page.render([empty], [empty.summary()], [], [])
    assert "–" in page
    assert "0 questions" in page


_PROBE = r"""
<script>
addEventListener("load", () => {
  const rgb = text => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const contrast = (e, property) => {
    const [a, b] = [rgb(getComputedStyle(e)[property]), behind(e)].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const least = (selector, property = "color") =>
    Math.min(...all(selector).map(e => contrast(e, property)));
  const overlap = (a, b) => a.left < b.right - 0.5 && b.left < a.right - 0.5
    && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5;
  const overlapping = elements => {
    const boxes = elements.map(e => e.getBoundingClientRect());
    return boxes.some((a, i) => boxes.slice(i + 1).some(b => overlap(a, b)));
  };
  const facts = {errors: window.failures, dark: matchMedia("(prefers-color-scheme: dark)").matches};
  all("main > section > details").forEach(e => e.open = true);
  facts.width = innerWidth;
  facts.sideways = document.documentElement.scrollWidth - innerWidth;
  facts.labels = all("figure svg").some(svg => overlapping(all("text", svg)));
  facts.legends = all(".legend").some(legend => overlapping(all("span", legend)));
  facts.cells = all(".stacked").slice(0, 60).some(cell => overlapping([...cell.children]));
  facts.scores = all(".scores .stacked b")[0].getBoundingClientRect().right <= innerWidth;
  facts.contrast = {};
  for (const selector of ["body", ".note", "th", ".unit", ".verdict", ".traits", ".legend span",
      ".facts", ".prompt", "mark", ".controls output"])
    facts.contrast[selector] = least(selector);
  facts.contrast["svg text"] = least("figure svg text", "fill");
  const lists = all(".controls"), controls = lists[lists.length - 1];
  const [find, which, order] = controls.querySelectorAll("input, select");
  const blocks = () => all(".question", controls.nextElementSibling);
  const shown = () => blocks().filter(b => !b.hidden && b.getClientRects().length).length;
  const count = [shown()];
  which.value = "00"; which.dispatchEvent(new Event("change")); count.push(shown());
  facts.wrong = blocks().filter(b => !b.hidden).every(b => b.dataset.right[0] === "0");
  which.value = "01"; which.dispatchEvent(new Event("change")); count.push(shown());
  which.value = ""; find.value = "BOB HAS 22 "; find.dispatchEvent(new Event("input"));
  count.push(shown());
  facts.count = count;
  find.value = ""; find.dispatchEvent(new Event("input"));
  order.value = "hardness"; order.dispatchEvent(new Event("change"));
  facts.sorted = blocks().map(b => Number(b.dataset.hardness));
  blocks()[0].open = true;
  facts.sample = getComputedStyle(all(".sample", blocks()[0])[0]).display;
  const chart = document.querySelector("svg[data-chart]"), box = chart.getBoundingClientRect();
  chart.dispatchEvent(new PointerEvent("pointermove",
    {clientX: box.right - 0.04 * box.width, clientY: box.top + 20}));
  facts.tip = chart.closest("figure").querySelector(".tip").textContent;
  location.href = "ANSWER?" + encodeURIComponent(JSON.stringify(facts));
});
</script>
"""


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    if found is None:
        pytest.skip("no chromium: apt-get install chromium")
    return found


class _Answers(BaseHTTPRequestHandler):
    """Takes in what the probe has found; it tells it by leaving for this address.

    The page's own policy lets no script send anything.
    """

    def do_GET(self):
        self.server.answers.put(unquote(urlsplit(self.path).query))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *unused):
        pass


def _facts(browser, page, folder, width, dark):
    """Returns what the probe found in the page, once it has: a busy machine takes its time.

    `--dump-dom` does not wait for it: it takes the page as it is when loading, as the browser sees
    it, and a budget of the browser's clock are over.
    """
    # Errors are caught from the first script on; the probe runs when all is there.
    catch = "<script>window.failures = [];\nonerror = text => { failures.push(text); };</script>"
    path = folder / "page.html"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        probe = _PROBE.replace("ANSWER", f"http://127.0.0.1:{server.server_port}/")
        probed = page.replace("<head>", f"<head>{catch}").replace("</body>", f"{probe}</body>")
        path.write_text(probed, encoding="utf-8")
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *scheme]
        command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},2000"]
        server.answers = queue.SimpleQueue()
        threading.Thread(target=server.serve_forever).start()
        noise = folder / "browser.log"
        with noise.open("w") as log:
            running = subprocess.Popen([*command, path.as_uri()], stdout=log, stderr=log)
            try:
                return json.loads(server.answers.get(timeout=120))
            except queue.Empty:
                pytest.fail(f"the page has not answered: {noise.read_text()[-2000:]}")
            finally:
                running.kill()
                running.wait()
                server.shutdown()


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (500, True)], ids=["desktop-light", "phone-dark"]
)
def test_in_a_browser(browser, page, tmp_path, width, dark):
    facts = _facts(browser, page, tmp_path, width, dark)
    assert facts["errors"] == []
    assert (facts["width"], facts["dark"]) == (width, dark)
    assert facts["sideways"] <= 0
    for name in ("labels", "legends", "cells"):
        assert not facts[name], f"{name} overlap"
    assert facts["scores"], "the accuracy is beyond the edge"
    assert {name: ratio for name, ratio in facts["contrast"].items() if ratio < 4.5} == {}
    everything, wrong, right, named = facts["count"]
    assert everything == _QUESTIONS
    assert 0 < wrong < _QUESTIONS
    assert facts["wrong"]
    assert wrong + right == everything
    assert named == 1
    assert facts["sorted"] == list(range(_QUESTIONS))
    assert facts["sample"] == "block"
    assert re.fullmatch(r"k 8maj@k [\d.]+%pass@k [\d.]+%", facts["tip"])
