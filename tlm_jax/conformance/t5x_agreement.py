"""Compares models, losses, gradients, optimizer and decoding with arrays recorded from T5X."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlm_jax import models, trees
from tlm_jax.conformance import t5x_beams
from tlm_jax.conformance.agreement import Comparison, Report, compare, compare_each
from tlm_jax.conformance.t5x_recording import Recording
from tlm_jax.decoding.greedy import jit_greedy
from tlm_jax.losses.cross_entropy import cross_entropy
from tlm_jax.losses.fused import cross_entropy_from_hidden
from tlm_jax.losses.reduction import LossOutput, loss_weights_and_normalizer
from tlm_jax.optim.adafactor import AdafactorState, adafactor
from tlm_jax.optim.schedules import Constant
from tlm_jax.types import Batch, Params

# The largest differences allowed; the recorded values repeat to about a tenth of these.
LOGITS = 1e-4  # absolute
BFLOAT16_LOGITS = 5e-2  # relative: bfloat16 has 8 bits, and T5X rounds in other places
LOSS = 1e-5  # relative
GRADIENT = 1e-4  # relative
UPDATED_PARAMETER = 1e-5  # absolute
UPDATE_NORM = 1e-3  # relative
SLOT = 1e-4  # relative


def check_directory(directory: Path) -> Report:
    """Computes every output that T5X recorded, from recorded parameters and inputs.

    Args:
      directory: has `inputs.npz`, `outputs.npz` and `params.npz` (a `*_tied` one takes the
        parameters of the `*_untied` one beside it), and perhaps `params_after3.npz`.

    Raises:
      UserError: a file is missing, or the parameters fit no model.
    """
    recording = Recording.load(directory)
    objective = _Objective(recording)
    comparisons: list[Comparison] = []
    for part in (
        _logits(recording),
        _normalizers(recording),
        _losses(recording, objective),
        _gradients(recording, objective),
        _updates(recording, objective),
        _decodes(recording),
        t5x_beams.beams(recording),
    ):
        comparisons.extend(part)
    compared = {comparison.name for comparison in comparisons}
    labels = {name for name in recording.expected if name.endswith(("param_names", "slot_names"))}
    return Report(comparisons, sorted(recording.expected.keys() - compared - labels))


def _logits(recording: Recording) -> Iterator[Comparison]:
    expected, params = recording.expected, recording.params
    for name, kind, changes in (
        ("logits", "unpacked", {}),
        ("logits_packed", "packed", {}),
        ("logits_bidirectional", "unpacked", {"prefix_lm": True}),
        ("logits_bidirectional_packed", "packed", {"prefix_lm": True}),
    ):
        if name in expected:
            got = _jit_logits(params, recording.batch(kind), recording.variant(**changes))
            yield compare(name, got, expected[name], LOGITS)
    batch = recording.batch("unpacked")
    if "encoded" in expected:
        got = jax.jit(models.encode, static_argnums=2)(params, batch, recording.config)
        yield compare("encoded", got, expected["encoded"], LOGITS)
    if "logits_bf16compute" in expected:
        name = "logits_bf16compute"
        got = _jit_logits(params, batch, recording.variant(dtype="bfloat16"))
        yield compare(name, got, expected[name], BFLOAT16_LOGITS, relative=True)
    if "scores" in expected:
        got = _scores(_jit_logits(params, batch, recording.config), batch)
        yield compare("scores", got, expected["scores"], LOSS, relative=True)


@functools.partial(jax.jit, static_argnums=2)
def _jit_logits(params: Params, batch: Batch, config: models.ModelConfig) -> jax.Array:
    return models.logits(params, batch, config)


@jax.jit
def _scores(logits: jax.Array, batch: Batch) -> jax.Array:
    """The weighted sum of each row's target log-probabilities."""

    def row(logits: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
        return -cross_entropy(logits, targets, weights).loss.total

    return jax.vmap(row)(logits, batch["decoder_target_tokens"], batch["decoder_loss_weights"])


def _normalizers(recording: Recording) -> Iterator[Comparison]:
    for name, expected in recording.expected.items():
        quantity, *case = name.split("/")
        if quantity in ("lnf_value", "lnf_weights"):
            batch = recording.batch(case[0])
            weights, normalizer = loss_weights_and_normalizer(_NORMALIZATIONS[case[1]], batch)
            if quantity == "lnf_weights":
                yield compare(name, weights, expected, LOSS, relative=True)
            else:  # T5X has no normalizer where ours is 1
                expected = np.nan_to_num(expected, nan=1.0)
                yield compare(name, normalizer, expected, LOSS, relative=True)


_NORMALIZATIONS = {
    "none": None,
    "const100": 100.0,
    "real": "NUM_REAL_TARGET_TOKENS",
    "total": "NUM_TOTAL_TARGET_TOKENS",
    "perseq": "AVERAGE_PER_SEQUENCE",
}

_SUM = "lnf=none/ls=0/z=0.0001"
"""The loss of which T5X recorded metrics, gradients by parameter and optimizer steps."""


class _Objective:
    """The loss of every recorded case with its gradients, compiled once a batch shape."""

    def __init__(self, recording: Recording):
        self._recording = recording
        names = [name for name in recording.expected if name.startswith("loss/")]
        self._options = sorted({_options(name) for name in names})
        self._value_and_grad = jax.jit(jax.value_and_grad(self._loss, has_aux=True))

    def __call__(self, case: str, params: Params | None = None) -> tuple[LossOutput, Params]:
        """Returns loss and gradients of a case `batch/lnf=.../ls=.../z=...`."""
        kind, normalization, *_ = case.split("/")
        batch = self._recording.batch(kind)
        weights, normalizer = loss_weights_and_normalizer(
            _NORMALIZATIONS[normalization.removeprefix("lnf=")], batch
        )
        index = self._options.index(_options(case))
        params = self._recording.params if params is None else params
        (_, output), gradient = self._value_and_grad(params, batch, weights, normalizer, index)
        return output, gradient

    def _loss(
        self,
        params: Params,
        batch: Batch,
        weights: jax.Array,
        normalizer: jax.Array,
        index: int | jax.Array,
    ) -> tuple[jax.Array, LossOutput]:
        hidden = models.hidden_states(params, batch, self._recording.config)
        head = models.unembedding(params, self._recording.config)

        def with_options(options: tuple[float, float]) -> Callable[[], LossOutput]:
            return lambda: cross_entropy_from_hidden(
                hidden,
                head,
                batch["decoder_target_tokens"],
                weights,
                label_smoothing=options[0],
                z_loss=options[1],
                chunk_tokens=16,
            )

        output = jax.lax.switch(index, [with_options(options) for options in self._options])
        output = output.with_normalizer(normalizer)
        return output.loss.mean(), output


def _options(case: str) -> tuple[float, float]:
    """Returns label smoothing and z-loss of a case."""
    smoothing, z_loss = case.split("/")[-2:]
    return float(smoothing.removeprefix("ls=")), float(z_loss.removeprefix("z="))


def _losses(recording: Recording, objective: _Objective) -> Iterator[Comparison]:
    expected = recording.expected
    for name in [name for name in expected if name.startswith("loss/")]:
        case = name.removeprefix("loss/")
        output, gradient = objective(case)
        got = {
            f"loss/{case}": output.loss.mean(),
            f"metric_cross_ent_loss/{case}": output.metrics["cross_ent_loss"].total,
            f"metric_z_loss/{case}": output.metrics["z_loss"].total,
            f"metric_accuracy/{case}": output.metrics["accuracy"].mean(),
        }
        for key in got.keys() & expected.keys():
            yield compare(key, got[key], expected[key], LOSS, relative=True)
        key = f"grad_global_norm/{case}"
        if key in expected:
            yield compare(key, optax.global_norm(gradient), expected[key], GRADIENT, relative=True)


def _gradients(recording: Recording, objective: _Objective) -> Iterator[Comparison]:
    expected = recording.expected
    for name in [name for name in expected if name.startswith("grad_norm_by_param/")]:
        kind = name.split("/")[1]
        gradients = recording.recorded_layout(objective(f"{kind}/{_SUM}")[1])
        norms = np.array([_norm(gradients[parameter]) for parameter in expected["param_names"]])
        yield compare_each(name, norms, expected[name], GRADIENT)
        for parameter, array in gradients.items():
            key = f"grad/{kind}/{parameter}"
            if key in expected:
                yield compare(key, array, expected[key], GRADIENT, relative=True)


def _updates(recording: Recording, objective: _Objective) -> Iterator[Comparison]:
    """Three Adafactor steps at learning rate 1e-3, for each recorded batch and factoring."""
    expected = recording.expected
    runs = sorted({name.rsplit("/", 1)[0] for name in expected if name.endswith("/slot_sums")})
    for run in runs:
        kind, min_dim = run.split("/")[1:]
        optimizer = adafactor(
            Constant(1e-3),
            models.logical_axes(recording.config),
            min_dim_size_to_factor=int(min_dim.removeprefix("min_dim=")),
        )
        update = jax.jit(optimizer.update)
        params, state = recording.params, optimizer.init(recording.params)
        for step in range(3):
            output, gradient = objective(f"{kind}/{_SUM}", params)
            name = f"{run}/loss_step{step}"
            yield compare(name, output.loss.mean(), expected[name], LOSS, relative=True)
            updates, state = update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        yield from _compare_updated(recording, run, params)
        assert isinstance(state, AdafactorState)
        slots = {name: np.asarray(slot) for name, slot in trees.flatten(state.slots).items()}
        sums = np.array(
            [slots[name].sum(dtype=np.float64) for name in expected[f"{run}/slot_names"]]
        )
        yield compare_each(f"{run}/slot_sums", sums, expected[f"{run}/slot_sums"], SLOT)
        for name, slot in slots.items():
            key = f"{run}/slot/{name}"
            if key in expected:
                yield compare(key, slot, expected[key], SLOT, relative=True)


def _compare_updated(recording: Recording, run: str, params: Params) -> Iterator[Comparison]:
    expected = recording.expected
    before, after = recording.recorded_layout(recording.params), recording.recorded_layout(params)
    names = expected["param_names"]
    changes = np.array([_norm(after[name] - before[name]) for name in names])
    yield compare_each(f"{run}/delta_norm", changes, expected[f"{run}/delta_norm"], UPDATE_NORM)
    heads = np.stack([after[name].ravel()[:8] for name in names])
    yield compare(f"{run}/head8", heads, expected[f"{run}/head8"], UPDATED_PARAMETER)
    if run == "adafactor/unpacked/min_dim=16":
        for name, array in after.items():
            key = f"params_after3/{name}"
            if key in expected:
                yield compare(key, array, expected[key], UPDATED_PARAMETER)


def _decodes(recording: Recording) -> Iterator[Comparison]:
    batch = recording.batch("decode")
    for kind, changes in (("greedy", {}), ("greedy_bidirectional", {"prefix_lm": True})):
        expected_tokens = recording.expected.get(f"decode_{kind}_tokens")
        if expected_tokens is None:
            continue
        length = expected_tokens.shape[1]
        decode = jit_greedy(recording.variant(**changes), max_decode_steps=length, eos_ids=(1,))
        decoded = decode(recording.params, batch)
        # T5X's length includes the prompt, whose last token gives the first of the answer.
        prompt = batch.get("decoder_causal_attention", jnp.ones((len(expected_tokens), 1), int))
        kept = np.arange(length) <= length - np.asarray(prompt).sum(axis=1, keepdims=True)
        tokens = np.where(kept, decoded.tokens, 0)
        scores = np.where(kept, decoded.logprobs, 0.0).sum(axis=1)
        yield compare(f"decode_{kind}_tokens", tokens, expected_tokens, 0.0)
        name = f"decode_{kind}_scores"
        yield compare(name, scores, recording.expected[name], GRADIENT, relative=True)


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))
