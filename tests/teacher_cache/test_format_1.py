"""Caches that earlier programs wrote are read, gone on with and merged; nothing of them is lost."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from cached_rows import check_holds, flip_bits, hidden_row, keys_of, unembedding

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import CacheWriter, TeacherCache, TopK
from tlm_jax.teacher_cache.huffman_reader import HuffmanCodebook, LengthCode
from tlm_jax.teacher_cache.merge import merge
from tlm_jax.teacher_cache.shard import ShardFile
from tlm_jax.teacher_cache.sparse_symbols import SparseSymbols
from tlm_jax.teacher_cache.verify import verify

WRITTEN = Path(__file__).parent / "format_1"


@pytest.fixture
def old(tmp_path):
    """A copy of the cache `topk`: rows 0 to 6 in two shards."""
    return Path(shutil.copytree(WRITTEN / "topk", tmp_path / "old"))


def first_shard(directory):
    return ShardFile(sorted(directory.glob("*.rows"))[0])


@pytest.mark.parametrize("name", ["topk", "mass", "sampled"])
def test_every_number_is_the_one_that_was_written(name):
    """The digest of a row was taken of its numbers before they were coded."""
    encoding = TeacherCache.open(WRITTEN / name).encoding
    for path in sorted((WRITTEN / name).glob("*.rows")):
        shard = ShardFile(path)
        assert shard.description.version == 1
        book = encoding.read_codebook(shard.description.codebook, 1)
        records = [
            shard.record(int(entry["offset"]), int(entry["size"]), entry["digest"].tobytes())
            for entry in shard.index
        ]
        found, lengths = book.decode([record.body for record in records])
        stops = np.cumsum(lengths).tolist()
        for record, start, stop in zip(records, [0, *stops], stops):
            here = slice(start, stop)
            counts = found.counts[here]
            present = np.arange(found.ids.shape[1]) < counts[:, None]
            levels = found.levels[here]
            assert not found.ids[here][~present].any()
            assert not levels[~present].any()
            symbols = SparseSymbols(
                *(found.token_ids[here], counts, found.ids[here][present]),
                *(levels[present], found.tails[here]),
            )
            assert symbols.digest() == record.digest


def test_rows_come_back(row_of):
    check_holds(WRITTEN / "topk", range(7), row_of)
    for name in ("topk", "mass", "sampled", "hidden"):
        assert verify(WRITTEN / name).whole, name
    cache = TeacherCache.open(WRITTEN / "mass")
    for number in range(9):
        row = cache.get(row_of(number).key)
        dropped = np.arange(len(row.token_ids)) == number % 3
        assert row.steps.weights.tolist() == (~dropped).tolist()


def test_hidden_states_come_back():
    cache = TeacherCache.open(WRITTEN / "hidden")
    for number in range(2):
        wrote = hidden_row(number)
        found = cache.get(wrote.key)
        kept = wrote.steps.weights > 0
        assert found.token_ids.tolist() == wrote.token_ids.tolist()
        assert found.steps.hidden[kept].tobytes() == wrote.steps.hidden[kept].tobytes()
    np.testing.assert_array_equal(cache.unembedding.matrix, unembedding().matrix)


def test_a_cache_that_was_begun_is_gone_on_with(old, row_of, header):
    before = {path.name: path.read_bytes() for path in old.glob("*.rows")}
    with CacheWriter(old, header, encoding=TopK(4), rows_per_shard=5) as writer:
        assert writer.num_rows == 7
        for number in range(12):
            if not writer.have(row_of(number).key):
                writer.write(row_of(number))
        writer.write(row_of(3))
        assert writer.duplicates == 1
    check_holds(old, range(12), row_of)
    shards = {path.name: path.read_bytes() for path in old.glob("*.rows")}
    assert before.items() < shards.items()
    assert {ShardFile(old / name).description.version for name in shards.keys() - before} == {2}
    assert verify(old).whole


def test_a_lost_manifest_is_made_again(old, row_of, header):
    entries = TeacherCache.open(old).shards
    (old / "part-00000.json").unlink()
    CacheWriter(old, header, encoding=TopK(4)).close()
    assert check_holds(old, range(7), row_of).shards == entries


def test_it_is_merged_with_new_ones(old, tmp_path, fill, row_of, header):
    other = dataclasses.replace(header, source_task="task_b")
    new = fill(tmp_path / "new", range(5, 11), header=other)
    merged = merge(tmp_path / "all", [old, new])
    assert list(merged.keys()) == keys_of(range(11))
    assert merged.duplicates == 2
    check_holds(tmp_path / "all", range(11), row_of)


def test_damage_is_noticed_and_the_other_rows_are_read(old):
    path = sorted(old.glob("*.rows"))[0]
    whole = {row.key: row for row in TeacherCache.open(old).rows()}
    data = path.read_bytes()
    for place in (10, 40, 700, len(data) - 30):
        path.write_bytes(data)
        flip_bits(path, place, 8)
        found = list(TeacherCache.open(old, on_damage="skip").rows())
        assert len(found) >= len(whole) - 1
        for row in found:
            np.testing.assert_array_equal(row.steps.logprobs, whole[row.key].steps.logprobs)
        with pytest.raises(UserError, match=r"shard-00000-000000\.rows: .*verify"):
            list(TeacherCache.open(old).rows())


def test_a_body_that_does_not_fit_is_noticed():
    shard = first_shard(WRITTEN / "topk")
    book = HuffmanCodebook.from_bytes(shard.description.codebook, 4)
    entry = shard.index[0]
    record = shard.record(int(entry["offset"]), int(entry["size"]), entry["digest"].tobytes())
    body = bytes(record.body)
    for wrong in (body[:-3], body[:5], body[:4] + bytes([255] * 4) + body[8:]):
        with pytest.raises(ValueError, match=r"bits|bytes"):
            book.decode([wrong])
    for wrong in (shard.description.codebook[:-1], shard.description.codebook[:20], b""):
        with pytest.raises(ValueError, match=r"table of|prefix code"):
            HuffmanCodebook.from_bytes(wrong, 4)


@pytest.mark.parametrize(
    "lengths",
    [
        [15] * 21,  # no class
        [1] + [15] * 20,  # half of all windows without a meaning
        [1, 1, 1] + [15] * 18,  # windows with two
    ],
)
def test_what_is_no_prefix_code_is_refused(lengths):
    data = bytes(a | b << 4 for a, b in zip([*lengths, 0][::2], [*lengths, 0][1::2]))
    with pytest.raises(ValueError, match="not the lengths of a prefix code"):
        LengthCode.from_bytes(data)


def test_numbers_by_hand():
    # Classes 0, 1 and 2 (numbers 0, 1-2, 3-6) with the prefixes 0, 10 and 11.
    code = LengthCode((1, 2, 2, *[15] * 18))
    # From the lowest bit: 0, then 1 0 0, 1 0 1, 1 1 00, 1 1 01 (5 + 1 = 110 in binary).
    written = ["0", "100", "101", "1100", "1101"]
    numbers, used = code.decode(np.array([int(bits[::-1], 2) for bits in written], np.uint64))
    assert numbers.tolist() == [0, 1, 2, 3, 5]
    assert used.tolist() == [1, 3, 3, 4, 4]
