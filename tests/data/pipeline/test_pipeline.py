# pyright: reportPossiblyUnboundVariable=false
"""Batches are the same on any number of hosts, and stopping loses and repeats nothing."""

import collections

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pipelines import (  # noqa: F401
    Endless,
    assert_equal_batches,
    finite,
    global_batches,
    make,
    pipeline_tasks,
    take,
)

from tlm_jax.data import tasks
from tlm_jax.data.sources import RecordSource
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import HuggingFaceVocabulary


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("name", ["pipe_mixture", "pipe_endless"])
@pytest.mark.parametrize("architecture", ["encoder_decoder", "decoder_only"])
def test_any_number_of_hosts_gives_the_same_batches(name, pack, architecture):
    runs = [
        global_batches(name, hosts, 5, pack=pack, architecture=architecture) for hosts in (1, 2, 4)
    ]
    for arrays, ids, state in runs[1:]:
        assert_equal_batches(arrays, runs[0][0])
        assert ids == runs[0][1]
        assert state == runs[0][2]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 4), (4, 2), (2, 1)])
def test_going_on_equals_never_stopping(pack, before, after):
    arrays, ids, _ = global_batches("pipe_mixture", 1, 12, pack=pack)
    for stop in (0, 1, 4, 9):
        head = global_batches("pipe_mixture", before, stop, pack=pack)
        tail = global_batches("pipe_mixture", after, 12 - stop, head[2], pack=pack)
        assert head[2]["step"] == stop
        assert_equal_batches(head[0] + tail[0], arrays)
        assert head[1] + tail[1] == ids


@pytest.mark.parametrize("pack", [False, True])
def test_every_example_is_met_as_often_as_its_epochs(pack):
    _, ids, _ = global_batches("pipe_small", 1, 30, pack=pack)
    counts = collections.Counter(i for batch in ids for row in batch for i in row)
    assert len(counts) == 37
    # Packing looks ahead by at most a window a shard.
    assert max(counts.values()) - min(counts.values()) <= (1 if not pack else 5)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("pack", [False, True])
