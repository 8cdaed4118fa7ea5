"""Arguments of the harness's `--model_args`, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tlm_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelArguments:
    """The model and how it is asked; names are those of the harness's `hf` model where it has them.

    Attributes:
      pretrained: the model, in any format that `tlm_jax.convert` reads.
      tokenizer: a vocabulary's name or files; None: the tokenizer beside the model.
      dtype: of activations; parameters are float32.
      batch_size: rows worked on at a time; None ("auto"): as many as fit.
      max_batch_size: the most rows that "auto" tries.
      max_length: the window: most tokens of context and answer together, of an encoder-decoder of
        either; None: what the model says of itself.
      max_gen_toks: the most tokens generated where a task does not say.
      add_bos_token: whether texts of a decoder-only model start with BOS; None: as its tokenizer
        does it, or as it was trained here.
      add_eos_token: whether EOS ends contexts; None: as the model was trained here, and else for
        an encoder-decoder only.
      prefix_token_id: what stands in for an empty context; None: BOS, else EOS.
      seed: of sampled answers.
      fsdp: ways in which parameters are split along with the rows.
      tensor: ways in which heads, MLP width and vocabulary are split.
      device: the platform that is expected, such as "cpu"; None: whatever JAX has.
      trust_remote_code: what `--trust_remote_code` adds for data sets; no model here has any.
    """

    pretrained: str
    tokenizer: str | None = None
    dtype: str = "float32"
    batch_size: int | None = None
    max_batch_size: int | None = None
    max_length: int | None = None
    max_gen_toks: int = 256
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    prefix_token_id: int | None = None
    seed: int = 0
    fsdp: int = 1
    tensor: int = 1
    device: str | None = None
    trust_remote_code: bool = False


def parse_arguments(given: Mapping[str, Any]) -> ModelArguments:
    """Returns the arguments of `--model_args`, whose values may be text or already converted.

    Raises:
      UserError: an argument is unknown, missing or of the wrong kind.
    """
    known = [field.name for field in dataclasses.fields(ModelArguments)]
    for name in given:
        if name not in known:
            raise UserError(
                f"--model_args: tlm_jax has no argument {name!r}.{nearest(name, known)} "
                f"Expected some of {', '.join(known)}"
            )
    if not given.get("pretrained"):
        raise UserError("--model_args: pretrained=PATH is missing: the model to evaluate")
    found = {name: value for name, value in given.items() if value is not None}
    return ModelArguments(**{name: _KINDS[name](name, value) for name, value in found.items()})


def _text(name: str, value: Any) -> str:
    return str(value)


def _whole(least: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = None
        if number is None or isinstance(value, (bool, float)) or number < least:
            raise _wrong(name, value, f"a whole number from {least}")
        return number

    return read


def _truth(name: str, value: Any) -> bool:
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise _wrong(name, value, "True or False")
    return known[str(value).lower()]


def _rows(name: str, value: Any) -> int | None:
    # "auto:4" asks other models of the harness to look again four times; ours looks when needed.
    return None if str(value).partition(":")[0] == "auto" else _whole(1)(name, value)


def _dtype(name: str, value: Any) -> str:
    if value not in ("float32", "bfloat16"):
        raise _wrong(name, value, "float32 or bfloat16")
    return str(value)


def _wrong(name: str, value: Any, expected: str) -> UserError:
    return UserError(f"--model_args: {name}={value!r}: expected {expected}")


_KINDS: Mapping[str, Callable[[str, Any], Any]] = {
    "pretrained": _text,
    "tokenizer": _text,
    "dtype": _dtype,
    "batch_size": _rows,
    "max_batch_size": _whole(1),
    "max_length": _whole(2),
    "max_gen_toks": _whole(1),
    "add_bos_token": _truth,
    "add_eos_token": _truth,
    "prefix_token_id": _whole(0),
    "seed": _whole(0),
    "fsdp": _whole(1),
    "tensor": _whole(1),
    "device": _text,
    "trust_remote_code": _truth,
}
