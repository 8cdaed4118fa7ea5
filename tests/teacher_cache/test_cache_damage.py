"""Bits flipped anywhere, cuts and strangers: noticed and named, never silently wrong."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from cached_rows import flip_bits

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import TeacherCache, TopK
from tlm_jax.teacher_cache.shard import ShardFile
from tlm_jax.teacher_cache.shard_format import MARKER, Description, VersionError
from tlm_jax.teacher_cache.verify import verify
from tlm_jax.vocabularies.token_bytes import TokenTable

ROWS = 6


@pytest.fixture
def cache_dir(tmp_path, fill):
    table = TokenTable(tuple(b"t%d" % n for n in range(100)), frozenset(), None, "tokens-1")
    return fill(tmp_path / "cache", range(ROWS), rows_per_shard=ROWS, table=table)


def the_shard(directory):
    (path,) = directory.glob("*.rows")
    return path


def regions(data):
    """Returns the place of the first byte of each region of a shard, and where the last ends."""
    first = data.index(MARKER)
    index = int.from_bytes(data[-44:-36], "little")
    copy = int.from_bytes(data[-28:-20], "little")
    return {
        "prologue": (0, 24),
        "description": (24, first),
        "rows": (first, index),
        "index": (index, copy),
        "copy of the description": (copy, len(data) - 44),
        "footer": (len(data) - 44, len(data)),
    }


def read_all(directory, on_damage):
    """Returns the rows by key, None for those that cannot be read, and the damage counted."""
    cache = TeacherCache.open(directory, on_damage=on_damage)
    return {row.key: row for row in cache.rows()}, cache.damaged


def same(found, expected):
    return (
        found.example_id == expected.example_id
        and found.token_ids.tolist() == expected.token_ids.tolist()
        and all(
            np.array_equal(getattr(found.steps, name), getattr(expected.steps, name))
            for name in ("ids", "logprobs", "tail_logprobs", "weights")
        )
    )


@pytest.mark.parametrize(
    "region",
    ["prologue", "description", "rows", "index", "copy of the description", "footer"],
)
def test_a_flipped_bit_is_noticed_wherever_it_is(cache_dir, region):
    path = the_shard(cache_dir)
    original = path.read_bytes()
    whole, _ = read_all(cache_dir, "stop")
    start, stop = regions(original)[region]
    places = sorted({*np.linspace(start, stop - 1, 20).astype(int).tolist()})
    random = np.random.default_rng(0)
    for place in places:
        path.write_bytes(original)
        flip_bits(path, place, 1 << int(random.integers(8)))
        # Whatever is returned is right; what is not returned is counted, under the shard's name.
        found, damaged = read_all(cache_dir, "skip")
        assert all(same(row, whole[key]) for key, row in found.items()), place
        lost = ROWS - len(found)
        assert damaged == ({str(path): lost} if lost else {}), place
        assert lost <= 1, place
        if region == "rows":
            assert lost == 1, place
        checked = verify(cache_dir)
        assert not checked.whole, place
        assert checked.shards[0].readable == ROWS - lost
        # Stopping: one line that names the shard, unless only the unread copy was hit.
        if region == "copy of the description":
            continue
        with pytest.raises(UserError, match=r"shard-00000-000000\.rows: .*verify") as error:
            read_all(cache_dir, "stop")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_shard_gives_the_rows_before_the_cut(cache_dir, share):
    path = the_shard(cache_dir)
    data = path.read_bytes()
    whole, _ = read_all(cache_dir, "stop")
    path.write_bytes(data[: int(share * len(data))])
    found, damaged = read_all(cache_dir, "skip")
    assert all(same(row, whole[key]) for key, row in found.items())
    assert len(found) + damaged.get(str(path), 0) == ROWS
    in_rows = data[: int(share * len(data))].count(MARKER)
    assert len(found) >= max(in_rows - 1, 0)
    with pytest.raises(UserError, match=r"shard-00000-000000\.rows: .*(cut off|empty)"):
        TeacherCache.open(cache_dir)
    assert not verify(cache_dir).whole


def test_a_missing_shard_is_named(cache_dir):
    path = the_shard(cache_dir)
    path.unlink()
    with pytest.raises(UserError, match=r"shard-00000-000000\.rows: No such file"):
        TeacherCache.open(cache_dir)
    found, damaged = read_all(cache_dir, "skip")
    assert (found, damaged) == ({}, {str(path): ROWS})
    assert "No such file or directory" in verify(cache_dir).shards[0].problems


def test_a_damaged_row_is_refused_each_time_and_counted_once(cache_dir):
    path = the_shard(cache_dir)
    flip_bits(path, path.read_bytes().index(MARKER) + 60, 4)
    cache = TeacherCache.open(cache_dir, on_damage="skip")
    keys = list(cache.keys())
    for _ in range(2):
        rows = cache.get_many(keys)
        assert sum(row is None for row in rows) == 1
        assert cache.damaged == {str(path): 1}


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_damaged_manifest_is_noticed(cache_dir, place):
    path = cache_dir / "part-00000.json"
    flip_bits(path, int(place * path.stat().st_size))
    with pytest.raises(UserError, match=r"part-00000\.json: damaged"):
        TeacherCache.open(cache_dir, on_damage="skip")


def test_a_damaged_token_table_is_noticed(cache_dir):
    path = cache_dir / "tokens.json.gz"
    flip_bits(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=r"tokens\.json\.gz: damaged"):
        _ = TeacherCache.open(cache_dir).table
    assert any("tokens.json.gz" in problem for problem in verify(cache_dir).problems)


def test_another_version_is_refused_also_when_skipping(cache_dir):
    path = the_shard(cache_dir)
    data = bytearray(path.read_bytes())
    import zlib

    data[8] = 3
    data[20:24] = zlib.crc32(bytes(data[:20])).to_bytes(4, "little")
    path.write_bytes(data)
    for on_damage in ("stop", "skip"):
        with pytest.raises(
            UserError, match="format version 3, this program reads 1 and 2; use the"
        ):
            TeacherCache.open(cache_dir, on_damage=on_damage)


def test_the_copy_of_the_description_says_its_version_too():
    described = Description({"header": {}}, {}, b"codes")
    assert Description.from_bytes(described.to_bytes()) == described
    newer = dataclasses.replace(described, version=3)
    with pytest.raises(VersionError, match="format version 3, this program reads 1 and 2; use the"):
        Description.from_bytes(newer.to_bytes())


def test_a_manifest_of_another_version_is_refused(cache_dir):
    import hashlib

    path = cache_dir / "part-00000.json"
    content = json.loads(path.read_bytes())
    del content["checksum"]
    content["format_version"] = 7
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "checksum": checksum}))
    with pytest.raises(UserError, match="format version 7, this program reads 1 and 2; use the"):
        TeacherCache.open(cache_dir)


def test_a_shard_of_another_teacher_is_refused(cache_dir, tmp_path, fill, header):
    other = dataclasses.replace(header, teacher_fingerprint="parameters-2")
    stranger = fill(tmp_path / "other", range(ROWS), rows_per_shard=ROWS, header=other)
    shutil.copy(the_shard(stranger), the_shard(cache_dir))
    with pytest.raises(UserError, match=r"header\.teacher_fingerprint is 'parameters-2'"):
        TeacherCache.open(cache_dir, on_damage="skip")


def test_a_file_that_is_no_shard_is_named(cache_dir):
    the_shard(cache_dir).write_bytes(bytes(1000))
    with pytest.raises(UserError, match="footer is damaged"):
        TeacherCache.open(cache_dir)
    assert TeacherCache.open(cache_dir, on_damage="skip").damaged == {
        str(the_shard(cache_dir)): ROWS
    }


def test_another_teacher_or_tokenizer_than_configured_is_refused(cache_dir):
    cache = TeacherCache.open(cache_dir)
    cache.check_matches(teacher_fingerprint="parameters-1", tokenizer_fingerprint="tokens-1")
    cache.check_matches()
    with pytest.raises(UserError, match=r"of another teacher .*'parameters-1', expected 'new'"):
        cache.check_matches(teacher_fingerprint="new")
    with pytest.raises(UserError, match=r"of another tokenizer .*'tokens-1', expected 'new'"):
        cache.check_matches(tokenizer_fingerprint="new")


def test_rows_found_by_a_scan_are_those_of_the_index(cache_dir):
    path = the_shard(cache_dir)
    expected = ShardFile(path).index
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    scanned = ShardFile(path, recover=True)
    assert scanned.damage == ["cut off, or its footer is damaged"]
    np.testing.assert_array_equal(scanned.index, expected)


def test_no_directory_and_no_cache_are_said(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="no teacher cache there"):
            TeacherCache.open(path)
    with pytest.raises(UserError, match="on_damage must be"):
        TeacherCache.open(tmp_path, on_damage="ignore")
    with pytest.raises(UserError, match="at least one directory"):
        TeacherCache.open([])


def test_fewer_candidates_than_declared_are_counted(tmp_path, fill, row_of):
    fill(tmp_path, [0], encoding=TopK(6))
    tally = TeacherCache.open(tmp_path).shards[0].entry.tally
    steps = len(row_of(0).token_ids)
    assert tally == {"candidates": 4 * steps, "steps_with_fewer_candidates": steps}
