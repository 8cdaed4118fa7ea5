"""No request is obeyed that another site has a browser send."""

import socket

import pytest

from tlm_jax.rating.guard import Guard, is_loopback

LOCAL = Guard("127.0.0.1", 8360, None)
OPEN = Guard("0.0.0.0", 8360, "secret")


def _status(guard, method="POST", path="/rate", query="", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    refused = guard.refusal(method, path, query, named)
    return 200 if refused is None else refused.status


@pytest.mark.parametrize("host", ["127.0.0.1:8360", "localhost:8360", "[::1]:8360", "LocalHost:9"])
def test_the_page_itself(host):
    assert _status(LOCAL, host=host, origin=f"http://{host}") == 200
    assert _status(LOCAL, "GET", "/", host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8360", "127.0.0.1.evil.example", "localhost@evil.example",
     "192.168.0.2:8360", "[::1", "evil.example/localhost", socket.gethostname() + ".evil.example"],
)  # fmt: skip
def test_names_that_someone_has_pointed_here(host):
    """DNS rebinding: the browser believes the page of another site to be served by us."""
    assert _status(LOCAL, host=host, origin=f"http://{host}") == 421
    assert _status(LOCAL, "GET", "/", host=host) == 421


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8361", "",
     "http://127.0.0.1:8360.evil.example", "file://", "http://localhost:8360"],
)  # fmt: skip
def test_requests_of_other_sites(origin):
    assert _status(LOCAL, host="127.0.0.1:8360", origin=origin) == 403
    assert _status(LOCAL, "GET", "/rate.js", host="127.0.0.1:8360", origin=origin) == 403


def test_what_has_no_origin():
    assert _status(LOCAL, host="127.0.0.1:8360") == 403
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        got = _status(LOCAL, "GET", "/rate.js", host="127.0.0.1:8360", sec_fetch_site=site)
        assert got == status
    # A link to the page does no harm.
    assert _status(LOCAL, "GET", "/", host="127.0.0.1:8360", sec_fetch_site="cross-site") == 200


@pytest.mark.parametrize(
    ("query", "cookie", "status"),
    [
        ("", "", 401),
        ("token=secret", "", 200),
        ("token=secre", "", 401),
        ("token=", "", 401),
        ("token=wrong&token=secret", "", 200),
        ("", "tlm_rate_8360=secret", 200),
        ("", "a=b; tlm_rate_8360=secret", 200),
        ("", "tlm_rate_8361=secret", 401),
        ("", "tlm_rate_8360=", 401),
        ("", "=;;=\x00", 401),
        ("token=\u00e9", "", 401),
    ],
)
def test_the_token(query, cookie, status):
    host = "192.168.0.2:8360"
    assert _status(OPEN, "GET", "/", query, host=host, cookie=cookie) == status
    assert _status(OPEN, "GET", "/", query, host="evil.example", cookie=cookie) == 421


def test_an_open_page_knows_the_names_of_this_machine():
    for host in ("192.168.0.2:8360", "[fe80::1]:8360", socket.gethostname(), "localhost:8360"):
        assert _status(OPEN, "GET", "/", "token=secret", host=host) == 200


def test_only_loopback_has_no_token():
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert is_loopback(host)
        assert Guard.of(host, 1).token is None
    tokens = {Guard.of(host, 1).token for host in ("0.0.0.0", "::", "192.168.0.2", "machine")}
    assert len(tokens) == 4
    assert all(len(token) == 32 for token in tokens)
