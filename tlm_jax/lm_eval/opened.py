"""Opens a model of any format with all that answering needs: parameters, tokenizer, template."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.checkpoints.loading import with_run_choices
from tlm_jax.checkpoints.pretrained import Pretrained, open_pretrained
from tlm_jax.checkpoints.token_ids import end_ids
from tlm_jax.data.chat import ChatTemplate, read_chat_template
from tlm_jax.data.reading import Reading
from tlm_jax.errors import UserError
from tlm_jax.lm_eval.arguments import ModelArguments
from tlm_jax.runs.inference.tokens import TokenizerFiles
from tlm_jax.runs.opened.parameters import params_on_mesh
from tlm_jax.runs.opened.reading import ReadingSettings, reading_of
from tlm_jax.runs.opened.window import window_of
from tlm_jax.runs.training import console
from tlm_jax.sharding import mesh as meshes
from tlm_jax.system.home import expanded
from tlm_jax.system.text_files import read_json_object
from tlm_jax.types import Params
from tlm_jax.vocabularies import Vocabulary, check_vocabulary_fits, vocabulary_from_name

DEFAULT_WINDOW_TOKENS = 2048
"""Where a model says nothing of its window; the harness's own default."""

_HARNESS_DEVICE = "cuda:0"
"""What the harness says where nobody named a device, whatever the machine."""
_WINDOW_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")


@dataclasses.dataclass(frozen=True)
class OpenedModel:
    """A model that is ready to answer.

    Attributes:
      source: where it comes from.
      config: the model.
      params: its parameters, on `mesh`.
      mesh: devices of this host.
      vocabulary: of the model.
      eos_ids: tokens that end a text.
      reading: how it reads prompts.
      window_tokens: that it reads at most; of an encoder-decoder on either side.
      read_template: reads the chat template.
    """

    source: Pretrained
    config: models.ModelConfig
    params: Params
    mesh: Mesh
    vocabulary: Vocabulary
    eos_ids: tuple[int, ...]
    reading: Reading
    window_tokens: int
    read_template: Callable[[], ChatTemplate]

    @property
    def encoder_decoder(self) -> bool:
        return isinstance(self.config, models.EncoderDecoderConfig)

    @property
    def start_id(self) -> int:
        """What the decoder of an encoder-decoder reads first."""
        return self.reading.start_id or 0

    @functools.cached_property
    def template(self) -> ChatTemplate:
        """How conversations are written.

        Raises:
          UserError: the model has no template.
        """
        return self.read_template()


def open_model(
    arguments: ModelArguments, devices: Sequence[jax.Device] | None = None
) -> OpenedModel:
    """Opens the model and reads its parameters.

    Args:
      arguments: what model, and how it is run.
      devices: to run it on; None means all of this host.

    Raises:
      UserError: there is no model, no tokenizer for it, or it does not fit the arguments.
    """
    _check_device(arguments.device)
    source = open_pretrained(arguments.pretrained)
    config = with_run_choices(source.config, dtype=arguments.dtype)
    mesh = meshes.make_mesh(
        meshes.MeshShape(fsdp=arguments.fsdp, tensor=arguments.tensor),
        jax.local_devices() if devices is None else devices,
    )
    with contextlib.ExitStack() as files:
        vocabulary, directory, read_template = _tokenizer(arguments, source, files)
        check_vocabulary_fits(vocabulary, config.vocab_size, "tokenizer")
        window = _window(arguments, source, directory)
        opened = OpenedModel(
            source,
            config,
            params_on_mesh(source, config, mesh, console.say),
            mesh,
            vocabulary,
            tuple(dict.fromkeys([vocabulary.eos_id, *end_ids(source)])),
            reading_of(config, vocabulary, source, _settings(arguments)),
            window,
            read_template,
        )
        # The template is read when first needed, if at all.
        weakref.finalize(source, files.pop_all().close)
    return opened


def _settings(arguments: ModelArguments) -> ReadingSettings:
    names = ("add_bos_token", "add_eos_token")
    return ReadingSettings(arguments.add_bos_token, arguments.add_eos_token, names)


def _tokenizer(
    arguments: ModelArguments, source: Pretrained, opened: contextlib.ExitStack
) -> tuple[Vocabulary, Path, Callable[[], ChatTemplate]]:
    """Returns the vocabulary, the directory with its files, and what reads its template.

    Those within the model lie there until `opened` is closed.
    """
    if arguments.tokenizer is not None:
        path = expanded(arguments.tokenizer)
        directory = path if path.is_dir() else path.parent
        template = functools.partial(read_chat_template, directory)
        return vocabulary_from_name(arguments.tokenizer), directory, template
    files = opened.enter_context(TokenizerFiles(source))
    if not files.hold_tokenizer:
        raise UserError(
            f"no tokenizer lies beside the model {arguments.pretrained}: add tokenizer=PATH to "
            "--model_args, such as path/to/tokenizer.json"
        )
    return files.vocabulary(), files.directory, files.template


def _window(arguments: ModelArguments, source: Pretrained, directory: Path) -> int:
    """Returns the tokens that the model reads at most: as told, as it says, or the default.

    Raises:
      UserError: more are wanted than it has positions for.
    """
    positions = getattr(source.config, "max_positions", None)
    if positions is not None and (arguments.max_length or 0) > positions:
        raise UserError(
            f"--model_args: max_length={arguments.max_length}, but the model has {positions} "
            "positions; lower it or leave it out"
        )
    written: list[Any] = [arguments.max_length, window_of(source)]
    written += [(source.hugging_face or {}).get(name) for name in _WINDOW_NAMES]
    written.append(_read_tokenizer_config(directory).get("model_max_length"))
    # transformers writes 1e30 for "unknown".
    known = (value for value in written if isinstance(value, int) and 1 < value < 2**30)
    return next(known, DEFAULT_WINDOW_TOKENS)


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
