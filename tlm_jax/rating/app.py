"""Serves the page by Starlette and uvicorn, which no other module imports."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tlm_jax.errors import UserError, system_reason
from tlm_jax.rating.guard import HEADERS, LARGEST_BODY, Guard
from tlm_jax.rating.items import Sheet
from tlm_jax.rating.store import RatingStore, rater_name
from tlm_jax.reports.templating import asset, render_page

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.datastructures import Headers
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise UserError("the page needs Starlette and uvicorn: pip install 'tlm_jax[rate]'") from error


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; port 0 takes a free one.

    Raises:
      UserError: the port is taken, or the host is none of this machine's.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port is {port}, expected 0 to 65535; 0 takes a free one")
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UserError(
            f"the page cannot be served at {host}, port {port} ({system_reason(error)}); stop what "
            "listens there, or choose another with --port=N or --host=ADDRESS"
        ) from error


def address(guard: Guard) -> str:
    """Returns what a rater opens in a browser."""
    host = socket.gethostname() if guard.host in ("0.0.0.0", "::") else guard.host
    host = f"[{host}]" if ":" in host else host
    token = "" if guard.token is None else f"?token={guard.token}"
    return f"http://{host}:{guard.port}/{token}"


def serve(
    sheet: Sheet,
    store: RatingStore,
    guard: Guard,
    listening: socket.socket,
    ready: Callable[[uvicorn.Server], object] = lambda server: None,
) -> None:
    """Serves the page until the process ends, or until `should_exit` of what `ready` is given."""
    config = uvicorn.Config(
        Pages(sheet, store, guard).application(),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=100,
    )
    server = _Server(config)
    ready(server)
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Leaves signals to `system.interruption`: what is rated is on disk, so nothing is to do."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _BadRequest(Exception):
    pass


class Pages:
    """The page and what its script asks for."""

    def __init__(self, sheet: Sheet, store: RatingStore, guard: Guard):
        """Keeps them; `store` is written to."""
        self._sheet, self._store, self._guard = sheet, store, guard
        self._items = {item.key: item for item in sheet.items}

    def application(self) -> Any:
        """Returns the ASGI application: what the guard refuses gets no further."""
        routes = [
            Route("/", self._page),
            Route("/rate.css", self._style),
            Route("/rate.js", self._script),
            Route("/start", self._answering(self._start), methods=["POST"]),
            Route("/item", self._answering(self._item), methods=["POST"]),
            Route("/rate", self._answering(self._rate), methods=["POST"]),
        ]
        application = Starlette(routes=routes)

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            # Not the URL, which is put together from what the client says of the host.
            query = scope["query_string"].decode("latin-1")
            refused = self._guard.refusal(
                scope["method"], scope["path"], query, Headers(scope=scope)
            )
            if refused is not None:
                answer = JSONResponse(
                    {"error": refused.reason}, refused.status, {**HEADERS, "Connection": "close"}
                )
                await answer(scope, receive, send)
                return

            async def send_with_headers(message: Any) -> None:
                if message["type"] == "http.response.start":
                    added = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                    message = {**message, "headers": [*message["headers"], *added]}
                await send(message)

            await application(scope, receive, send_with_headers)

        return guarded

    async def _page(self, request: Request) -> Response:
        text = render_page("rate.html", title=f"Rating {self._sheet.path.name}")
        answer = Response(text, media_type="text/html")
        query = request.scope["query_string"].decode("latin-1")
        if self._guard.token is not None and self._guard.has_token(query):
            answer.set_cookie(
                self._guard.cookie, self._guard.token, httponly=True, samesite="lax", path="/"
            )
        return answer

    async def _style(self, request: Request) -> Response:
        return Response(asset("page.css") + asset("rate.css"), media_type="text/css")

    async def _script(self, request: Request) -> Response:
        return Response(asset("rate.js"), media_type="text/javascript")

    def _answering(self, call: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
        async def answer(request: Request) -> Response:
            try:
                return JSONResponse(call(await _json_of(request)))
            except _BadRequest as error:
                return JSONResponse({"error": str(error)}, 400)
            except UserError as error:
                return JSONResponse({"error": str(error)}, 422)
            except ClientDisconnect:
                return Response(status_code=400)
            except _TooLarge:
                return JSONResponse(
                    {"error": f"expected at most {LARGEST_BODY:,} bytes"},
                    413,
                    {"Connection": "close"},
                )

        return answer

    def _start(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the scale, and which items a rater has done, in the order of that rater."""
        rater = self._rater(asked)
        scale = self._sheet.scale
        return {
            "rater": rater,
            "fields": [{"name": n, "question": q} for n, q in scale.fields.items()],
            "values": [{"value": v, "meaning": m} for v, m in scale.values.items()],
            "done": [self._store.is_complete(rater, i) for i in self._sheet.order_for(rater)],
        }

    def _item(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns an item by its place in the rater's order, and what the rater has said of it."""
        rater, place = self._rater(asked), asked.get("place")
        order = self._sheet.order_for(rater)
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(order):
            raise _BadRequest(f"'place' is a number from 0 to {len(order) - 1}")
        item = order[place]
        return {
            "item": item.key,
            "given": _parts(item.given),
            "rated": _parts(item.rated),
            "values": self._store.values(rater, item),
        }

    def _rate(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Saves values of an item, and returns all that the rater says of it."""
        rater, values, key = self._rater(asked), asked.get("values"), asked.get("item")
        item = self._items.get(key) if isinstance(key, str) else None
        if item is None:
            raise _BadRequest("'item' is no item of this file")
        if not isinstance(values, dict) or not values:
            raise _BadRequest("'values' is an object with at least one field")
        now = self._store.add(rater, item, values)
        return {"values": now, "done": self._sheet.scale.is_complete(now)}

    def _rater(self, asked: Mapping[str, Any]) -> str:
        return self._store.known_as(rater_name(asked.get("rater")))


class _TooLarge(Exception):
    pass


async def _json_of(request: Request) -> Mapping[str, Any]:
    # Only a page of the same origin may send this type without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _BadRequest("expected application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise _TooLarge
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise _BadRequest("the request is not JSON") from None
    if not isinstance(found, dict):
        raise _BadRequest("the request is no JSON object")
    return found


def _parts(parts: Any) -> list[Mapping[str, str]]:
    return [{"heading": part.heading, "text": part.text or "(empty)"} for part in parts]
