"""A model opened for the harness, by what `--model_args` says."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tlm_jax.data.chat import ChatTemplate, read_chat_template
from tlm_jax.errors import UserError
from tlm_jax.lm_eval.arguments import ModelArguments
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.reading import ReadingSettings
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.training import console
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.system.home import expanded
from tlm_jax.system.text_files import read_json_object
from tlm_jax.vocabularies import Vocabulary

DEFAULT_WINDOW_TOKENS = 2048
"""Where a model says nothing of its window; the harness's own default."""

_HARNESS_DEVICE = "cuda:0"
"""What the harness says where nobody named a device, whatever the machine."""
_WINDOW_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")


class HarnessModel(OpenedModel):
    """An opened model that has a window in any case.

    A tokenizer that is named brings its chat template.
    """

    def __init__(self, arguments: ModelArguments, devices: Sequence[jax.Device] | None):
        """Opens it on the devices; see `open_model`."""
        names = ("add_bos_token", "add_eos_token")
        settings = ModelSettings(
            arguments.pretrained,
            arguments.dtype,
            MeshShape(fsdp=arguments.fsdp, tensor=arguments.tensor),
            arguments.tokenizer,
            ReadingSettings(arguments.add_bos_token, arguments.add_eos_token, names),
            vocabulary_setting="tokenizer",
        )
        fallback = functools.partial(_no_tokenizer, arguments)
        super().__init__(settings, fallback, devices=devices, announce=console.say)
        self._arguments = arguments

    @property
    def directory(self) -> Path:
        """With the files of the tokenizer, which may lie elsewhere than the model."""
        if self._arguments.tokenizer is None:
            return super().directory
        path = expanded(self._arguments.tokenizer)
        return path if path.is_dir() else path.parent

    @functools.cached_property
    def template(self) -> ChatTemplate:
        """How conversations are written.

        Raises:
          UserError: the model has no template.
        """
        if self._arguments.tokenizer is None:
            return super().template
        return read_chat_template(self.directory)

    @functools.cached_property
    def window_tokens(self) -> int:
        """The tokens that the model reads at most, of an encoder-decoder on either side.

        As told, as the model or its tokenizer says, or the default.

        Raises:
          UserError: more are wanted than it has positions for.
        """
        max_length = self._arguments.max_length
        positions = self.config.position_limit
        if positions is not None and (max_length or 0) > positions:
            raise UserError(
                f"--model_args: max_length={max_length}, but the model has {positions} positions; "
                "lower it or leave it out"
            )
        written: list[Any] = [max_length, self.window]
        written += [(self.source.hugging_face or {}).get(name) for name in _WINDOW_NAMES]
        written.append(_read_tokenizer_config(self.directory).get("model_max_length"))
        # transformers writes 1e30 for "unknown".
        known = (value for value in written if isinstance(value, int) and 1 < value < 2**30)
        return next(known, DEFAULT_WINDOW_TOKENS)


def open_model(
    arguments: ModelArguments, devices: Sequence[jax.Device] | None = None
) -> HarnessModel:
    """Opens the model and reads its parameters.

    Its template may be asked for until the process ends, so nobody closes it.

    Args:
      arguments: what model, and how it is run.
      devices: to run it on; None means all of this host.

    Raises:
      UserError: there is no model, no tokenizer for it, or it does not fit the arguments.
    """
    _check_device(arguments.device)
    with contextlib.ExitStack() as opened:
        model = HarnessModel(arguments, devices)
        opened.push(model)
        _ = model.window_tokens, model.reading, model.params
        opened.pop_all()
    return model


def _no_tokenizer(arguments: ModelArguments) -> Vocabulary:
    raise UserError(
        f"no tokenizer lies beside the model {arguments.pretrained}: add tokenizer=PATH to "
        "--model_args, such as path/to/tokenizer.json"
    )


def _read_tokenizer_config(directory: Path) -> Mapping[str, Any]:
    path = directory / "tokenizer_config.json"
    return read_json_object(path) if path.is_file() else {}


def _check_device(wanted: str | None) -> None:
    if wanted in (None, _HARNESS_DEVICE):
        return
    name = wanted.partition(":")[0]
    if {"cuda": "gpu", "rocm": "gpu"}.get(name, name) != jax.default_backend():
        raise UserError(
            f"--device {wanted}: JAX runs on {jax.default_backend()!r} here; leave it out, or "
            "choose devices by the environment (JAX_PLATFORMS, CUDA_VISIBLE_DEVICES)"
        )
