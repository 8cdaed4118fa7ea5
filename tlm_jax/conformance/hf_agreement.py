"""Compares models, loss, gradients and decoding with arrays recorded from transformers."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from tlm_jax import models, trees
from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.formats.hugging_face import CONFIG
from tlm_jax.conformance.agreement import Comparison, Report, compare, compare_each
from tlm_jax.conformance.hf_recording import HuggingFaceRecording as Recording
from tlm_jax.conformance.hf_recording import decoder_batch, encoder_batch, target_batch
from tlm_jax.decoding.beam import BeamSearch, jit_beam
from tlm_jax.decoding.greedy import jit_greedy
from tlm_jax.lazy import in_memory
from tlm_jax.losses.fused import cross_entropy_from_hidden
from tlm_jax.types import Batch, Params

# The largest differences allowed; float32 noise is about a twentieth of these.
LOGITS = 1e-4  # absolute
LOGPROBS = 1e-4  # absolute
MARGIN = 2e-4  # absolute: of the difference of two logits
LOSS = 1e-5  # relative
GRADIENT = 1e-3  # relative
BEAM_SCORES = 1e-4  # absolute

GRADIENT_FLOOR = 1e-4
"""Of the global norm: smaller gradients are compared relative to this. OPT's bias of the keys has a
gradient that is zero but for noise, for softmax does not see it."""

HUB_CONFIG = "config.hub_v4.json"
_INPUTS = re.compile(
    r"(left_)?(input_ids|attention_mask|position_ids)|decoder_input_ids|labels|grad_names|"
    r"continuation_(start|mask)|long_(input_ids|labels)|gen_(input_ids|attention_mask)|beam4_eos_id"
)


def check_directory(directory: Path, *, beams: bool = True) -> Report:
    """Computes, from weights and inputs, every output that transformers recorded.

    Args:
      directory: has `config.json`, safetensors and `reference.npz`, and perhaps
        `config.hub_v4.json`, the same configuration in an older form.
      beams: whether beam searches are compared; compiling them takes most of the time.

    Raises:
      UserError: a file is missing, or the model is none of ours.
    """
    recording = Recording.load(directory)
    comparisons = [*_hub_config(recording)]
    if recording.config.is_encoder_decoder:
        comparisons += _encoder_decoder(recording)
        comparisons += _beams(recording) if beams else ()
    else:
        comparisons += _decoder_only(recording)
    compared = {comparison.name for comparison in comparisons}
    recorded = {name for name in recording.arrays if not _INPUTS.fullmatch(name)}
    return Report(comparisons, sorted(recorded - compared))


def _hub_config(recording: Recording) -> Iterator[Comparison]:
    """Counts the fields in which the two forms of the configuration give different models."""
    path = recording.directory / HUB_CONFIG
    if path.exists():
        newer, older = (
            recording.family.read_config(json.loads(path.with_name(name).read_text()))
            for name in (CONFIG, HUB_CONFIG)
        )
        differing = [
            field.name
            for field in dataclasses.fields(newer)
            if getattr(newer, field.name) != getattr(older, field.name, None)
        ]
        name = f"{HUB_CONFIG} ({', '.join(differing)})" if differing else HUB_CONFIG
        yield Comparison(name, float(len(differing)), 0.0, relative=False)


def _decoder_only(recording: Recording) -> Iterator[Comparison]:
    arrays = recording.arrays
    prompt, valid = arrays["gen_input_ids"], arrays["gen_attention_mask"]
    answer = arrays["greedy_ids"]
    # One length for all, so that the program is compiled once.
    length = max(arrays["input_ids"].shape[1], prompt.shape[1] + answer.shape[1])
    logits = np.empty(0)
    for side in ("left_", ""):
        ids, mask = arrays[f"{side}input_ids"], arrays[f"{side}attention_mask"]
        loss, logits, gradient = _forward(recording, decoder_batch(ids, mask, length=length))
        yield _compare_where(f"{side}logits", logits, arrays[f"{side}logits"], mask == 1)
    yield compare("loss", loss, arrays["loss"], LOSS, relative=True)
    yield from _gradients(recording, gradient)
    ids = arrays["input_ids"]
    found = _logprobs(logits[:, : ids.shape[1] - 1], ids[:, 1:]) * arrays["continuation_mask"]
    yield compare("continuation_logprobs", found, arrays["continuation_logprobs"], LOGPROBS)
    total, expected = found.sum(axis=1), arrays["continuation_sum"]
    yield compare("continuation_sum", total, expected, LOSS, relative=True)

    yield from _greedy(recording, decoder_batch(prompt, valid, length=prompt.shape[1]))
    # Without a cache, the recorded answer behind the prompt gives each choice again.
    whole, mask = np.hstack([prompt, answer]), np.hstack([valid, np.ones_like(answer)])
    logits = _forward(recording, decoder_batch(whole, mask, length=length))[1]
    choices = logits[:, prompt.shape[1] - 1 :][:, : answer.shape[1]]
    yield compare("greedy_margin", _margin(choices), arrays["greedy_margin"], MARGIN)


def _encoder_decoder(recording: Recording) -> Iterator[Comparison]:
    arrays = recording.arrays
    labels, mask, answer = arrays["labels"], arrays["attention_mask"], arrays["greedy_ids"]
    real = labels != -100
    length = max(labels.shape[1], answer.shape[1])
    encoder = encoder_batch(arrays["input_ids"], mask)
    batch = {**encoder, **target_batch(labels, real, length=length)}
    loss, logits, gradient = _forward(recording, batch)
    encoded = jax.jit(models.encode, static_argnums=2)(recording.params, batch, recording.config)
    name = "encoder_last_hidden_state"
    yield _compare_where(name, np.asarray(encoded), arrays[name], mask == 1)
    yield _compare_where("logits", logits, arrays["logits"], real)
    found = _logprobs(logits[:, : labels.shape[1]], np.where(real, labels, 0)) * real
    yield compare("target_logprobs", found, arrays["target_logprobs"], LOGPROBS)
    yield compare("loss", loss, arrays["loss"], LOSS, relative=True)
    yield from _gradients(recording, gradient)

    ids, targets = arrays["long_input_ids"], arrays["long_labels"]
    targets = _whole_targets(targets, targets.shape[1])
    long = {**encoder_batch(ids, np.ones_like(ids)), **targets}
    found = jax.jit(models.logits, static_argnums=2)(recording.params, long, recording.config)
    yield compare("long_logits_last8", found[:, -8:], arrays["long_logits_last8"], LOGITS)

    yield from _greedy(recording, encoder)
    logits = _forward(recording, {**encoder, **_whole_targets(answer, length)})[1]
    margin = _margin(logits[:, : answer.shape[1]])
    yield compare("greedy_margin", margin, arrays["greedy_margin"], MARGIN)


def _whole_targets(targets: Int[np.ndarray, "B t"], length: int) -> Batch:
    return target_batch(targets, np.ones(targets.shape, bool), length=length)


def _forward(
    recording: Recording, batch: Batch
) -> tuple[jax.Array, Float[np.ndarray, "B T V"], Params]:
    """Returns the mean loss of the targets, the logits of all positions, and the gradient."""
    (loss, logits), gradient = _loss_and_gradient(recording.params, batch, recording.config)
    return loss, np.asarray(logits), gradient


def _gradients(recording: Recording, gradient: Params) -> Iterator[Comparison]:
    """Compares norms by transformers' names: its fused tensors whole, tied ones once."""
    arrays = recording.arrays
    flat = {name: in_memory(np.asarray(x)) for name, x in trees.flatten(gradient).items()}
    hf_tensors = families.export_tensors(recording.family, recording.config, flat)
    norms = {
        name: float(np.linalg.norm(x.read().astype(np.float64))) for name, x in hf_tensors.items()
    }
    names = [str(name) for name in arrays["grad_names"]]
    if "embed_out.weight" in norms:  # in files; transformers 5 calls it otherwise in memory
        names = ["embed_out.weight" if name == "lm_head.weight" else name for name in names]
    expected, total = arrays["grad_l2"], arrays["grad_global_norm"]
    if set(names) == set(norms):
        got = np.array([norms[name] for name in names])
        floor = GRADIENT_FLOOR * float(total)
        yield compare_each("grad_l2", got, expected, GRADIENT, floor=floor)
    else:
        different = ", ".join(sorted(set(names) ^ set(norms)))
        yield Comparison(f"grad_l2 (only on one side: {different})", np.inf, GRADIENT, True)
    norm = np.sqrt(sum(value**2 for value in norms.values()))
    yield compare("grad_global_norm", norm, total, GRADIENT, relative=True)


