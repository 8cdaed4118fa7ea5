"""Encodings by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlm_jax.errors import UserError, nearest
from tlm_jax.teacher_cache.encoding import Encoding
from tlm_jax.teacher_cache.hidden import Hidden
from tlm_jax.teacher_cache.sampled import Sampled
from tlm_jax.teacher_cache.topk import TopK

ENCODINGS: dict[str, type[Encoding]] = {kind.name: kind for kind in (TopK, Sampled, Hidden)}


def encoding_by_name(name: str, **settings: Any) -> Encoding:
    """Returns an encoding: `topk`, `sampled` or `hidden`, with its settings.

    Raises:
      UserError: no such encoding or setting.
    """
    if name not in ENCODINGS:
        raise UserError(
            f"no encoding {name!r}; there are {', '.join(ENCODINGS)}.{nearest(name, ENCODINGS)}"
        )
    kind = ENCODINGS[name]
    fields = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    unknown = [setting for setting in settings if setting not in fields]
    if unknown:
        raise UserError(
            f"the encoding {name!r} has no setting {unknown[0]!r}.{nearest(unknown[0], fields)}"
        )
    try:
        return kind(**settings)
    except TypeError as error:
        raise UserError(f"the encoding {name!r}: {error}.") from error


def encoding_from_settings(settings: Mapping[str, Any]) -> Encoding:
    """Returns the encoding whose `settings()` these are."""
    return encoding_by_name(**settings)
