"""Tables on the terminal: what a recipe is going to do, and what it has done."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from rich.table import Table

from tlm_jax.errors import UserError
from tlm_jax.metrics.progress import duration
from tlm_jax.metrics.throughput import peak_flops
from tlm_jax.recipes.done import finished, under_way
from tlm_jax.recipes.recipe import Planned
from tlm_jax.system import terminal
from tlm_jax.system.home import expanded

_UTILISATION = 0.3
"""Of the product rate that a run of small batches comes to; large ones come to more."""
_SIDE = 2048


def show_plan(planned: Sequence[Planned]) -> None:
    """Prints the stages with their sizes and an estimate of their time on these devices."""
    rate = _product_rate()
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("samples or steps", "prompt tokens", "new tokens", "time"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in planned:
        sizes = (one.samples, one.prompt_tokens, one.new_tokens)
        took = duration(one.flops / rate) if one.flops else ""
        table.add_row(one.name, *(f"{n:,}" if n else "" for n in sizes), took, one.note)
    total = sum(one.flops for one in planned)
    table.add_row("in all", "", *_totals(planned), duration(total / rate))
    console = terminal.console()
    console.print(table)
    console.print(
        f"Counts are the most that there can be. Times: operations at {_UTILISATION:.0%} of "
        f"{rate / _UTILISATION / 1e9:,.0f} GFLOP/s, the product rate of "
        f"{len(jax.devices())} x {jax.devices()[0].device_kind}."
    )


def show_status(directory: str) -> None:
    """Prints the stages in a recipe's directory that are done or were begun.

    Raises:
      UserError: there are none.
    """
    path = expanded(directory)
    done, begun = finished(path), list(under_way(path))
    if not done and not begun:
        raise UserError(f"{path} holds no stages: is it the OUTPUT_DIR of a recipe?")
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "", "time", "counted"):
        table.add_column(name, justify="right" if name == "time" else "left")
    for one in done:
        figures = ", ".join(
            f"{name} {value:,}" for name, value in one.figures.items() if type(value) is int
        )
        table.add_row(one.name, "done", duration(one.seconds), figures)
    for name in begun:
        table.add_row(name, "begun", "", "")
    terminal.console().print(table)


def _totals(planned: Sequence[Planned]) -> tuple[str, str]:
    read, new = sum(p.prompt_tokens for p in planned), sum(p.new_tokens for p in planned)
    return f"{read:,}", f"{new:,}"


def _product_rate() -> float:
    """Returns operations a second of all devices that a run can hope for.

    By the data sheet where the device is known, else by a float32 product that is timed.
    """
    peaks = [peak_flops(device) for device in jax.devices()]
    if all(peaks):
        return _UTILISATION * sum(peak or 0.0 for peak in peaks)
    product = jax.jit(jnp.dot)
    square = jnp.ones((_SIDE, _SIDE), jnp.float32)
    product(square, square).block_until_ready()
    begin = time.perf_counter()
    product(square, square).block_until_ready()
    return _UTILISATION * 2 * _SIDE**3 / (time.perf_counter() - begin)