def _greedy(recording: Recording, batch: Batch) -> Iterator[Comparison]:
    expected = recording.arrays["greedy_ids"]
    decode = jit_greedy(recording.config, max_decode_steps=expected.shape[1], eos_ids=())
    yield compare("greedy_ids", decode(recording.params, batch).tokens, expected, 0.0)


def _beams(recording: Recording) -> Iterator[Comparison]:
    """Compares every recorded beam search; what follows an end token does not count."""
    arrays = recording.arrays
    batch = encoder_batch(arrays["input_ids"], arrays["attention_mask"])
    for name in sorted(name for name in arrays if re.fullmatch(r"beam4.*_ids", name)):
        case = name.removesuffix("_ids")
        expected = arrays[name]
        settings = re.fullmatch(r"beam4_eos_lp(.*)_es([01])", case)
        eos_ids = (int(arrays["beam4_eos_id"]),) if settings else ()
        search = BeamSearch(
            expected.shape[1],
            "transformers",
            length_penalty=float(settings[1]) if settings else 1.0,
            early_stopping=bool(settings and settings[2] == "1"),
        )
        decode = jit_beam(
            recording.config, search, max_decode_steps=expected.shape[2], eos_ids=eos_ids
        )
        beams = decode(recording.params, batch)
        tokens = _until_end(np.asarray(beams.tokens), eos_ids)
        yield compare(name, tokens, _until_end(expected, eos_ids), 0.0)
        scores = f"{case}_scores"
        yield compare(scores, beams.scores, arrays[scores], BEAM_SCORES)


