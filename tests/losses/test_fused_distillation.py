"""Distillation in chunks equals the plain loss, on one device and eight, and stays small."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from compiled_programs import loops_of
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tlm_jax.losses.distillation import Distillation, distillation_loss
from tlm_jax.losses.fused import distillation_from_hidden
from tlm_jax.losses.teachers import DenseTeacher, SparseTeacher
from tlm_jax.sharding.rules import use_rules
from tlm_jax.types import Unembedding

B, T, D, E, V, C = 8, 7, 8, 6, 48, 4
SETTINGS = {
    "sparse": Distillation(alpha=0.6, label_smoothing=0.1, z_loss=1e-2, report_entropy=True),
    "dense": Distillation("jensen_shannon(0.4)", alpha=0.6, temperature=1.5, z_loss=1e-2),
}


def example(kind, dtype=jnp.float32, rows=B, length=T, width=D, vocabulary=V):
    """What is differentiated, the teacher's arrays, targets and weights."""
    keys = jax.random.split(jax.random.key(0), 8)
    student = {
        "hidden": jax.random.normal(keys[0], (rows, length, width), dtype),
        "matrix": jax.random.normal(keys[1], (width, vocabulary), dtype),
        "bias": jax.random.normal(keys[2], (vocabulary,), dtype),
    }
    targets = jax.random.randint(keys[3], (rows, length), 0, vocabulary)
    weights = jax.random.uniform(keys[4], (rows, length))
    said = (jax.random.uniform(keys[5], (rows, length)) < 0.8).astype(jnp.float32)
    if kind == "dense":
        hidden = jax.random.normal(keys[6], (rows, length, E), dtype)
        matrix = jax.random.normal(keys[7], (E, vocabulary), dtype)
        teacher = {"hidden": hidden, "matrix": matrix, "weights": said}
    else:
        part = vocabulary // C
        ids = jax.random.randint(keys[6], (rows, length, C), 0, part)
        log_p = jax.nn.log_softmax(jax.random.normal(keys[7], (rows, length, C + 1)))
        teacher = {
            "token_ids": ids + part * jnp.arange(C)[None, None],
            "logprobs": log_p[..., :C].at[0, :, -1].set(-jnp.inf),
            "tail_logprobs": log_p[..., C],
            "weights": said,
        }
    return student, teacher, targets, weights


def arguments(student, teacher, targets, weights, scale):
    head = Unembedding(student["matrix"], scale, 5.0, student["bias"])
    if "hidden" in teacher:
        matrix = Unembedding(teacher["matrix"], 0.5, 4.0)
        return head, targets, weights, DenseTeacher(teacher["hidden"], matrix, teacher["weights"])
    return head, targets, weights, SparseTeacher(**teacher)


def plain(student, teacher, targets, weights, *, settings, scale=0.5):
    head, *rest = arguments(student, teacher, targets, weights, scale)
    return distillation_loss(head.logits(student["hidden"]), *rest, settings)


def fused(student, teacher, targets, weights, *, settings, scale=0.5, chunk_tokens=16):
    rest = arguments(student, teacher, targets, weights, scale)
    return distillation_from_hidden(student["hidden"], *rest, settings, chunk_tokens=chunk_tokens)


def with_gradient(function, **options):
    def loss(student, *rest):
        output = function(student, *rest, **options)
        return output.loss.mean(), output

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@functools.cache
def expected_of(kind):
    return with_gradient(plain, settings=SETTINGS[kind])(*example(kind))


@pytest.mark.parametrize("chunk_tokens", [24, 1000])  # 3 chunks, the last padded; 1
@pytest.mark.parametrize("kind", SETTINGS)
def test_equals_the_plain_loss(kind, chunk_tokens):
    step = with_gradient(fused, chunk_tokens=chunk_tokens, settings=SETTINGS[kind])
    assert_close(step(*example(kind)), expected_of(kind))


@pytest.mark.parametrize("kind", SETTINGS)
def test_undifferentiated_gives_the_same_value(kind):
    output = jax.jit(functools.partial(fused, settings=SETTINGS[kind]))(*example(kind))
    assert_close(output, expected_of(kind)[0][1])


def test_bfloat16_operands_keep_float32_sums():
    arrays, options = example("dense", jnp.bfloat16), {"settings": SETTINGS["dense"]}
    wide = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, arrays)
    (_, expected), expected_gradient = with_gradient(plain, **options)(*wide)
    (_, output), gradient = with_gradient(fused, **options)(*arrays)
    assert_close(output, expected, rtol=1e-5)
    assert all(g.dtype == jnp.bfloat16 for g in jax.tree.leaves(gradient))
    assert_close(gradient, expected_gradient, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("kind", SETTINGS)
def test_no_gradient_reaches_the_teacher(kind):
    student, teacher, targets, weights = example(kind)

    def loss(teacher):
        return fused(student, teacher, targets, weights, settings=SETTINGS[kind]).loss.total

    gradients = jax.grad(loss, allow_int=True)(teacher)
    floats = [g for g in jax.tree.leaves(gradients) if g.dtype == jnp.float32]
    assert len(floats) == 3
    assert not any(np.asarray(g).any() for g in floats)


@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 1, 8)])
@pytest.mark.parametrize("kind", SETTINGS)
def test_equals_the_plain_loss_on_a_mesh(kind, shape):
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(shape), ("data", "fsdp", "tensor"))
    with use_rules(mesh):
        step = with_gradient(fused, chunk_tokens=2, settings=SETTINGS[kind])
        assert_close(step(*on_mesh(example(kind), mesh)), expected_of(kind))


