"""Jobs of an inference run, their results, and the interface of the models that do them."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tlm_jax.data.reading import Reading
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Job:
    """One sample to be drawn.

    Attributes:
      prompt: what is asked.
      sample: its number among the prompt's samples, from 0.
      seed: decides it together with the prompt, whatever else is drawn beside it.
    """

    prompt: Prompt
    sample: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Generated:
    """One sample.

    Attributes:
      text: without prompt, end token and stop string.
      finish_reason: "eos" or "stop", "length", or what a server calls it.
      num_tokens: generated; 0 where a server does not say.
      token_ids: None where a server does not say.
      tokens: their texts, where a server gives these instead.
      logprobs: natural logarithm of each token's probability under the model itself; None for a
        token of which a server does not say it.
      candidates: at each token, further fields of the file.
      reasoning: what the model wrote before the text, where a server parts the two; the tokens
        are those of both.
      stop: texts that end a sample, where the tokens may hold one behind the text.
    """

    text: str
    finish_reason: str
    num_tokens: int
    token_ids: Sequence[int] | None = None
    tokens: Sequence[str] | None = None
    logprobs: Sequence[float | None] | None = None
    candidates: Sequence[Mapping[str, Any]] | None = None
    reasoning: str | None = None
    stop: Sequence[str] | None = None


@dataclasses.dataclass(frozen=True)
class Failed:
    """Why a job has no sample; the same command tries it again.

    Attributes:
      reason: one line.
      of_the_run: whether every other job would meet the same.
      of_the_prompt: whether every other sample of this prompt would, such as one that is too long.
    """

    reason: str
    of_the_run: bool = False
    of_the_prompt: bool = False


class Backend(abc.ABC):
    """A model that draws samples; a context manager."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Of the model; None for a server's, which keeps its own to itself."""
        return None

    @property
    def reading(self) -> Reading | None:
        """How the model reads prompts; None for a server's."""
        return None

    @property
    def chat_template(self) -> str | None:
        """A hash of how the model writes conversations; None for a server's."""
        return None

    @abc.abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Returns what tells this model from others, for `settings.json`."""

    @abc.abstractmethod
    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """Looks at a host's prompts before anything is drawn or written.

        Raises:
          UserError: one of them cannot be asked.
        """

    @abc.abstractmethod
    def generate(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Generated | Failed]]:
        """Yields each job with its sample, in the order in which they are done."""

    @abc.abstractmethod
    def figures(self) -> Mapping[str, Any]:
        """Returns what was counted so far, for the summary."""

    def notes(self) -> Sequence[str]:
        """Returns lines for people, when all is done."""
        return ()

    def __enter__(self) -> Backend:
        return self

    @abc.abstractmethod
    def __exit__(self, *unused: object) -> None:
        """Lets go of what is held."""


def sample_seed(seed: int, prompt_id: str, sample: int) -> int:
    """Returns the seed of one sample, 0 to 2**31 - 1, the same in every run and on every host."""
    text = f"{seed}\0{prompt_id}\0{sample}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") >> 1