@functools.partial(jax.jit, static_argnums=2)
@functools.partial(jax.value_and_grad, has_aux=True)
def _loss_and_gradient(params: Params, batch: Batch, config: models.ModelConfig):
    """Returns ((mean loss of the targets, logits of all positions), gradient)."""
    hidden = models.hidden_states(params, batch, config)
    head = models.unembedding(params, config)
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    output = cross_entropy_from_hidden(hidden, head, targets, weights, chunk_tokens=16)
    return output.loss.mean(), head.logits(hidden)


def _logprobs(
    logits: Float[np.ndarray, "B T V"], ids: Int[np.ndarray, "B T"]
) -> Float[np.ndarray, "B T"]:
    scores = np.asarray(jax.nn.log_softmax(logits, axis=-1))
    return np.take_along_axis(scores, ids[..., None], axis=-1)[..., 0]


def _margin(logits: Float[np.ndarray, "B T V"]) -> Float[np.ndarray, "B T"]:
    best = np.sort(logits, axis=-1)
    return best[..., -1] - best[..., -2]


def _until_end(ids: Int[np.ndarray, "B P T"], eos_ids: tuple[int, ...]) -> Int[np.ndarray, "B P T"]:
    """Returns the ids with 0 for whatever follows the first end token."""
    ends = np.isin(ids, eos_ids)
    return np.where(np.cumsum(ends, axis=-1) - ends > 0, 0, ids)


def _compare_where(
    name: str,
    got: Float[np.ndarray, "B T x"],
    expected: Float[np.ndarray, "B t x"],
    where: Bool[np.ndarray, "B t"],
) -> Comparison:
    """Compares real positions; ours may be padded further."""
    return compare(name, got[:, : where.shape[1]][where], expected[where], LOGITS)
