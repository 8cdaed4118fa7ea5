"""A reader written from docs/teacher_cache.md alone, bit by bit, reads the same rows."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from tlm_jax.teacher_cache import Sampled, TeacherCache, TopK, steps_from_draws
from tlm_jax.teacher_cache.steps import TeacherRow, content_key
from tlm_jax.teacher_cache.writer import CacheWriter

ABSENT = 15
FORMAT_1 = Path(__file__).parent / "format_1"


class Bits:
    """A stream: bit i is bit i % 8 of byte i // 8, counted from the lowest."""

    def __init__(self, data):
        self.text = "".join(format(byte, "08b")[::-1] for byte in data)
        self.place = 0

    def take(self, count):
        taken = self.text[self.place : self.place + count]
        self.place += count
        return int(taken[::-1], 2) if count else 0

    def number(self, lengths):
        """Reads a number: the prefix of its class k, then the k low bits of it plus 1."""
        used = [(bits, k) for k, bits in enumerate(lengths) if bits != ABSENT]
        codes, code, before = {}, 0, 0
        for bits, k in sorted(used):
            code <<= bits - before
            codes[format(code, f"0{bits}b") if bits else ""] = k
            code, before = code + 1, bits
        prefix = ""
        while prefix not in codes:
            prefix += self.text[self.place]
            self.place += 1
        k = codes[prefix]
        return (1 << k) + self.take(k) - 1


def read_table(data):
    count, size = struct.unpack_from("<II", data)
    planes = zlib.decompress(data[8 : 8 + size])
    deltas = [
        struct.unpack("<i", bytes(planes[p * count + n] for p in range(4)))[0] for n in range(count)
    ]
    return np.cumsum(deltas).tolist()


class Planes:
    """Numbers of fixed width: the lowest byte of all, then the next byte of all."""

    def __init__(self, data):
        self.data = data

    def take(self, count, width):
        planes = [self.data[place * count : (place + 1) * count] for place in range(width)]
        self.data = self.data[width * count :]
        return [sum(plane[n] << 8 * p for p, plane in enumerate(planes)) for n in range(count)]


def read_steps(body, codebook, candidates):
    missing, place, tail, rank, beyond = codebook[:5]
    ranked = read_table(codebook[5:])
    num_steps, num_absent, num_candidates = struct.unpack_from("<III", body)
    low = body[12 : 12 + num_candidates]
    planes = Planes(zlib.decompress(body[12 + num_candidates :], -15))
    counts = [candidates - number for number in planes.take(num_steps, missing)]
    places = planes.take(num_steps, place)
    tails = planes.take(num_steps, tail)
    absent = iter(planes.take(num_absent, rank))
    higher = planes.take(num_candidates, rank - 1)
    gaps = planes.take(num_candidates, 1)
    large = iter(planes.take(gaps.count(255), beyond))
    assert not planes.data
    pairs = iter(zip(low, higher, gaps))
    for count, where, tail in zip(counts, places, tails):
        ids, levels, level = [], [], 0
        for _ in range(count):
            low_byte, high, gap = next(pairs)
            ids.append(ranked[low_byte + 256 * high])
            level += gap + (next(large) if gap == 255 else 0)
            levels.append(level)
        token = ranked[next(absent)] if where == count else ids[where]
        yield token, ids, levels, tail
    assert not [*absent, *pairs, *large]


def read_codebook_1(data, candidates):
    contexts = (candidates - 1).bit_length() + 1
    tables = [data[at : at + 11] for at in range(0, 11 * (4 + 2 * contexts), 11)]
    lengths = [[part for byte in t for part in (byte & 15, byte >> 4)][:21] for t in tables]
    ranked = read_table(data[11 * len(tables) :])
    names = ("missing", "place", "absent", "tail")
    return dict(zip(names, lengths)) | {
        "ids": lengths[4 : 4 + contexts],
        "gaps": lengths[4 + contexts :],
        "id_of": (lambda rank: ranked[rank]) if ranked else (lambda rank: rank),
    }


def read_steps_1(body, codebook, candidates):
    book = read_codebook_1(codebook, candidates)
    num_steps, shortest, width = struct.unpack_from("<IIB", body)
    bits = Bits(body[9:])
    lengths = [shortest + bits.take(width) for _ in range(num_steps)]
    for length in lengths:
        start = bits.place
        count = candidates - bits.number(book["missing"])
        place = bits.number(book["place"])
        token = book["id_of"](bits.number(book["absent"])) if place == count else None
        ids, levels = [], []
        for column in range(count):
            context = column.bit_length()
            ids.append(book["id_of"](bits.number(book["ids"][context])))
            gap = bits.number(book["gaps"][context])
            levels.append(gap + (levels[-1] if levels else 0))
        tail = bits.number(book["tail"]) if count else 0
        assert bits.place == start + length
        yield (ids[place] if token is None else token), ids, levels, tail


