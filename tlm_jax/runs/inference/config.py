"""Configuration of an inference run: the dataclasses that gin_configs/infer.gin fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.decoding.stop_strings import check_stop
from tlm_jax.errors import UserError
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.vocabularies import Vocabulary

_SERVER_PREFIX = "openai:"


@dataclass(frozen=True)
class PromptsConfig:
    """Where prompts come from: a JSON Lines file, or a task.

    Attributes:
      file: one object a line, compressed or not: `prompt` (text) or `messages`; `id`, else the
        number of the line; `question`, to be written beside the samples; for grading `answer`,
        `kind` (a rule of `tlm_jax.grade`, "numeric" if there is none) and, of a choice, `options`.
      mixture_or_task_name: a registered task or mixture instead of a file.
      split: of the task.
      num_examples: so many prompts of the file or of each task; None means all.
      examples_seed: which ones, a sample that this seed fixes; None: the first.
      chat: whether a text prompt is asked as a user's message, by the model's chat template.
      system: a system message before it.
      chat_template: name of one of several templates of a local model; None: its default.
      data_dir: folder with the data sets' files; else the environment's TLM_JAX_DATA_DIR.
      modules: further Python modules that register tasks.
      demonstrations: of in-context tasks.
      add_bos: whether BOS comes before a text prompt of a decoder-only model; None: as its
        tokenizer does it, or as it was trained here (`runs.opened.reading`).
      add_eos: whether EOS ends a text prompt; None: as the model was trained here, and not before
        the answers of a decoder-only model from elsewhere, which reads plain text.
      max_tokens: longest prompt; None: as many as the model's window leaves beside the answer.
      too_long: what becomes of a longer one: an error, or the end of it is kept.
    """

    file: str | None = None
    mixture_or_task_name: str | None = None
    split: str = "test"
    num_examples: int | None = None
    examples_seed: int | None = 0
    chat: bool = False
    system: str | None = None
    chat_template: str | None = None
    data_dir: str | None = None
    modules: Sequence[str] = ()
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)
    add_bos: bool | None = None
    add_eos: bool | None = None
    max_tokens: int | None = None
    too_long: Literal["error", "keep_end"] = "error"

    def __post_init__(self) -> None:
        if (self.file is None) == (self.mixture_or_task_name is None):
            raise UserError(
                "expected either PROMPTS (a JSON Lines file) or MIXTURE_OR_TASK_NAME, not "
                + ("neither" if self.file is None else "both")
            )
        if self.num_examples is not None and self.num_examples < 1:
            raise UserError(f"NUM_EXAMPLES is {self.num_examples}, expected at least 1, or None")


@dataclass(frozen=True)
class SamplingConfig:
    """How samples are drawn.

    Attributes:
      num_samples: of each prompt.
      max_tokens: most tokens of a sample.
      temperature: 0 takes the most probable token.
      top_k: None for all.
      top_p: of the fewest tokens with this share of the probability that `top_k` left.
      min_p: of tokens with at least this share of the most probable one's probability.
      repetition_penalty: divides the logits of tokens seen before; 1 changes nothing.
      max_repeats: a sample that ends with the same few tokens so many times in a row is ended,
        with the reason "repetition"; 0 lets it go on. For local models.
      stop: texts at which a sample ends.
      logprobs: whether log-probabilities of the tokens are asked for and written.
      num_candidates: how many candidates at each token are written with theirs.
      seed: each sample's seed is drawn from it, the prompt's id and the sample's number.
    """

    num_samples: int = 1
    max_tokens: int = 256
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_repeats: int = 0
    stop: Sequence[str] = ()
    logprobs: bool = True
    num_candidates: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "num_samples": (1, None),
            "max_tokens": (1, None),
            "temperature": (0, None),
            "top_k": (1, None),
            "top_p": (0, 1),
            "min_p": (0, 1),
            "max_repeats": (0, None),
            "num_candidates": (0, None),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int | float):
                continue  # None, or a wrong type, which is told with the field's name later
            if not least <= value or (most is not None and value > most):
                wanted = f"at least {least}" if most is None else f"{least} to {most}"
                raise UserError(f"{name.upper()} is {value}, expected {wanted}")
        if self.top_p == 0:
            raise UserError("TOP_P is 0, expected more; for greedy decoding set TEMPERATURE to 0")
        if not self.repetition_penalty > 0:
            raise UserError(f"REPETITION_PENALTY is {self.repetition_penalty}, expected above 0")
        check_stop(self.stop, "STOP")


@dataclass(frozen=True)
class ServerConfig:
    """How an OpenAI-compatible server is treated, where MODEL names one.

    Attributes:
      concurrency: most requests under way at a time.
      requests_per_minute: None for no limit.
      tokens_per_minute: of prompts and answers; None for no limit.
      retries: how often a failed request is sent again.
      timeout_s: for an answer.
      api_key_variable: the environment variable that holds the key; unset, none is sent.
      response_cache_dir: where answers are kept; None: in OUTPUT_DIR/responses; "" keeps none.
      input_price: for a million tokens of prompts, in any currency.
      output_price: for a million generated tokens.
      extra: further fields of each request, for this or that server.
    """

    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 6
    timeout_s: float = 600.0
    api_key_variable: str = "OPENAI_API_KEY"
    response_cache_dir: str | None = None
    input_price: float = 0.0
    output_price: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InferenceConfig:
    """One inference run.

    Attributes:
      model: a model of any format; or `openai:URL,NAME`, one of an OpenAI-compatible server.
      output_dir: everything the run writes lies here; the same command there goes on.
      prompts: what is asked.
      sampling: how it is answered.
      server: for MODEL=openai:...
      vocabulary: of a local model, where it has no tokenizer of its own beside it.
      dtype: of a local model's activations.
      batch_size: rows of a local model that are decoded at a time.
      grading_rule: a rule of `tlm_jax.grade` for all answers; None: the kind that each names.
      mesh: a host's devices along data, fsdp and tensor; each host holds the whole model.
      num_hosts: among which the prompts are divided; None: JAX's processes.
      host_index: of this one, from 0.
    """

    model: str
    output_dir: str
    prompts: PromptsConfig
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    vocabulary: Vocabulary | str | None = None
    dtype: str = "float32"
    batch_size: int = 32
    grading_rule: str | None = None
    mesh: MeshShape = field(default_factory=MeshShape)
    num_hosts: int | None = None
    host_index: int | None = None

    def __post_init__(self) -> None:
        check_hosts(self.host_index, self.num_hosts)
        if isinstance(self.batch_size, int) and self.batch_size < 1:
            raise UserError(f"BATCH_SIZE is {self.batch_size}, expected at least 1")

    @property
    def remote(self) -> tuple[str, str] | None:
        """The URL and the model's name, where MODEL names a server.

        Raises:
          UserError: one of the two is missing.
        """
        if not self.model.startswith(_SERVER_PREFIX):
            return None
        url, _, name = self.model.removeprefix(_SERVER_PREFIX).partition(",")
        if not url or not name:
            raise UserError(
                "MODEL=openai:... needs a URL and a name, for example "
                "openai:http://localhost:8000/v1,Qwen3-8B"
            )
        return url, name


def check_hosts(host_index: int | None, num_hosts: int | None) -> None:
    """Raises UserError where HOST_INDEX and NUM_HOSTS do not fit each other."""
    if (num_hosts is None) != (host_index is None):
        raise UserError("NUM_HOSTS and HOST_INDEX belong together: set both or neither")
    if host_index is not None and host_index not in range(num_hosts or 0):
        raise UserError(f"HOST_INDEX is {host_index} of {num_hosts}, counted from 0")


def this_host(host_index: int | None, num_hosts: int | None) -> tuple[int, int]:
    """Returns this host's number and how many there are; JAX's processes where nothing is said."""
    if host_index is not None and num_hosts is not None:
        return host_index, num_hosts
    import jax

    return jax.process_index(), jax.process_count()
