"""The page in a real browser: by keyboard alone, on a phone, and with markup in every field."""

import http.client
import json

import json_lines
import pytest
from browser import Browser
from served_ratings import CORRECTION, explanations, serving

pytest.importorskip("starlette")

ATTACK = '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>${hit}{{ 7 * 7 }}'
PROBLEMS = "window.problems = []; addEventListener('error', e => problems.push(String(e.message)));"


@pytest.fixture
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=PROBLEMS)
        yield browser


def _text(browser, selector):
    return browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


def _at_item(browser, number):
    browser.wait(f"document.getElementById('count').textContent.startsWith('{number} of ')")


def _saved(browser):
    browser.wait("document.getElementById('saved').textContent === 'Saved'")


def _start(browser, url, name):
    browser.open(url)
    browser.wait("document.activeElement.id === 'name'")
    browser.write(name)
    browser.press("Enter")


def test_by_keyboard_alone(served, browser):
    _start(browser, served.url, "Ann")
    for number in range(1, 7):
        _at_item(browser, number)
        for value in "543":
            browser.press(value)
        _saved(browser)
        if number < 6:
            browser.press("Enter")
    browser.wait("document.getElementById('count').textContent.includes('thank you')")
    assert [list(row.values())[4:7] for row in served.rows()[2::3]] == [[5, 4, 3]] * 6
    assert len({row["item"] for row in served.rows()}) == 6
    # A rating is changed: back two, the second field.
    browser.press("ArrowLeft")
    _at_item(browser, 5)
    browser.press("ArrowDown")
    browser.press("1")
    browser.wait("document.getElementById('saved').textContent === 'Saved'")
    last = served.rows()[-1]
    assert [last[name] for name in ("fluency", "factuality", "informativeness")] == [5, 1, 3]
    pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map(b => b.firstChild.data)"
    assert browser.evaluate(pressed) == ["5", "1", "3"]
    browser.evaluate("window.buttons = [...document.querySelectorAll('.values button')]")
    # Without shortcuts: Tab reaches every button.
    reached = set()
    for _ in range(18):
        browser.press("Tab")
        reached.add(browser.evaluate("buttons.indexOf(document.activeElement)"))
    assert set(range(15)) <= reached
    assert browser.evaluate("problems") == []


def test_one_goes_on_where_one_stopped_and_raters_are_apart(served, browser):
    _start(browser, served.url, "Ann")
    _at_item(browser, 1)
    browser.press("2")
    _saved(browser)
    for number, keys in ((1, "34"), (2, "555")):
        _at_item(browser, number)
        for key in keys:
            browser.press(key)
        _saved(browser)
        browser.press("ArrowRight")
    _at_item(browser, 3)
    browser.open(served.url)  # the tab knows the name
    _at_item(browser, 3)
    browser.evaluate("sessionStorage.clear()")
    _start(browser, served.url, "Bob")
    _at_item(browser, 1)
    assert "0 rated" in _text(browser, "#count")
    browser.evaluate("sessionStorage.clear()")
    _start(browser, served.url, "ann")
    _at_item(browser, 3)
    assert "2 rated" in _text(browser, "#count")


def test_on_a_phone_and_with_excellent_good_poor(tmp_path, browser):
    path = json_lines.write(tmp_path / "a.jsonl", CORRECTION, {**CORRECTION, "id": "p2"})
    browser.be_a_phone()
    with serving(path) as served:
        _start(browser, served.url, "Ann")
        _at_item(browser, 1)
        assert "Step 1: 2 + 3 = 6." in _text(browser, "#given")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        sizes = browser.evaluate(
            "[...document.querySelectorAll('#rating button')].filter(b => b.offsetHeight)"
            ".map(b => [b.offsetWidth, b.offsetHeight, b.scrollWidth <= b.offsetWidth])"
        )
        assert all(width >= 44 and height >= 44 and fits for width, height, fits in sizes), sizes
        for rating, number in (("Excellent", 1), ("Poor", 2)):
            _at_item(browser, number)
            buttons = "[...document.querySelectorAll('.values button')]"
            word = rating.lower()
            browser.tap(f"{buttons}.find(b => b.firstChild.data === '{word}')")
            _saved(browser)
            browser.tap("document.getElementById('next')")
        browser.wait("document.getElementById('count').textContent.includes('thank you')")
        assert [row["rating"] for row in served.rows()] == ["excellent", "poor"]
        assert browser.evaluate("problems") == []


