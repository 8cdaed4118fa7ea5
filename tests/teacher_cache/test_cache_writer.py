"""Rows are kept once and for good: appended, resumed, written by several hosts, killed."""

import concurrent.futures
import dataclasses

import numpy as np
import pytest
from cached_rows import check_holds, keys_of

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import CacheWriter, Sampled, TeacherCache, TopK
from tlm_jax.teacher_cache.steps import content_key
from tlm_jax.vocabularies.token_bytes import TokenTable


def test_rows_come_back_by_key(tmp_path, fill, row_of, header):
    fill(tmp_path, range(12))
    cache = check_holds(tmp_path, range(12), row_of)
    assert cache.header == header
    assert cache.encoding == TopK(4)
    assert [shard.entry.rows for shard in cache.shards] == [5, 5, 2]
    assert len(cache) == 12
    assert cache.num_tokens == sum(len(row_of(number).token_ids) for number in range(12))
    assert cache.get(content_key("something else")) is None
    assert cache.keys_of("example-3") == tuple(keys_of([6, 7]))
    assert cache.keys_of("example-99") == ()
    assert cache.duplicates == 0
    assert cache.damaged == {}


def test_many_rows_come_in_the_order_asked_for(tmp_path, fill, row_of):
    cache = TeacherCache.open(fill(tmp_path, range(12)))
    asked = [11, 3, 3, 99, 0]
    found = cache.get_many([row_of(number).key for number in asked])
    assert found[3] is None
    assert [row.key for row in found if row] == [row_of(n).key for n in (11, 3, 3, 0)]
    assert [row.key for row in cache.rows()] == [row_of(number).key for number in range(12)]


def test_rows_are_appended_to(tmp_path, fill, row_of, header):
    fill(tmp_path, range(7))
    with CacheWriter(tmp_path, header, encoding=TopK(4), rows_per_shard=5) as writer:
        assert writer.num_rows == 7
        for number in range(12):
            assert writer.have(row_of(number).key) == (number < 7)
            if not writer.have(row_of(number).key):
                writer.write(row_of(number))
            assert writer.have(row_of(number).key)
    check_holds(tmp_path, range(12), row_of)


def test_a_slow_teacher_does_not_wait_for_a_full_shard(tmp_path, header, row_of):
    with CacheWriter(tmp_path, header, encoding=TopK(4), seal_seconds=0.0) as writer:
        writer.write(row_of(0))
        assert len(TeacherCache.open(tmp_path)) == 1
        writer.write(row_of(1))
    assert [s.entry.rows for s in TeacherCache.open(tmp_path).shards] == [1, 1]


def test_hosts_write_into_one_directory(tmp_path, fill, row_of, header):
    options = {"encoding": TopK(4), "rows_per_shard": 2}
    writers = [CacheWriter(tmp_path, header, host=h, num_hosts=3, **options) for h in range(3)]
    for number in range(11):
        writers[number % 3].write(row_of(number))
    for writer in reversed(writers):
        writer.close()
    check_holds(tmp_path, range(11), row_of)
    # Another number of hosts goes on, and knows all rows.
    with CacheWriter(tmp_path, header, **options) as alone:
        assert all(alone.have(row_of(number).key) for number in range(11))
        alone.write(row_of(11))
    check_holds(tmp_path, range(12), row_of)


def test_the_same_host_twice_at_once_is_refused(tmp_path, header):
    with (
        CacheWriter(tmp_path, header, encoding=TopK(4), num_hosts=2),
        CacheWriter(tmp_path, header, encoding=TopK(4), host=1, num_hosts=2),
        pytest.raises(UserError, match=r"another process is writing .* as host 1"),
    ):
        CacheWriter(tmp_path, header, encoding=TopK(4), host=1, num_hosts=2)
    CacheWriter(tmp_path, header, encoding=TopK(4), host=1, num_hosts=2).close()


def test_an_exception_keeps_what_was_written(tmp_path, header, row_of):
    def fail():
        with CacheWriter(tmp_path, header, encoding=TopK(4)) as writer:
            writer.write(row_of(0))
            raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        fail()
    check_holds(tmp_path, [0], row_of)


def test_the_same_row_twice_counts_once(tmp_path, fill, row_of, header):
    fill(tmp_path, [0, 1, 1, 0])
    with CacheWriter(tmp_path, header, encoding=TopK(4)) as writer:
        assert writer.duplicates == 2
        writer.write(row_of(0))
        writer.write(row_of(2))
        assert writer.duplicates == 3
    check_holds(tmp_path, range(3), row_of)


def test_a_key_with_other_content_is_refused(tmp_path, fill, row_of, header):
    fill(tmp_path, [0])
    other = dataclasses.replace(row_of(1), key=row_of(0).key)
    with CacheWriter(tmp_path, header, encoding=TopK(4)) as writer:
        with pytest.raises(UserError, match="has this key with other content"):
            writer.write(other)
        writer.write(row_of(2))
    check_holds(tmp_path, [0, 2], row_of)


