"""A model of any format, opened to be run: the one place where settings of such a model count.

Inference, scoring, evaluation, live teachers and the harness open theirs here.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.checkpoints.fingerprint import model_fingerprint
from tlm_jax.checkpoints.loading import load_params, with_run_choices
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.checkpoints.token_ids import end_ids
from tlm_jax.data import tasks
from tlm_jax.data.chat import ChatTemplate
from tlm_jax.data.pipeline.store import task_vocabulary
from tlm_jax.data.reading import Reading
from tlm_jax.decoding.engine import Engine
from tlm_jax.errors import UserError
from tlm_jax.runs.opened.reading import reading_of
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.opened.tokenizer_files import TokenizerFiles
from tlm_jax.runs.training.trainable import with_shardings
from tlm_jax.sharding import mesh as meshes
from tlm_jax.sharding import rules
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.types import Params
from tlm_jax.vocabularies import Vocabulary, check_vocabulary_fits, vocabulary_from_name


class OpenedModel:
    """A model whose files have been opened; its parameters are read when they are first asked for.

    A context manager: a tokenizer that lies within the model's file is in a temporary folder until
    it is closed. What has been read stays.

    Attributes:
      source: where it comes from.
      config: the model, with the choices of this run.
      compiled: programs that have been compiled for this model, or for others of this process.
    """

    def __init__(
        self,
        settings: ModelSettings,
        fallback: Callable[[], Vocabulary] | None = None,
        *,
        devices: Sequence[jax.Device] | None = None,
        announce: Callable[[str], None] = print,
        compiled: ProgramCache | None = None,
    ):
        """Opens it.

        Args:
          settings: what the configuration says.
          fallback: returns the vocabulary of a model that has no tokenizer beside it, where none
            is named.
          devices: to run it on; None: this host's.
          announce: is given lines about the parameters.
          compiled: programs that runs in this process share.

        Raises:
          UserError: there is no model, or the vocabulary is not the one of its training.
        """
        self._settings = settings
        self._devices = devices
        self._announce = announce
        self.compiled = compiled or ProgramCache()
        self.source = open_pretrained(settings.path)
        # Whatever opens a model here, it is not trained.
        choices = {"dtype": settings.dtype, "dropout_rate": 0.0}
        self.config = with_run_choices(self.source.config, **choices)
        self._params: list[Params] = []  # one list for all that `read_with` returns
        with contextlib.ExitStack() as opened:
            self._files = TokenizerFiles(self.source)
            opened.callback(self._files.close)
            self._vocabulary = self._found_vocabulary(fallback)
            self._opened = opened.pop_all()

    def __enter__(self) -> OpenedModel:
        return self

    def __exit__(self, *unused: object) -> None:
        self._opened.close()

    def read_with(self, vocabulary: Vocabulary) -> OpenedModel:
        """Returns the same model with a task's vocabulary.

        Raises:
          UserError: nobody has named it, and the model was trained with another; or the model has
            not as many ids.
        """
        other = copy.copy(self)
        other._vocabulary = self._checked(vocabulary, named=self._settings.vocabulary is not None)
        return other

    def on_this_host(self) -> OpenedModel:
        """Returns the same model on this host's devices alone; itself where there is one host."""
        if jax.process_count() == 1:
            return self
        other = copy.copy(self)
        other.mesh = meshes.make_mesh(meshes.MeshShape(), jax.local_devices())
        params = jax.device_put(
            multihost_utils.process_allgather(self.params, tiled=True), other._shardings()
        )
        other._params = [params]
        return other

    @property
    def has_vocabulary(self) -> bool:
        """Whether a vocabulary is named, or lies beside the model, or is the fallback."""
        return self._vocabulary is not None

    @property
    def vocabulary(self) -> Vocabulary:
        """The one that is named, else the model's own, else the fallback.

        Raises:
          UserError: there is none of them.
        """
        if self._vocabulary is None:
            raise UserError(
                f"no tokenizer lies beside the model {self.source.path}: set "
                f"{self._settings.vocabulary_setting} to the one that it was trained with: "
                "path/to/tokenizer.json or spiece.model+100, 'byte', or 'asset:word_problems', "
                "with which the tasks that come with the library are read"
            )
        return self._vocabulary

    @property
    def reading(self) -> Reading:
        """How the model reads prompts."""
        return reading_of(self.config, self.vocabulary, self.source, self._settings.reading)

    @property
    def start_id(self) -> int:
        """What the decoder of an encoder-decoder reads first."""
        return self.reading.start_id or 0

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokens that end a text: by the vocabulary, and by the model's files."""
        return tuple(dict.fromkeys([self.vocabulary.eos_id, *end_ids(self.source)]))

    @property
    def directory(self) -> Path:
        """With the files of the tokenizer."""
        return self._files.directory

    @functools.cached_property
    def template(self) -> ChatTemplate:
        """How conversations are written.

        Raises:
          UserError: the model has no template, or none of the name that is chosen.
        """
        return self._files.template(self._settings.chat_template)

    @property
    def window(self) -> int | None:
        """The most tokens of prompt and answer together; None where nothing sets a limit.

        It is the number of learned positions, else what the model's Hugging Face configuration
        calls `max_position_embeddings`. Relative positions, as of an encoder-decoder, have no
        limit.
        """
        if self.config.is_encoder_decoder:
            return None
        if self.config.position_limit is not None:
            return self.config.position_limit
        named = (self.source.hugging_face or {}).get("max_position_embeddings")
        return named if isinstance(named, int) else None

    @property
    def encoder_decoder(self) -> bool:
        return self.config.is_encoder_decoder

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the model's content (`checkpoints.fingerprint`)."""
        return model_fingerprint(self.source)

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices.

        Raises:
          UserError: there are not as many.
        """
        devices = jax.local_devices() if self._devices is None else self._devices
        return meshes.make_mesh(self._settings.mesh, devices)

    @property
    def sharded_mesh(self) -> Mesh | None:
        """The same; None for a single device, which needs none."""
        return self.mesh if self.mesh.size > 1 else None

    @property
    def params(self) -> Params:
        """The parameters on `mesh`, each device its part.

        Raises:
          UserError: as `load_params`.
        """
        if not self._params:
            self._params.append(self._load())
        return self._params[0]

    def engine(
        self,
        rows: int,
        *,
        max_prompt_tokens: int,
        start_id: int | None = None,
        num_candidates: int = 0,
    ) -> Engine:
        """Returns what writes the model's answers.

        Args:
          rows: of a batch; rounded up to what the mesh divides.
          max_prompt_tokens: of the longest prompt.
          start_id: of an encoder-decoder's decoder; None: as the model reads.
          num_candidates: as `Engine`.
        """
        divisor = rules.batch_divisor(self.mesh)
        return Engine(
            self.params,
            self.config,
            rows=-(-rows // divisor) * divisor,
            eos_ids=self.eos_ids,
            max_prompt_tokens=max_prompt_tokens,
            num_candidates=num_candidates,
            start_id=self.start_id if start_id is None else start_id,
            mesh=self.sharded_mesh,
            compiled=self.compiled,
        )

    def _load(self) -> Params:
        wanted = with_shardings(models.abstract_params(self.config), self._shardings())
        return load_params(self.source, self.config, wanted, announce=self._announce)

    def _shardings(self) -> Any:
        shapes, axes = models.abstract_params(self.config), models.logical_axes(self.config)
        return rules.named_shardings(axes, self.mesh, shapes=shapes)

    def _found_vocabulary(self, fallback: Callable[[], Vocabulary] | None) -> Vocabulary | None:
        named, setting = self._settings.vocabulary, self._settings.vocabulary_setting
        if named is not None:
            vocabulary = vocabulary_from_name(named) if isinstance(named, str) else named
            return self._checked(vocabulary, named=True)
        if self._files.hold_tokenizer:
            return self._checked(self._files.vocabulary(setting), named=True)
        return None if fallback is None else self._checked(fallback(), named=False)

    def _checked(self, vocabulary: Vocabulary, *, named: bool) -> Vocabulary:
        """Returns a vocabulary that the model can be read with.

        Raises:
          UserError: it cannot.
        """
        setting = self._settings.vocabulary_setting
        if not named:
            self._files.check(vocabulary, setting)
        check_vocabulary_fits(vocabulary, self.config.vocab_size, setting)
        return vocabulary


def of_task(name: str | None, modules: Sequence[str]) -> Callable[[], Vocabulary] | None:
    """Returns what finds the vocabulary of a task or mixture; None where there is no task.

    Args:
      name: of the task.
      modules: further modules that register tasks.
    """
    if name is None:
        return None

    def vocabulary() -> Vocabulary:
        tasks.load_tasks(modules)
        return task_vocabulary(name)

    return vocabulary
