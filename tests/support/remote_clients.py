"""A client of a test's server, which gives up soon, and a good answer."""

from __future__ import annotations

from pathlib import Path

from tlm_jax.remote.api_key import ApiKey
from tlm_jax.remote.cache import ResponseCache
from tlm_jax.remote.client import Client, Server
from tlm_jax.remote.meter import Meter

GOOD = {
    "choices": [{"text": "four", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def make_client(url: str, *, key: str = "", cache: Path | None = None, **settings) -> Client:
    defaults = {"retries": 3, "first_wait_s": 0.01, "longest_wait_s": 1.5, "timeout_s": 5.0}
    return Client(
        Server(url, "model", **(defaults | settings)),
        ApiKey(key),
        cache=None if cache is None else ResponseCache(cache),
        meter=Meter(input_price=1e6, output_price=2e6),
    )