def test_one_epoch_holds_every_example_once_and_ends_together(pack, hosts):
    seen, steps = [], []
    for host in range(hosts):
        with make("pipe_mixture", hosts, host, pack=pack, num_epochs=1) as pipeline:
            batches = list(pipeline)
            with pytest.raises(StopIteration):
                next(pipeline)
        steps.append(len(batches))
        if not pack:
            assert len(batches) == pipeline.num_batches
        for batch in batches:
            assert {len(a) for a in batch.arrays.values()} == {8 // hosts}
            for row, ids in enumerate(batch.example_ids):
                seen += ids
                assert bool(ids) == bool(batch.arrays["decoder_loss_weights"][row].any())
    assert len(set(steps)) == 1
    expected = [f"s{i}" for i in range(37)] + [f"o{i}" for i in range(11)]
    assert sorted(seen) == sorted(expected)


def test_an_evaluation_keeps_the_order_and_the_records():
    with make(num_epochs=1, shuffle=False, pack=False, max_examples=10) as pipeline:
        batches = list(pipeline)
    ids = [row for batch in batches for row in batch.example_ids]
    assert ids == [(f"s{i}",) for i in range(10)] + [()] * 6
    assert batches[0].records[3][0]["targets"] == "33"
    text = pipeline.vocabulary.decode(batches[0].arrays["decoder_target_tokens"][3])
    assert text == "33"


def test_rows_hold_the_examples_they_name():
    with make("pipe_mixture", pack=True, architecture="decoder_only") as pipeline:
        for batch in take(pipeline, 6):
            for row, records in enumerate(batch.records):
                segments = batch.arrays["decoder_segment_ids"][row]
                assert segments.max() == len(records)
                for number, record in enumerate(records, start=1):
                    here = segments == number
                    weights = batch.arrays["decoder_loss_weights"][row][here].astype(bool)
                    tokens = batch.arrays["decoder_target_tokens"][row][here]
                    decoded = pipeline.vocabulary.decode(tokens[weights])
                    assert decoded == record["targets"]
                    assert batch.example_ids[row][number - 1] == record["id"]


def test_seeds_change_the_order():
    orders = [global_batches("pipe_small", 1, 2, pack=False, seed=seed)[1] for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_restoring_another_order_names_the_difference():
    with make("pipe_small") as pipeline:
        take(pipeline, 2)
        state = pipeline.state()
    for options, message in (
        ({"seed": 1}, "seed was 0 in the checkpoint and is 1 now"),
        ({"batch_size": 16}, "batch size was 8 .* and is 16 now"),
        ({"pack": False}, "packing was True"),
        ({"feature_lengths": {"inputs": 24, "targets": 10}}, "feature lengths was"),
    ):
        with (
            make("pipe_small", **options) as other,  # pyright: ignore[reportArgumentType]
            pytest.raises(UserError, match=f"data at step 2: {message}"),
        ):
            other.restore(state)
    # Unpacked rows do not depend on the lengths, which may so be changed.
    with make("pipe_small", pack=False) as pipeline:
        take(pipeline, 1)
        state = pipeline.state()
    with make("pipe_small", pack=False, feature_lengths={"inputs": 9, "targets": 9}) as other:
        other.restore(state)
        assert next(other).arrays["encoder_input_tokens"].shape == (8, 9)


def test_state_is_behind_the_batches_handed_out_not_those_prefetched():
    with make("pipe_endless", pack=False) as pipeline:
        assert pipeline.state()["step"] == 0
        take(pipeline, 3)
        assert pipeline.state()["step"] == 3
        pipeline.close()
        assert next(pipeline).example_ids[0] == ("24",)


def test_impossible_divisions_are_user_errors():
    with pytest.raises(UserError, match="batch size 8 cannot be divided among 3 hosts"):
        make(hosts=3)
    with pytest.raises(UserError, match="2 hosts cannot share the 1 packing shards"):
        make(hosts=2, batch_size=6, packing_shards=1)
    with pytest.raises(UserError, match="batch size 0"):
        make(batch_size=0)


def test_wrong_names_splits_and_lengths_are_user_errors():
    with pytest.raises(UserError, match=r"'pipe_smal'.*Did you mean 'pipe_small'"):
        make("pipe_smal")
    with pytest.raises(UserError, match="task 'pipe_small': no split 'test'"):
        make(split="test")
    with pytest.raises(UserError, match="no feature length for 'targets' of 'pipe_small'"):
        make(feature_lengths={"inputs": 4})
    with pytest.raises(UserError, match="'pipe_endless' is endless"):
        make("pipe_endless", num_epochs=1)


def test_an_error_while_reading_reaches_the_caller():
    class Broken(Endless):
        def example(self, split, index):
            if index == 19:
                raise UserError("numbers.jsonl, line 20: not JSON")
            return super().example(split, index)

    tasks.register_task("pipe_broken", Broken())
    try:
        with make("pipe_broken", pack=False) as pipeline:
            take(pipeline, 2)
            with pytest.raises(UserError, match="line 20: not JSON"):
                next(pipeline)
    finally:
        tasks.unregister("pipe_broken")


def test_vocabularies_without_a_padding_id_get_explicit_lengths(tmp_path):

    words = {"i": 0, "t": 1, "</s>": 2, "<s>": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="i"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = HuggingFaceVocabulary(str(tmp_path / "tokenizer.json"))
    with make("pipe_endless", vocabulary=vocabulary, pack=False) as pipeline:
        batch = next(pipeline).arrays
    lengths = batch["encoder_segment_ids"].sum(axis=1)
    assert lengths.tolist() == [2, 3, 4, 5, 6, 7, 8, 2]
    assert batch["encoder_input_tokens"][6].tolist() == [0] * 7 + [2] + [0] * 16
    assert batch["decoder_input_tokens"][:, 0].tolist() == [3] * 8


def test_aligned_features_are_packed_with_their_targets():
    class Teacher(RecordSource):
        splits = ("train",)

        def num_examples(self, split):
            return 20

        def example(self, split, index):
            steps = index % 5 + 1
            return {
                "id": str(index),
                "inputs": "x",
                "targets": np.arange(steps) + 10 * index,
                "teacher_logprobs": -np.arange(2 * steps, dtype=np.float32).reshape(steps, 2) - 0.7,
            }

    tasks.register_task("pipe_teacher", Teacher())
    aligned = {"teacher_logprobs": -np.inf}
    try:
        with make("pipe_teacher", aligned_features=aligned, num_epochs=1) as pipeline:
            for batch in pipeline:
                values = batch.arrays["teacher_logprobs"]
                assert values.shape == (8, 12, 2)
                assert values.dtype == np.float32
                positions = batch.arrays["decoder_positions"].astype(np.float32)
                real = batch.arrays["decoder_segment_ids"] > 0
                np.testing.assert_allclose(values[real][:, 0], -2 * positions[real] - 0.7)
                assert np.all(values[~real] == -np.inf)
    finally:
        tasks.unregister("pipe_teacher")


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 60),
    batch_size=st.sampled_from([4, 8, 12]),
    window=st.integers(1, 20),
    before=st.sampled_from([1, 2, 4]),
    after=st.sampled_from([1, 2, 4]),
    stop=st.integers(0, 6),
    seed=st.integers(0, 9),
)
def test_nothing_is_lost_or_repeated(size, batch_size, window, before, after, stop, seed):
    """One epoch, packed, stopped anywhere and continued on another number of hosts."""
    tasks.register_task("pipe_drawn", finite(size, "d"))
    options = {
        "batch_size": batch_size,
        "packing_window": window,
        "num_epochs": 1,
        "seed": seed,
        "feature_lengths": {"inputs": 12, "targets": 6},
    }
    try:
        with make("pipe_drawn", **options) as pipeline:
            whole = [batch.example_ids for batch in pipeline]
        stop = min(stop, len(whole))
        head = global_batches("pipe_drawn", before, stop, **options)
        tail = global_batches("pipe_drawn", after, len(whole) - stop, head[2], **options)
    finally:
        tasks.unregister("pipe_drawn")
    assert head[1] + tail[1] == whole
    seen = [i for batch in whole for row in batch for i in row]
    assert sorted(seen) == sorted(f"d{i}" for i in range(size))


def test_packed_rows_are_full():
    with make("pipe_endless", packing_window=256, batch_size=4) as pipeline:
        take(pipeline, 40)
    assert max(pipeline.statistics.fill().values()) > 0.95
