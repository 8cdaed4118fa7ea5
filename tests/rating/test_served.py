"""The page over HTTP: what is answered, saved, and refused."""

import json

import json_lines
import pytest
from served_ratings import SOURCES, explanations, serving

pytest.importorskip("starlette")


def test_items_are_blind(served):
    status, started = served.post("/start", {"rater": " Ann "})
    assert (status, started["rater"], started["done"]) == (200, "Ann", [False] * 6)
    assert [field["name"] for field in started["fields"]] == [
        "fluency", "factuality", "informativeness",
    ]  # fmt: skip
    said = json.dumps(started)
    seen = set()
    for place in range(6):
        status, item = served.post("/item", {"rater": "Ann", "place": place})
        assert status == 200
        assert item["given"][0]["heading"] == "Question"
        said += json.dumps(item)
        seen.add(item["item"])
    assert len(seen) == 6
    assert not any(name in said for name in (*SOURCES, "source", "q0", "q1"))


def test_ratings_are_saved_at_once_changed_and_gone_on_with(served):
    for rater, values in (("Ann", (5, 4)), ("Bob", (1, 2))):
        _, item = served.post("/item", {"rater": rater, "place": 0})
        for value in values:
            asked = {"rater": rater, "item": item["item"], "values": {"fluency": value}}
            assert served.post("/rate", asked) == (
                200, {"values": {"fluency": value}, "done": False},
            )  # fmt: skip
            assert served.rows()[-1]["fluency"] == value
            assert served.rows()[-1]["rater"] == rater
    others = {"factuality": 1, "informativeness": 2}
    asked = {"rater": "bob", "item": item["item"], "values": others}
    assert served.post("/rate", asked)[1]["done"]
    assert served.post("/start", {"rater": "BOB"})[1]["done"] == [True, *[False] * 5]
    assert served.post("/start", {"rater": "Ann"})[1]["done"] == [False] * 6
    assert served.post("/item", {"rater": "Bob", "place": 0})[1]["values"] == {
        "fluency": 2, **others,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "asked", "status", "message"),
    [
        ("/start", {}, 422, "a rater's name has 1 to 100 letters"),
        ("/start", [], 400, "no JSON object"),
        ("/item", {"rater": "A", "place": 6}, 400, "'place' is a number from 0 to 5"),
        ("/item", {"rater": "A", "place": True}, 400, "'place' is a number"),
        ("/rate", {"rater": "A", "item": "x", "values": {"fluency": 1}}, 400, "no item of this"),
        ("/rate", {"rater": "A", "item": ["x"], "values": {"fluency": 1}}, 400, "no item of this"),
        ("/rate", {"rater": "A", "item": None, "values": {}}, 400, "no item of this"),
    ],
)
def test_what_is_asked_wrongly(served, path, asked, status, message):
    got, answer = served.post(path, asked)
    assert got == status
    assert message in answer["error"]
    assert served.rows() == []


def test_wrong_values_are_not_saved(served):
    _, item = served.post("/item", {"rater": "A", "place": 0})
    for values in ({"fluency": 9}, {"flow": 1}, {}, [], {"fluency": {}}):
        asked = {"rater": "A", "item": item["item"], "values": values}
        assert served.post("/rate", asked)[0] in (400, 422)
    assert served.rows() == []


def test_no_request_of_another_site_is_obeyed(served):
    _, item = served.post("/item", {"rater": "A", "place": 0})
    asked = {"rater": "A", "item": item["item"], "values": {"fluency": 1}}
    foreign = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{served.guard.port}"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": f"evil.example:{served.guard.port}", "Origin": "http://evil.example"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        # What a form of another site can send without being asked first.
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ]
    for headers in foreign:
        status, answer = served.post("/rate", asked, **headers)
        assert status in (400, 403, 421), headers
        assert "error" in answer
    body = json.dumps(asked).encode()
    kind = {"Content-Type": "application/json"}
    assert served.request("POST", "/rate", body, kind)[0] == 403
    # A browser asks first whether it may send JSON from elsewhere: nobody says that it may.
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    status, headers, _ = served.request("OPTIONS", "/rate", headers=asks)
    assert status == 403
    assert not any(name.startswith("access-control") for name in headers)
    assert served.request("GET", "/rate", headers={"Host": served.host})[0] == 405
    assert served.rows() == []
    assert served.post("/rate", asked)[0] == 200


def test_bodies_are_bounded(served):
    own = {"Origin": f"http://{served.host}", "Content-Type": "application/json"}
    large = json.dumps({"rater": "A" * 20_000}).encode()
    status, _, text = served.request("POST", "/start", large, own)
    assert (status, "16,384 bytes" in text) == (413, True)
    assert served.request("POST", "/start", b"{" * 10_000, own)[0] == 400
    assert served.request("POST", "/start", b"\xff", own)[0] == 400
    chunked = b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(32))
    sent = {**own, "Transfer-Encoding": "chunked", "Content-Length": None}
    sent = {name: value for name, value in sent.items() if value is not None}
    assert served.request("POST", "/start", chunked, {**sent, "Content-Length": "1"})[0] in (
        400,
        413,
    )


def test_answers_tell_browsers_what_is_forbidden(served):
    for path in ("/", "/rate.js", "/rate.css", "/none"):
        status, headers, _ = served.request("GET", path)
        assert status == (404 if path == "/none" else 200)
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_the_token_is_taken_from_the_address_into_a_cookie(tmp_path):
    with serving(json_lines.write(tmp_path / "a.jsonl", *explanations()), token="secret") as served:
        for path in ("/", "/rate.js", "/?token=other"):
            status, _, text = served.request("GET", path)
            assert status == 401
            assert "with its token" in text
        status, headers, _ = served.request("GET", "/?token=secret")
        assert status == 200
        cookie, *rest = headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=lax"} <= set(rest)
        assert served.post("/start", {"rater": "A"})[0] == 401
        assert served.post("/start", {"rater": "A"}, Cookie=cookie)[0] == 200
        assert "set-cookie" not in served.request("GET", "/", headers={"Cookie": cookie})[1]


def test_markup_is_escaped_in_the_page(tmp_path):
    path = json_lines.write(tmp_path / "<b>&x.jsonl", *explanations())
    with serving(path) as served:
        _, _, page = served.request("GET", "/")
    assert "Rating &lt;b&gt;&amp;x.jsonl" in page
    assert "<b>" not in page
