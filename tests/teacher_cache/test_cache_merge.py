"""Several caches read, and merged, as one; verify tells what is wrong with any."""

import dataclasses

import pytest
from cached_rows import flip_bits

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import TeacherCache, TopK
from tlm_jax.teacher_cache.merge import merge
from tlm_jax.teacher_cache.verify import verify
from tlm_jax.vocabularies.token_bytes import TokenTable

TABLE = TokenTable(tuple(b"t%d" % n for n in range(100)), frozenset(), None, "tokens-1")


@pytest.fixture
def two(tmp_path, fill, header):
    """Two caches of one teacher, with two rows in common."""
    other = dataclasses.replace(header, source_task="task_b")
    return [
        fill(tmp_path / "a", range(7), table=TABLE),
        fill(tmp_path / "b", range(5, 11), header=other),
    ]


def test_several_directories_are_read_as_one(two, row_of):
    cache = TeacherCache.open(two)
    assert len(cache) == 11
    assert cache.duplicates == 2
    assert cache.header.source_task == "task_a + task_b"
    assert cache.table == TABLE
    assert [row.key for row in cache.get_many([row_of(10).key, row_of(0).key])] == [
        row_of(10).key,
        row_of(0).key,
    ]


def test_merged_rows_are_those_of_the_sources(two, tmp_path, fill, row_of):
    merged = merge(tmp_path / "all", two)
    assert list(merged.keys()) == list(TeacherCache.open(two).keys())
    assert merged.duplicates == 2
    assert merged.table == TABLE
    assert verify(tmp_path / "all").whole
    # A merged cache is a cache: it can be added to.
    fill(tmp_path / "all", [11])
    assert len(TeacherCache.open(tmp_path / "all")) == 12
    assert len(TeacherCache.open(two)) == 11


def test_progress_counts_bytes(two, tmp_path):
    seen = []
    merge(tmp_path / "all", two, written=lambda done, total: seen.append((done, total)))
    sizes = [shard.entry.bytes for shard in TeacherCache.open(two).shards]
    assert seen[-1] == (sum(sizes), sum(sizes))
    assert len(seen) == len(sizes) == 4


def test_caches_that_do_not_belong_together_are_refused(tmp_path, fill, header):
    fill(tmp_path / "a", range(3))
    fill(tmp_path / "b", range(3), encoding=TopK(3))
    with pytest.raises(UserError, match=r"b/part-00000\.json: encoding\.num_candidates is 3, exp"):
        merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "all").exists()
    with pytest.raises(UserError, match="exists already"):
        merge(tmp_path / "a", [tmp_path / "b"])


def test_rows_that_contradict_are_refused(tmp_path, fill, header, row_of, monkeypatch):
    fill(tmp_path / "a", [0])
    from tlm_jax.teacher_cache import CacheWriter

    with CacheWriter(tmp_path / "b", header, encoding=TopK(4)) as writer:
        writer.write(dataclasses.replace(row_of(1), key=row_of(0).key))
    with pytest.raises(UserError, match=f"the key {row_of(0).key} stands for different rows"):
        merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"])


def test_damage_is_not_merged(two, tmp_path):
    path = sorted((two[1]).glob("*.rows"))[0]
    flip_bits(path, -60)  # in the copy of the description, which reading does not need
    with pytest.raises(UserError, match=r"shard-00000-000000.rows: damaged, its checksum differs"):
        merge(tmp_path / "all", two)


def test_a_whole_cache_is_verified(two):
    found = verify(two[0])
    assert found.whole
    assert [(shard.rows, shard.readable) for shard in found.shards] == [(5, 5), (2, 2)]
    assert sum(shard.tokens for shard in found.shards) == found.cache.num_tokens


def test_a_shard_that_no_manifest_names_is_told(two):
    (two[0] / "shard-00003-000000.rows").write_bytes(b"?")
    found = verify(two[0])
    assert not found.whole
    assert "shard-00003-000000.rows is in no manifest" in found.problems[0]


def test_a_table_that_is_too_large_is_told(tmp_path, fill, header):
    small = dataclasses.replace(header, vocabulary_size=99)
    from tlm_jax.teacher_cache import CacheWriter

    CacheWriter(tmp_path, small, encoding=TopK(4), table=TABLE).close()
    assert verify(tmp_path).problems == ("the token table has 100 tokens, the vocabulary 99",)