def read_shard(path):
    data = path.read_bytes()
    magic, version, size, crc, own = struct.unpack_from("<8sIIII", data)
    assert magic == b"TLMTCH\r\n"
    assert own == zlib.crc32(data[:20])
    description = data[24 : 24 + size]
    assert crc == zlib.crc32(description)
    (text_size,) = struct.unpack_from("<I", description)
    identity = json.loads(description[4 : 4 + text_size])
    assert identity.get("format_version", 1) == version
    index, rows, copy, index_crc, copy_crc, crc, magic = struct.unpack("<QQQIII8s", data[-44:])
    assert magic == b"\r\nTLMEND"
    assert crc == zlib.crc32(data[-44:-12])
    assert data[copy:-44] == description
    assert copy_crc == zlib.crc32(description)
    assert index_crc == zlib.crc32(data[index:copy])
    assert copy - index == 48 * rows
    entries = [struct.unpack_from("<16s8s8sQII", data, index + 48 * n) for n in range(rows)]
    assert entries == sorted(entries)
    codebook = description[4 + text_size :]
    records = {}
    for key, digest, _, offset, stored, tokens in entries:
        marker, inside, crc = struct.unpack_from("<4sII", data, offset)
        assert (marker, inside + 12) == (b"\xf4ROW", stored)
        content = data[offset + 12 : offset + stored]
        assert crc == zlib.crc32(content)
        own_key, own_digest, own_tokens, example = struct.unpack_from("<16s8sIH", content)
        assert (own_key, own_digest, own_tokens) == (key, digest, tokens)
        records[key.hex()] = (content[30 : 30 + example].decode(), content[30 + example :])
    read = {1: read_steps_1, 2: read_steps}[version]
    return identity, {
        key: (example, lambda candidates, body=body: read(body, codebook, candidates))
        for key, (example, body) in records.items()
    }


def check_reads_the_same(directory, restore, version=2):
    cache = TeacherCache.open(directory)
    assert json.loads((directory / "part-00000.json").read_text())["format_version"] == version
    records = {}
    for path in directory.glob("*.rows"):
        identity, found = read_shard(path)
        assert identity["encoding"] == cache.encoding.settings()
        records |= found
    assert sorted(records) == list(cache.keys())
    for key, (example, steps) in records.items():
        row = cache.get(key)
        assert row.example_id == example
        found = list(steps(cache.encoding.max_candidates))
        assert len(found) == len(row.token_ids)
        for number, (token, ids, levels, tail) in enumerate(found):
            assert token == row.token_ids[number]
            assert (len(ids) > 0) == row.steps.weights[number]
            assert ids == row.steps.ids[number, : len(ids)].tolist()
            probabilities = restore(np.array(levels, np.float64), tail)
            read = np.exp(row.steps.logprobs[number].astype(np.float64))
            np.testing.assert_allclose(read[: len(ids)], probabilities[:-1], rtol=1e-5)
            assert not read[len(ids) :].any()
            outside = np.exp(row.steps.tail_logprobs[number])
            np.testing.assert_allclose(outside, probabilities[-1], rtol=1e-5)


def of_levels(levels, tail):
    level = 5 / 512
    with_tail = np.exp(-level * np.append(levels, tail - 1)) * np.append(levels >= 0, tail > 0)
    return with_tail / max(with_tail.sum(), 1e-300)


def of_draws(levels, tail):
    return np.append((6 - levels) / 6, 0)


def test_topk(tmp_path, fill):
    fill(tmp_path, range(9), rows_per_shard=100)
    check_reads_the_same(tmp_path, of_levels)


def test_topk_of_a_mass_with_dropped_steps(tmp_path, header, row_of):
    with CacheWriter(tmp_path, header, encoding=TopK(20, mass=0.8)) as writer:
        for number in range(9):
            row = row_of(number, num_candidates=20)
            row.steps.weights[number % 3] = 0
            writer.write(row)
    check_reads_the_same(tmp_path, of_levels)


def test_sampled(tmp_path, header):
    random = np.random.default_rng(0)
    with CacheWriter(tmp_path, header, encoding=Sampled(6)) as writer:
        for number in range(9):
            draws = np.minimum(random.geometric(0.3, (4, 6)), 99).astype(np.int32)
            steps = steps_from_draws(draws, np.ones(4, np.float32))
            writer.write(TeacherRow(content_key(str(number)), "e", draws[:, 0], steps))
    check_reads_the_same(tmp_path, of_draws)


def test_topk_with_improbable_candidates(tmp_path, header, row_of):
    with CacheWriter(tmp_path, header, encoding=TopK(4)) as writer:
        for number in range(3):
            row = row_of(number)
            row.steps.logprobs[:, 3] = [-900 * step - 20 for step in range(len(row.token_ids))]
            row.steps.tail_logprobs[:] = np.log1p(-np.exp(row.steps.logprobs).sum(1))
            writer.write(row)
    check_reads_the_same(tmp_path, of_levels)


@pytest.mark.parametrize(
    ("name", "restore"), [("topk", of_levels), ("mass", of_levels), ("sampled", of_draws)]
)
def test_version_1(name, restore):
    check_reads_the_same(FORMAT_1 / name, restore, 1)
