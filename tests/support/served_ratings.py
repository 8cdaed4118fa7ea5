"""Rows to be rated, and their page served in a thread."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlm_jax.rating.guard import Guard
from tlm_jax.rating.items import Fields, read_sheet
from tlm_jax.rating.store import RatingStore

SOURCES = ("human", "teacher", "other_model")


def explanations(number: int = 2) -> list[dict[str, Any]]:
    """Returns rows of that many questions, each explained by three sources."""
    return [
        {
            "id": f"q{n}",
            "source": source,
            "question": f"Can fish {n} fly?",
            "options": ["yes", "no"],
            "answer": "B",
            "text": f"Fish {n} swims, says one of {len(source)} letters.",
        }
        for source in SOURCES
        for n in range(number)
    ]


CORRECTION = {
    "id": "p1",
    "question": "What is 2 + 3?",
    "options": None,
    "answer": "5",
    "model": "small",
    "path": ["2 + 3 = 6.", "The answer is 6."],
    "incorrect_step": 1,
    "explanation": "2 + 3 is 5.",
    "correct_solution": ["2 + 3 = 5.", "The answer is 5."],
    "rating": None,
}
"""As the recipe of LEMA writes it."""


class Served:
    """The page, served."""

    def __init__(self, guard: Guard, ratings: Path):
        """Keeps where it is served and what it writes."""
        self.guard, self.ratings = guard, ratings
        self.host = f"127.0.0.1:{guard.port}"
        self.url = f"http://{self.host}/"

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], str]:
        """Returns status, headers and text of an answer; a header of None is not sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.guard.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True)
            sent = {"Host": self.host, **(headers or {})}
            if body is not None:
                sent.setdefault("Content-Length", str(len(body)))
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, named, answer.read().decode()
        finally:
            connection.close()

    def post(self, path: str, asked: Any, **headers: str) -> tuple[int, Any]:
        """Returns status and JSON of what the page's own script would be answered."""
        own = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        status, _, text = self.request("POST", path, json.dumps(asked).encode(), {**own, **headers})
        return status, json.loads(text)

    def rows(self) -> list[dict[str, Any]]:
        """Returns the ratings on disk."""
        return [json.loads(line) for line in self.ratings.read_text().splitlines()]


@contextlib.contextmanager
def serving(path: Path, *, token: str | None = None) -> Iterator[Served]:
    """Serves a file of rows."""
    from tlm_jax.rating import app

    sheet = read_sheet(path, Fields())
    started: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with app.listen("127.0.0.1", 0) as listening:
        ratings = sheet.beside("ratings.jsonl")
        with RatingStore(ratings, sheet.scale, "person") as store:
            guard = Guard("127.0.0.1", listening.getsockname()[1], token)
            thread = threading.Thread(
                target=app.serve, args=(sheet, store, guard, listening, started.put)
            )
            thread.start()
            server = started.get(timeout=60)
            try:
                yield Served(guard, ratings)
            finally:
                server.should_exit = True
                thread.join()