def test_markup_is_text(tmp_path, browser):
    row = dict.fromkeys(("id", "source", "question", "answer", "text"), ATTACK)
    path = json_lines.write(tmp_path / "a.jsonl", {**row, "options": [ATTACK, ATTACK]})
    with serving(path) as served:
        _start(browser, served.url, ATTACK[:100])
        _at_item(browser, 1)
        browser.press("1")
        _saved(browser)
        assert _text(browser, "#rated div") == ATTACK
        assert [_text(browser, f"#given section:nth-child({n}) div") for n in (1, 3)] == [
            ATTACK
        ] * 2
        assert _text(browser, "#given section:nth-child(2) div") == f"(A) {ATTACK}\n(B) {ATTACK}"
        assert browser.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert browser.evaluate("window.hit") is None
        assert browser.evaluate("problems") == []
        assert served.rows()[0]["rater"] == ATTACK[:100]


def test_markup_in_a_correction_is_text(tmp_path, browser):
    row = {**CORRECTION, "incorrect_step": ATTACK, "explanation": ATTACK}
    row |= {"path": [ATTACK], "correct_solution": [ATTACK]}
    with serving(json_lines.write(tmp_path / "a.jsonl", row)) as served:
        _start(browser, served.url, "Ann")
        _at_item(browser, 1)
        assert _text(browser, "#given section:last-child div") == f"Step 1: {ATTACK}"
        shown = [_text(browser, f"#rated section:nth-child({n}) div") for n in (1, 2, 3)]
        assert shown == [f"Step {ATTACK}", ATTACK, f"Step 1: {ATTACK}"]
        assert browser.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert browser.evaluate("window.hit") is None


def test_what_is_not_saved_is_told_and_sent_again(served, browser):
    _start(browser, served.url, "Ann")
    _at_item(browser, 1)
    browser.evaluate("window.real = fetch; window.fetch = () => Promise.reject(new Error('off'))")
    browser.press("4")
    browser.wait("!document.getElementById('alert').hidden")
    assert "Not saved: the server does not answer" in _text(browser, "#alert")
    assert served.rows() == []
    browser.evaluate("window.fetch = window.real")
    _saved(browser)
    browser.wait("document.getElementById('alert').hidden")
    assert [row["fluency"] for row in served.rows()] == [4]


def test_a_page_of_another_site_changes_and_reads_nothing(served, browser):
    """From a page of `localhost`, another site than 127.0.0.1 though the same machine."""
    with serving(json_lines.write(served.ratings.with_name("b.jsonl"), *explanations(1))) as other:
        browser.open(f"http://localhost:{other.guard.port}/none")
        browser.wait("location.hostname === 'localhost'")
        _, item = served.post("/item", {"rater": "A", "place": 0})
        asked = json.dumps({"rater": "A", "item": item["item"], "values": {"fluency": 1}})
        for options in (
            {"method": "POST", "body": asked, "headers": {"Content-Type": "application/json"}},
            {"method": "POST", "body": asked, "mode": "no-cors"},
            {},
        ):
            fetched = f"fetch('{served.url}rate', {json.dumps(options)})"
            got = browser.evaluate(f"{fetched}.then(answer => answer.text(), () => 'refused')")
            assert got in ("refused", "")
    assert served.rows() == []


def test_a_token_leaves_the_address(tmp_path, browser):
    with serving(json_lines.write(tmp_path / "a.jsonl", *explanations()), token="secret") as served:
        _start(browser, f"{served.url}?token=secret", "Ann")
        _at_item(browser, 1)
        assert browser.evaluate("location.href") == served.url
        browser.open(served.url)
        _at_item(browser, 1)


def test_a_browser_is_told_when_the_server_has_ended(tmp_path, browser):
    with serving(json_lines.write(tmp_path / "a.jsonl", *explanations())) as served:
        _start(browser, served.url, "Ann")
        _at_item(browser, 1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        served.post("/start", {"rater": "Ann"})
    browser.press("ArrowRight")
    browser.wait("!document.getElementById('alert').hidden")
    assert "The item cannot be shown: the server does not answer." in _text(browser, "#alert")
