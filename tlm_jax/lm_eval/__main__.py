"""The harness's command line with our models: `python -m tlm_jax.lm_eval --model tlm_jax ...`.

Releases of the harness that find models by entry points (after 0.4.13) need no detour: there
`lm_eval --model tlm_jax ...` is the same.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Sequence

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line.configuration import run_main


def main(argv: Sequence[str]) -> None:
    """Makes the model known to the harness, and hands over to its own command line.

    Raises:
      UserError: the harness is not installed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(
            "lm-evaluation-harness is not installed: pip install 'tlm_jax[lm_eval]', or 'lm_eval'"
        )
    register()
    sys.argv = ["lm_eval", *argv]
    runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)


def register() -> None:
    """Makes `tlm_jax` a name of the harness's models, if it is none yet."""
    # Its own names come first: it adds them only to a registry that is empty.
    import lm_eval.models  # noqa: F401  # pyright: ignore[reportMissingImports]
    from lm_eval.api.registry import (  # pyright: ignore[reportMissingImports]
        model_registry,
    )

    if "tlm_jax" not in model_registry:
        model_registry.register("tlm_jax", target="tlm_jax.lm_eval.model:TlmJaxLM")


if __name__ == "__main__":
    run_main(main)
