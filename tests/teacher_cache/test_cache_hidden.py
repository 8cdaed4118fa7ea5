"""Hidden states come back bit by bit, with the unembedding that tells their distributions."""

import ml_dtypes
import numpy as np
import pytest
from cached_rows import flip_bits, hidden_row, unembedding

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import CacheWriter, Hidden, TeacherCache
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_states_come_back_bit_by_bit(tmp_path, header, compression):
    if compression == "zstd":
        pytest.importorskip("zstandard", reason="needs the extra zstd")
    rows = [hidden_row(number) for number in range(3)]
    with CacheWriter(
        tmp_path, header, encoding=Hidden(), compression=compression, unembedding=unembedding()
    ) as writer:
        for row in rows:
            writer.write(row)
    cache = TeacherCache.open(tmp_path)
    for row in rows:
        found = cache.get(row.key)
        assert found.token_ids.tolist() == row.token_ids.tolist()
        assert found.steps.weights.tolist() == row.steps.weights.tolist()
        kept = row.steps.weights > 0
        assert found.steps.hidden.dtype == ml_dtypes.bfloat16
        assert found.steps.hidden[kept].tobytes() == row.steps.hidden[kept].tobytes()
        assert not found.steps.hidden[~kept].any()
    assert cache.shards[0].entry.tally["dropped_steps"] == 3
    stored = cache.unembedding
    assert stored.matrix.dtype == ml_dtypes.bfloat16
    for found, wrote in zip(stored, unembedding()):
        np.testing.assert_array_equal(found, wrote)


def test_logits_are_those_of_the_model(tmp_path):
    import jax.numpy as jnp

    from tlm_jax.types import Unembedding

    stored = unembedding(np.float32)
    hidden = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    expected = Unembedding(jnp.asarray(stored.matrix), 0.5, 30.0, jnp.asarray(stored.bias))
    np.testing.assert_allclose(
        stored.logits(hidden), expected.logits(jnp.asarray(hidden)), rtol=1e-5, atol=1e-5
    )


def test_another_teachers_unembedding_is_refused(tmp_path, header):
    options = {"encoding": Hidden(), "unembedding": unembedding()}
    CacheWriter(tmp_path, header, **options).close()
    CacheWriter(tmp_path, header, **options).close()  # the same one is not
    options["unembedding"] = unembedding()._replace(scale=1.0)
    with pytest.raises(UserError, match="another teacher's unembedding"):
        CacheWriter(tmp_path, header, **options)


@pytest.mark.parametrize("name", ["unembedding.json", "unembedding-matrix.npy"])
def test_a_damaged_unembedding_is_noticed(tmp_path, header, name):
    CacheWriter(tmp_path, header, encoding=Hidden(), unembedding=unembedding()).close()
    flip_bits(tmp_path / name, (tmp_path / name).stat().st_size // 2)
    with pytest.raises(UserError, match=r"unembedding.json: damaged"):
        _ = TeacherCache.open(tmp_path).unembedding


def test_wrong_rows_are_refused(tmp_path, header):
    with CacheWriter(tmp_path, header, encoding=Hidden()) as writer:
        row = hidden_row(0)
        row.steps.hidden[0, 3] = np.inf
        with pytest.raises(UserError, match="step 0: its hidden state is not finite"):
            writer.write(row)
        nothing = np.zeros((1, 1), np.float32)
        steps = StepDistributions(nothing.astype(np.int32), nothing, nothing[0], nothing[0])
        with pytest.raises(UserError, match="takes hidden states"):
            writer.write(TeacherRow("0" * 32, "e", np.zeros(1, np.int32), steps))