def on_mesh(arrays, mesh):
    specs = {"matrix": P("fsdp", "tensor"), "bias": P("tensor")}

    def put(path, x):
        name = getattr(path[-1], "key", None)
        if name == "matrix" and x.shape[0] % mesh.shape["fsdp"]:
            return jax.device_put(x, NamedSharding(mesh, P(None, "tensor")))
        return jax.device_put(x, NamedSharding(mesh, specs.get(name, P(("data", "fsdp")))))

    return jax.tree_util.tree_map_with_path(put, arrays)


@pytest.mark.parametrize("kind", SETTINGS)
def test_devices_exchange_no_logits_and_matrix_gradients_once(kind):
    arrays = example(kind, rows=8, length=64, vocabulary=512)
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(2, 2, 2), ("data", "fsdp", "tensor"))
    with use_rules(mesh):
        step = with_gradient(fused, chunk_tokens=32, settings=SETTINGS[kind])
        text = step.lower(*on_mesh(arrays, mesh)).compile().as_text()
    # 32 tokens a device are 16 positions of its 2 rows; the vocabulary is split in two.
    assert re.search(r"f32\[(2,16|32),256\]", text)
    assert not re.search(r"f32\[(\d+,\d\d+|\d\d+),512\]", text)
    loops = loops_of(text)
    assert " all-reduce" in loops  # the softmax's sums over the parts of the vocabulary
    moves = re.findall(r"= (.*) (?:all-reduce|all-gather|reduce-scatter|all-to-all)\(", loops)
    sizes = [
        math.prod(int(n) for n in shape.split(","))
        for move in moves
        for shape in re.findall(r"\[([\d,]+)\]", move)
    ]
    largest = 32 * max(D, C)  # the gradient of a chunk's hidden states, or its candidates' logits
    assert max(sizes) <= largest


@pytest.mark.parametrize(("kind", "arrays_alive"), [("sparse", 6), ("dense", 15)])
def test_logits_exist_a_chunk_at_a_time(kind, arrays_alive):
    """XLA's CPU backend writes out what goes into a sum, so that a dense chunk takes several."""
    tokens, vocabulary = 64, 4096
    arrays = example(kind, rows=2, length=512, width=tokens, vocabulary=vocabulary)
    settings = Distillation(SETTINGS[kind].divergence, alpha=0.5)
    step = with_gradient(fused, chunk_tokens=tokens, settings=settings)
    compiled = step.lower(*arrays).compile()
    one_chunk = tokens * vocabulary  # 1 MiB; all logits are 16
    shapes = re.findall(r"[a-z]+\d+\[([\d,]+)\]", compiled.as_text())
    assert max(math.prod(int(n) for n in shape.split(",")) for shape in shapes) <= one_chunk
    assert compiled.memory_analysis().temp_size_in_bytes < arrays_alive * one_chunk * 4


def test_products_are_computed_once():
    arrays = example("dense", rows=2, length=32, width=128, vocabulary=512)
    settings = Distillation("jensen_shannon", alpha=0.5)
    product, of_teacher = (2 * arrays[2].size * width * 512 for width in (128, E))
    step = with_gradient(fused, chunk_tokens=64, settings=settings)
    flops = step.lower(*arrays).compile().cost_analysis()["flops"]
    assert 3 * product + of_teacher <= flops < 3.6 * product


def test_agrees_with_trl_from_hidden_states(shared_dir):
    """Its ChunkedDivergenceFunction: the divergence of each token, the gradients of their mean."""
    arrays = np.load(shared_dir / "fixtures/hf/losses/reference.npz")
    names = ("student_hidden", "student_head", "teacher_hidden", "teacher_head")
    hidden, head, teacher_hidden, teacher_head = (jnp.asarray(arrays[name]) for name in names)
    tokens = hidden.shape[0]
    ones = jnp.ones((1, tokens))
    teacher = DenseTeacher(teacher_hidden[None], Unembedding(teacher_head.T), ones)
    targets = jnp.zeros((1, tokens), jnp.int32)
    for beta in ("0.0", "0.5", "1.0"):
        settings = Distillation(f"jensen_shannon({beta})", report_entropy=True)

        def loss(hidden, head, settings=settings):
            output = distillation_from_hidden(
                hidden[None], Unembedding(head.T), targets, ones, teacher, settings, chunk_tokens=5
            )
            return output.loss.mean(), output

        gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        (mean, output), (d_hidden, d_head) = gradient(hidden, head)
        expected = {k: arrays[f"chunked/{k}_beta{beta}"] for k in ("div", "entropy")}
        np.testing.assert_allclose(mean, expected["div"].mean(), rtol=1e-5)
        entropy = output.metrics["student_entropy"].mean()
        np.testing.assert_allclose(entropy, expected["entropy"].mean(), rtol=1e-5)
        expected = arrays[f"chunked/grad_hidden_beta{beta}"]
        np.testing.assert_allclose(d_hidden, expected, rtol=1e-4, atol=1e-6)
        expected = arrays[f"chunked/grad_head_beta{beta}"]
        np.testing.assert_allclose(d_head, expected, rtol=1e-4, atol=1e-6)
