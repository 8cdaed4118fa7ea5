"""Fields of the tokenizer in a GGUF file, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError

_LISTS = {"tokens": str, "token_type": int, "scores": float, "merges": str}


def check_fields(fields: Mapping[str, Any], path: Path) -> None:
    """Refuses fields that are missing, or of another kind or length than they have."""
    for name, kind in _LISTS.items():
        values = fields.get(name, [])
        if not isinstance(values, list) or any(type(value) is not kind for value in values):
            raise _damaged(path, f"its {name} are not a list of {kind.__name__}")
    num_tokens = len(fields["tokens"])
    needed = {"gpt2": "merges", "llama": "scores"}.get(str(fields.get("model")))
    if needed is not None and needed not in fields:
        raise _damaged(path, f"it has no {needed}")
    for name in ("token_type", "scores"):
        if len(fields.get(name, fields["tokens"])) != num_tokens:
            raise _damaged(path, f"it has {num_tokens:,} tokens but {len(fields[name]):,} {name}")
    for merge in fields.get("merges", []):
        if merge.count(" ") != 1:
            raise _damaged(path, f"its merge {merge!r} is not two pieces")
    for role in ("bos", "eos"):
        number = fields.get(f"{role}_token_id", 0)
        if type(number) is not int or not 0 <= number < num_tokens:
            raise _damaged(
                path, f"its {role}_token_id is {number!r}, but it has {num_tokens:,} tokens"
            )


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path}: the tokenizer in it is damaged: {what}; get it again")