def test_hosts_that_disagree_about_a_row_are_noticed(tmp_path, fill, row_of, header):
    options = {"encoding": TopK(4), "num_hosts": 2}
    first, second = (CacheWriter(tmp_path, header, host=host, **options) for host in (0, 1))
    for writer in (first, second):
        writer.write(row_of(0))
    first.close()
    second.close()
    cache = check_holds(tmp_path, [0], row_of)
    assert cache.duplicates == 1
    third, fourth = (
        CacheWriter(tmp_path, header, host=host, encoding=TopK(4), num_hosts=4) for host in (2, 3)
    )
    third.write(row_of(5))
    fourth.write(dataclasses.replace(row_of(6), key=row_of(5).key))
    third.close()
    fourth.close()
    with pytest.raises(UserError, match=f"{row_of(5).key} stands for different rows in .*shard"):
        TeacherCache.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher_fingerprint": "other"}, "teacher_fingerprint is 'parameters-1', expected 'oth"),
        ({"tokenizer_fingerprint": "other"}, "header.tokenizer_fingerprint"),
        ({"temperature": 0.5}, "header.temperature"),
        ({"key_fields": ("inputs",)}, "header.key_fields"),
        ({"settings": {"prompt": "Q: {}"}}, "header.settings.prompt"),
    ],
)
def test_rows_of_another_teacher_are_refused(tmp_path, fill, header, change, message):
    fill(tmp_path, [0])
    with pytest.raises(UserError, match=message):
        CacheWriter(tmp_path, dataclasses.replace(header, **change), encoding=TopK(4))


def test_another_encoding_is_refused(tmp_path, fill, header):
    fill(tmp_path, [0])
    for encoding in (TopK(5), TopK(4, mass=0.9), Sampled(4)):
        with pytest.raises(UserError, match=r"encoding\."):
            CacheWriter(tmp_path, header, encoding=encoding)


def test_a_row_that_cannot_be_cached_is_named(tmp_path, header, row_of):
    row = row_of(3)
    row.steps.logprobs[2, 1] = -np.inf
    with (
        CacheWriter(tmp_path, header, encoding=TopK(4)) as writer,
        pytest.raises(UserError, match=rf"row {row.key} .example 'example-1'.: step 2: candidate"),
    ):
        writer.write(row)
    assert len(TeacherCache.open(tmp_path)) == 0


@pytest.mark.parametrize("key", ["", "xyz", "0" * 31, "g" * 32])
def test_keys_are_checked(tmp_path, header, key):
    with (
        CacheWriter(tmp_path, header, encoding=TopK(4)) as writer,
        pytest.raises(UserError, match="no key of a row: expected 32 hex digits"),
    ):
        writer.have(key)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path, header):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/cache: cannot be written .Not a directory"):
        CacheWriter(tmp_path / "file" / "cache", header, encoding=TopK(4))


def test_threads_read_together(tmp_path, fill, row_of):
    cache = TeacherCache.open(fill(tmp_path, range(30)))
    keys = [row_of(number).key for number in range(30)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: cache.get_many(keys[start:]), range(16)))
    for start, rows in enumerate(found):
        assert [row.key for row in rows] == keys[start:]


def test_the_token_table_lies_beside_the_rows(tmp_path, fill, header):
    pieces = (b"", *(bytes([n]) for n in range(250, 256)), "é ".encode())
    table = TokenTable(pieces, frozenset({0}), 0, "tokens-1")
    fill(tmp_path, [0], table=table)
    assert TeacherCache.open(tmp_path).table == table
    fill(tmp_path, [1], table=table)
    with pytest.raises(UserError, match="fingerprint 'tokens-2', the header says 'tokens-1'"):
        fill(tmp_path, [2], table=dataclasses.replace(table, fingerprint="tokens-2"))


def test_a_table_of_seen_texts_may_grow_but_not_change(tmp_path, fill, header):
    unknown = dataclasses.replace(header, tokenizer_fingerprint="")
    small = TokenTable((b"a", b"b"), frozenset(), None, "seen-2")
    large = TokenTable((b"a", b"b", b"c"), frozenset(), None, "seen-3")
    fill(tmp_path, [0], header=unknown, table=small)
    fill(tmp_path, [1], header=unknown, table=large)
    assert TeacherCache.open(tmp_path).table == large
    with pytest.raises(UserError, match="tokens of another vocabulary"):
        fill(tmp_path, [2], header=unknown, table=small)


def test_without_a_token_table_that_is_said(tmp_path, fill):
    cache = TeacherCache.open(fill(tmp_path, [0]))
    assert not cache.has_table
    with pytest.raises(UserError, match="has no token table"):
        _ = cache.table
