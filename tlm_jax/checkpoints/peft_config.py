"""`adapter_config.json`: what PEFT says of adapters beside their tensors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.models.lora import LoraConfig

FILE = "adapter_config.json"
_REFUSED = {
    "use_dora": False,
    "bias": "none",
    "lora_bias": False,
    "trainable_token_indices": None,
    "target_parameters": None,
    "use_qalora": False,
    "layer_replication": None,
    "alora_invocation_tokens": None,
    "arrow_config": None,
}
"""Settings that would change the model in ways that ours does not, and the value that does not."""
MERGE = "merge them into the model with PEFT (merge_and_unload, save_pretrained) and open that"
"""The way out where adapters are of a kind that ours is not."""
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq")
"""Initial values that PEFT takes out of the base's own weights."""


def read(path: Path) -> dict[str, Any]:
    """Returns the settings of adapters that ours can be.

    Raises:
      UserError: the file is missing or damaged, or the adapters are of a kind that we do not have.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        kind = settings.get("peft_type")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: expected adapters as PEFT saves them") from None
    except (ValueError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged: expected a JSON object") from None
    if kind != "LORA":
        raise UserError(f"{path}: peft_type is {kind!r}, expected 'LORA'; {MERGE}")
    for name, wanted in _REFUSED.items():
        # Null and an empty list leave the model as it is, too.
        if (settings.get(name) or wanted) != wanted:
            raise UserError(f"{path}: {name} is {settings[name]!r}, expected {wanted!r}; {MERGE}")
    initial = settings.get("init_lora_weights")
    if isinstance(initial, str) and initial.startswith(_CHANGES_THE_BASE):
        raise UserError(
            f"{path}: init_lora_weights is {initial!r}, with which the base's weights were changed "
            "too; convert the adapters with PEFT's save_pretrained(path_initial_model_for_weight_"
            "conversion=...), or merge them into the model and convert that"
        )
    if settings.get("modules_to_save"):
        raise UserError(
            f"{path}: modules_to_save is {settings['modules_to_save']!r}, but only adapters are "
            f"read; {MERGE}"
        )
    _check_numbers(path, settings)
    return settings


def scale(settings: Mapping[str, Any], module: str, rank: int) -> float:
    """Returns what `(x A) B` of a module is multiplied by."""
    alpha = settings["lora_alpha"]
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = value
            break
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def lora_config(
    settings: Mapping[str, Any], *, rank: int, scale: float, targets: str
) -> LoraConfig:
    """Returns our settings for adapters that have all been brought to one rank and scale."""
    stabilized = bool(settings.get("use_rslora"))
    return LoraConfig(
        rank=rank,
        alpha=scale * (math.sqrt(rank) if stabilized else rank),
        targets=targets,
        dropout_rate=float(settings.get("lora_dropout") or 0.0),
        rank_stabilized=stabilized,
    )


def content(
    ranks: Mapping[str, int],
    lora: LoraConfig,
    *,
    modules: Collection[str],
    task_type: str,
    fan_in_fan_out: bool,
    base_path: str | None,
) -> str:
    """Returns the text of the file.

    Args:
      ranks: of the adapters, by PEFT's name of the module.
      lora: as trained with.
      modules: every module that could have an adapter.
      task_type: PEFT's name of what the model does.
      fan_in_fan_out: whether the model keeps kernels as [in, out].
      base_path: where the model lies.
    """
    others = {module: rank for module, rank in ranks.items() if rank != lora.rank}
    of_scale = math.sqrt if lora.rank_stabilized else float
    settings = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base_path,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout_rate,
        "use_rslora": lora.rank_stabilized,
        "rank_pattern": others,
        "alpha_pattern": {module: lora.scale * of_scale(rank) for module, rank in others.items()},
        "target_modules": _target_modules(ranks, modules),
        "fan_in_fan_out": fan_in_fan_out,
        "bias": "none",
        "modules_to_save": None,
        "inference_mode": True,
    }
    return json.dumps(settings, indent=2) + "\n"


def _target_modules(adapted: Collection[str], modules: Collection[str]) -> list[str]:
    """Returns last names where all modules so named are adapted, as people write them."""
    names: set[str] = set()
    for module in adapted:
        last = module.rpartition(".")[2]
        alike = [other for other in modules if other.rpartition(".")[2] == last]
        names.add(last if all(other in adapted for other in alike) else module)
    return sorted(names)


def _check_numbers(path: Path, settings: Mapping[str, Any]) -> None:
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise UserError(f"{path}: alpha_pattern is {patterns!r}, expected an object")
    numbers: dict[str, Any] = {"lora_alpha": settings.get("lora_alpha")} | {
        f"alpha_pattern of {pattern!r}": value for pattern, value in patterns.items()
    }
    for name, value in numbers.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise UserError(
                f"{path}: {name} is {value!r}, expected a number above 0: set it to the one that "
                "the adapters were trained with (PEFT's own default is 8)"
            )
    dropout: Any = settings.get("lora_dropout") or 0.0
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise UserError(f"{path}: lora_dropout is {dropout!r}, expected a number from 0 to below 1")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"{path}: {pattern!r} in alpha_pattern is no regular expression: {error}"
            ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
