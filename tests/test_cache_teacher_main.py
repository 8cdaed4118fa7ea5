"""`python -m tlm_jax.cache_teacher` verifies, merges and shows caches."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cached_rows import flip_bits

from tlm_jax import cache_teacher
from tlm_jax.data.records import read_records, write_records
from tlm_jax.data.teacher_imports.examples import Solution, solution_record
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import (
    CacheWriter,
    Header,
    Hidden,
    Sampled,
    StoredUnembedding,
    TopK,
    steps_from_draws,
)
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions, TeacherRow, content_key
from tlm_jax.vocabularies.token_bytes import TokenTable

PIECES = (b"", b"Two", b" and", b" <b>two", b" is", b" 4", b"\n", b" 5", "é".encode(), b"!")
TABLE = TokenTable(PIECES, frozenset({0}), 0, "tokens-1")
HEADER = Header("a <teacher>", "parameters-1", "tokens-1", len(PIECES), source_task="sums")
TOKENS = np.array([1, 2, 3, 4, 5, 6], np.int32)


def row(number=0):
    """Step 3 was dropped; the teacher expected ` 5` at step 4, and not the token of step 5."""
    probabilities = np.array(
        [[0.9, 0.05], [0.6, 0.3], [0.5, 0.25], [1, 1], [0.7, 0.2], [0.8, 0.1]], np.float32
    )
    ids = np.array([[1, 2], [2, 4], [3, 1], [0, 0], [7, 5], [9, 8]], np.int32)
    weights = np.array([1, 1, 1, 0, 1, 1], np.float32)
    tail = np.log1p(-np.minimum(probabilities.sum(1), 0.999)).astype(np.float32)
    steps = StepDistributions(ids, np.log(probabilities), tail, weights)
    return TeacherRow(content_key(str(number)), f"sum-{number}", TOKENS, steps)


@pytest.fixture
def cache_dir(tmp_path):
    with CacheWriter(tmp_path / "cache", HEADER, encoding=TopK(2), table=TABLE) as writer:
        for number in range(3):
            writer.write(row(number))
    return str(tmp_path / "cache")


def run(capsys, *arguments):
    status = cache_teacher.main(arguments)
    return status, capsys.readouterr().out


def test_help_names_every_command():
    result = subprocess.run(
        [sys.executable, "-m", "tlm_jax.cache_teacher", "--help"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    for name in cache_teacher.COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].*\.$", result.stdout, re.MULTILINE), name


def test_an_unknown_command_is_one_line(capsys):
    with pytest.raises(UserError, match=r"no command 'verfy'; .* Did you mean 'verify'\?"):
        cache_teacher.main(["verfy"])
    assert cache_teacher.main([]) == 1


def test_verify_tells_size_and_damage(cache_dir, capsys):
    status, out = run(capsys, "verify", cache_dir)
    assert status == 0
    assert "3 rows, 18 tokens in 1 shard, " in out
    assert "every checksum is right and every row can be decoded" in out
    (path,) = Path(cache_dir).glob("*.rows")
    flip_bits(path, path.read_bytes().index(b"\xf4ROW") + 50, 8)
    status, out = run(capsys, "verify", cache_dir)
    assert status == 1
    assert "shard-00000-000000.rows: 1 of 3 rows lost" in out
    assert "damaged: 2 of 3 rows can be read" in out
    assert "delete shard-00000-000000.rows, part-00000.json, and run the command that" in out


def test_merge_tells_what_it_wrote(cache_dir, tmp_path, capsys):
    with CacheWriter(tmp_path / "more", HEADER, encoding=TopK(2)) as writer:
        for number in (2, 3):
            writer.write(row(number))
    status, out = run(capsys, "merge", str(tmp_path / "all"), cache_dir, str(tmp_path / "more"))
    assert status == 0
    assert "4 rows, 24 tokens in 2 shards; 1 rows stood in several and count once" in out
    assert run(capsys, "verify", str(tmp_path / "all"))[0] == 0


def test_merge_keeps_the_records_of_the_solutions(cache_dir, tmp_path, capsys):
    with CacheWriter(tmp_path / "more", HEADER, encoding=TopK(2)) as writer:
        writer.write(row(3))

    def write(directory, *solutions):
        records = [solution_record(Solution(*one), "d") for one in solutions]
        write_records(Path(directory) / "examples.jsonl", records)

    first, second, other = ("a", "q1", "s1"), ("b", "q2", "s2"), ("a", "q1", "another")
    write(cache_dir, first)
    write(tmp_path / "more", first, second)
    status, out = run(capsys, "merge", str(tmp_path / "all"), cache_dir, str(tmp_path / "more"))
    assert status == 0
    assert "2 records, 2 new" in out
    kept = read_records(tmp_path / "all" / "examples.jsonl")
    assert [(r.id, r.generated["targets"]) for r in kept] == [("a", "s1"), ("b", "s2")]
    write(tmp_path / "more", other)
    status, out = run(capsys, "merge", str(tmp_path / "rows"), cache_dir, str(tmp_path / "more"))
    assert status == 0
    assert "not merged, train on each of them" in out
    assert "two solutions have the id 'a'" in out
    assert not (tmp_path / "rows" / "examples.jsonl").exists()


def test_inspect_draws_a_text_in_the_terminal(cache_dir, capsys):
    status, out = run(capsys, "inspect", cache_dir, "--rows=1", "--width=100")
    assert status == 0
    assert "teacher a <teacher> · vocabulary of 10 · topk (num_candidates=2) · temperature 1" in out
    assert "Rows: 3" in out
    assert "Two and <b>two is 4↵" in out
    assert "6 tokens" in out
    assert "1 steps dropped" in out
    # The least probable first: a token below the candidates, then ` 4` with 20 %.
    lines = out.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("step")) + 1
    assert re.match(
        r" +5 +'\\n' +< (10\.0|9\.9)\d% +'!' (80|79)\.\d%  'é' (10\.|9\.9)", lines[first]
    )
    assert re.match(r" +4 +' 4' +20\.\d+% +' 5' (69|70)\.\d%", lines[first + 1])


def test_inspect_finds_rows_by_key_and_example(cache_dir, capsys):
    assert row(1).key in run(capsys, "inspect", cache_dir, f"--key={row(1).key}")[1]
    assert "sum-2" in run(capsys, "inspect", cache_dir, "--example=sum-2")[1]
    with pytest.raises(UserError, match="no readable row of example 'sum-9'"):
        cache_teacher.main(["inspect", cache_dir, "--example=sum-9"])


def test_inspect_writes_a_page(cache_dir, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert run(capsys, "inspect", cache_dir, "--rows=2", f"--html={page}")[0] == 0
    text = page.read_text()
    assert "<b>two" not in text
    assert "&lt;b&gt;two" in text
    assert "a &lt;teacher&gt;" in text
    assert text.count('class="card"') == 2
    assert text.count('class="token dropped"') == 2
    surprises = [float(share) for share in re.findall(r"--surprise:([\d.]+)", text)]
    np.testing.assert_allclose(surprises[:5], [0.1, 0.4, 0.5, 0.8, 1], atol=0.01)
    with pytest.raises(UserError, match="cannot write"):
        cache_teacher.main(["inspect", cache_dir, f"--html={tmp_path / 'no' / 'page.html'}"])


def test_inspect_without_a_token_table_shows_ids(tmp_path, capsys):
    with CacheWriter(tmp_path, HEADER, encoding=TopK(2)) as writer:
        writer.write(row())
    cache_teacher.main(["inspect", str(tmp_path)])
    captured = capsys.readouterr()
    assert "tokens are shown as ids" in captured.err
    assert "<1><2><3><4><5><6>" in captured.out


def test_inspect_shows_draws_and_hidden_states(tmp_path, capsys):
    draws = np.array([[1, 1, 2], [3, 3, 3]], np.int32)
    steps = steps_from_draws(draws, np.ones(2, np.float32))
    with CacheWriter(tmp_path / "s", HEADER, encoding=Sampled(3), table=TABLE) as writer:
        writer.write(TeacherRow(content_key("s"), "s", np.array([2, 4], np.int32), steps))
    out = run(capsys, "inspect", str(tmp_path / "s"))[1]
    assert re.search(r" 0 +' and' +33\.33%", out)
    assert re.search(r" 1 +' is' +0 draws", out)

    import ml_dtypes

    unembedding = StoredUnembedding(np.eye(10, dtype=np.float32) * np.log(11).astype(np.float32))
    with CacheWriter(
        tmp_path / "h", HEADER, encoding=Hidden(), table=TABLE, unembedding=unembedding
    ) as writer:
        hidden = np.eye(10, dtype=ml_dtypes.bfloat16)[[4]]
        states = HiddenSteps(hidden, np.ones(1, np.float32))
        writer.write(TeacherRow(content_key("h"), "h", np.array([4], np.int32), states))
    # 11 of 11 + 9 parts of the mass.
    assert re.search(r" 0 +' is' +55\.00%", run(capsys, "inspect", str(tmp_path / "h"))[1])
