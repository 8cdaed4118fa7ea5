"""Which requests the page obeys: none that another site has a browser send."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

LARGEST_BODY = 16 * 1024
"""Bytes of a request; a rating has less than 200."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer: no other site reads it, frames it, or has its scripts run in it."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a request is not obeyed, with its HTTP status."""

    status: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Guard:
    """Tells requests of the page from others.

    Attributes:
      host: the address that is listened at.
      port: the port.
      token: what a request has to know; None on loopback.
    """

    host: str
    port: int
    token: str | None

    @classmethod
    def of(cls, host: str, port: int) -> Guard:
        """Returns the guard of an address; one that others can reach has a new token."""
        return cls(host, port, None if is_loopback(host) else secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """The name of the cookie that keeps the token; browsers do not tell ports apart."""
        return f"tlm_rate_{self.port}"

    def refusal(
        self, method: str, path: str, query: str, headers: Mapping[str, str]
    ) -> Refusal | None:
        """Returns why a request is not obeyed, or None.

        - `Host` must be an address or a name of this machine. A name of someone else's, which its
          owner has pointed here (DNS rebinding), is none.
        - `Origin` must be the page itself, and must be there where something is changed; a browser
          writes it, and a script of another site cannot change it.
        - `Sec-Fetch-Site`, where the browser writes it, says likewise for what has no `Origin`.
        - The token, where there is one, stands in the query or in a cookie.

        Args:
          method: GET or POST.
          path: of the request, without the query.
          query: the token stands there, on the first call.
          headers: by names in lower case.
        """
        host = headers.get("host", "")
        if not self._is_ours(host):
            return Refusal(421, f"{host[:80]!r} is no name of this server")
        origin = headers.get("origin")
        if origin is None and method not in ("GET", "HEAD"):
            return Refusal(403, "the request does not say which page it comes from (Origin)")
        if origin is not None and origin.lower() not in (
            f"http://{host.lower()}",
            f"https://{host.lower()}",
        ):
            return Refusal(403, "the request comes from another site")
        site = headers.get("sec-fetch-site", "same-origin")
        if path != "/" and site not in ("same-origin", "none"):
            return Refusal(403, "the request comes from another site")
        if self.token is not None and not self._knows_token(query, headers.get("cookie", "")):
            return Refusal(401, "open the address that was printed, with its token")
        return None

    def has_token(self, query: str) -> bool:
        """Whether the query holds the token."""
        return self.token is not None and any(
            name == "token" and _equal(value, self.token)
            for name, _, value in (field.partition("=") for field in query.split("&"))
        )

    def _knows_token(self, query: str, cookie: str) -> bool:
        if self.has_token(query):
            return True
        try:
            found = SimpleCookie(cookie).get(self.cookie)
        except CookieError:
            return False
        return found is not None and self.token is not None and _equal(found.value, self.token)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name or "@" in host or "/" in host:
            return False
        if self.token is None:
            return is_loopback(name)
        machine = socket.gethostname().lower()
        # Nobody can point an address in figures elsewhere.
        return is_address(name) or name in (
            self.host.lower(),
            machine,
            f"{machine}.local",
            "localhost",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if host.lower() == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def is_address(host: str) -> bool:
    """Whether a host is an address in figures."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
