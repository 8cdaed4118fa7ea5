# pyright: reportGeneralTypeIssues=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportPossiblyUnboundVariable=false
# pyright: reportArgumentType=false
"""The official Codex dumps: tokens that clash with their own delimiters, traps, hostile pickles."""

import collections
import gzip
import json
import math
import os
import pickle

import numpy as np
import pytest

from tlm_jax.data.teacher_imports import codex, restricted_pickle
from tlm_jax.data.teacher_imports.captured import Unusable, within_text
from tlm_jax.data.teacher_imports.distributions import SeenTokens, pieces_in
from tlm_jax.errors import UserError

STEP, LINE = " step", "\n"
ADDING = [STEP, LINE, "2", "<<", "2", ">>", " ", "|||", "'", "\n", "The", " answer", " is", " 2"]


def write_step(token, others=()):
    """A step as the official script writes it: the token, then the candidates with it again."""
    entries = [(token, 0.5), *others, (token, 0.5)]
    return "".join(f"<<{text!r}>> {p:.4f} " for text, p in entries) + "||| "


def write_sample(index, tokens, ending=(LINE, LINE)):
    text = "".join(tokens).removeprefix(STEP)
    decode = "".join(write_step(token, [("x>> ", 0.25)]) for token in [*tokens, *ending])
    return f"Model output {index}: {text}\nPer-step decode: {decode}\n"


def write_question(index, question, *samples, answer="2 + 0 = <<2+0=2>>2\n#### 2"):
    return f"Question {index}: {question}\nAnswer: {answer}\n{''.join(samples)}\n\n\n\n"


def test_reads_tokens_that_look_like_delimiters(tmp_path):
    path = tmp_path / "dump.txt"
    path.write_text(write_question(0, "Two?\nOr not?", write_sample(0, ADDING)))
    (found,) = codex.read_dump(path)
    assert found.question == "Two?\nOr not?"
    assert found.answer == "2"
    assert found.text == "2<<2>> |||'\nThe answer is 2"
    assert found.steps is not None
    assert [step.piece.decode() for step in found.steps] == [*ADDING, LINE, LINE]
    kept = codex.content_steps(found.steps)  # pyright: ignore[reportArgumentType]
    assert within_text(kept, found.text) == kept
    # The written token stands twice in the dump and once among the candidates.
    assert [piece for piece, _ in kept[0].alternatives] == [b"2", b"x>> "]
    assert kept[0].alternatives[0][1] == pytest.approx(math.log(0.5))


def test_samples_belong_to_the_question_above_them(tmp_path):
    """A question without samples, an interrupted sample, and a question that comes again."""
    torn = write_sample(1, ADDING)
    text = (
        write_question(0, "First?", write_sample(0, ADDING))
        + write_question(1, "Without samples?")
        + write_question(2, "Third?", write_sample(0, ADDING), torn[: torn.index("Per-step")])
        + write_question(2, "Third?", write_sample(0, [*ADDING[:-1], " 3"]))
        + write_question(3, "Last?", torn[: len(torn) // 2])
    )
    path = tmp_path / "dump.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    found = list(codex.read_dump(path))
    assert [(c.question, c.id, c.steps is None) for c in found] == [
        ("First?", "codex-0-0", False),
        ("Third?", "codex-2-0", False),
        ("Third?", "codex-2-1", True),
        ("Third?", "codex-2-2", False),
        ("Last?", "codex-3-0", True),
    ]
    assert found[3].text.endswith("The answer is 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", r"line 1: expected 'Question 0: ', got 'hello'"),
        (
            write_question(0, "Q?", write_sample(0, ADDING)) + "junk\n",
            r"expected 'Question N: ' or 'Model output N: ', got 'junk'",
        ),
        ("Question 0: Q?\n", "no line 'Answer: ' follows"),
    ],
)
def test_other_files_are_told(tmp_path, text, message):
    path = tmp_path / "dump.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        list(codex.read_dump(path))


def test_the_structural_check():
    pieces = [STEP, LINE, "a", LINE, LINE]
    made = [codex.Step(text.encode(), ()) for text in pieces]
    assert [step.piece for step in codex.content_steps(made)] == [b"a"]
    two = [*made[:3], codex.Step(b"\n\n", ()), made[4]]
    assert [step.piece for step in codex.content_steps(two)] == [b"a"]
    for wrong in (made[1:], made[:-1], [*made[:3], *two[3:4], *two[3:4]], []):
        with pytest.raises(Unusable):
            codex.content_steps(wrong)


def test_real_probabilities(shared_dir):
    """The one sample that the authors' notebook shows."""
    with gzip.open(shared_dir / "data" / "flant5_alignment_fixture.jsonl.gz") as file:
        row = json.loads(file.readline())
    steps = [codex._pickled_step(step, "here") for step in row["gpt_step_probs"]]
    if len(steps) > len(row["gpt_tokens"]):
        steps = list(codex.content_steps(steps))
    assert [step.piece.decode() for step in steps] == row["gpt_tokens"]
    assert within_text(steps, row["source_text"]) == steps
    seen = SeenTokens.of(pieces_in(steps))
    found = seen.distributions(steps, 5, rounding=codex.ROUNDING).steps
    sums = np.exp(found.logprobs).sum(-1) + np.exp(found.tail_logprobs)
    np.testing.assert_allclose(sums, 1, atol=2e-6)
    assert (found.logprobs[:, 1:] <= found.logprobs[:, :-1]).all()


def pickles(directory, **changes):
    step = [("2", 0.5), ("2", 0.5), ("3", 0.25)]
    edge = [[(STEP, 1.0)], [(LINE, 1.0)]], [[(LINE, 1.0)], [(LINE, 1.0)]]
    held = {
        "codex_questions": ["Question 0: A?\n", "Question 0: A?\n", "Question 1: B?\n"],
        "codex_answers": ["Answer: <<1>>1\n#### 1,000\n", "Answer: x\n#### 2\n"],
        "codex_predictions": [["Model output 0: \n2\n", "Model output 1: \n2\n"], []],
        "codex_per_step_probs": [[[*edge[0], step, *edge[1]]] * 2, []],
        "codex_updated_labels": [[1, 0], []],
        **changes,
    }
    for name, value in held.items():
        (directory / f"{name}.pkl").write_bytes(pickle.dumps(value))
    return directory


def test_pickles(tmp_path):
    found = list(codex.read_pickles(pickles(tmp_path)))
    assert [(c.id, c.question, c.answer, c.text, c.correct) for c in found] == [
        ("codex-0-0", "A?", "1,000", "2", True),
        ("codex-0-1", "A?", "1,000", "2", False),
    ]
    (kept,) = codex.content_steps(found[0].steps)  # pyright: ignore[reportArgumentType]
    assert kept.piece == b"2"
    assert [piece for piece, _ in kept.alternatives] == [b"2", b"3"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codex_questions": ["Question 0: A?"] * 2 + ["C"] * 3 + ["D"]}, "which belong together"),
        ({"codex_predictions": [[]]}, "expected files of one run"),
        ({"codex_updated_labels": [[1], []]}, "2 texts, 2 lists of steps, 1 labels"),
        ({"codex_answers": {"a": 1}}, "holds a dict, expected a list"),
        ({"codex_per_step_probs": [[[["x"]]] * 2, []]}, r"expected \(token, probability\)"),
    ],
)
def test_pickles_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        list(codex.read_pickles(pickles(tmp_path, **changes)))


class Hostile:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


def test_hostile_pickles_are_refused_unrun(tmp_path):
    witness = tmp_path / "witness"
    hostile = {
        "posix.system": Hostile(os.system, f"touch {witness}"),
        "builtins.eval": Hostile(eval, f"open({str(witness)!r}, 'w')"),
        "builtins.getattr": Hostile(getattr, "", "upper"),
    }
    for name, value in hostile.items():
        path = tmp_path / "bad.pkl"
        path.write_bytes(pickle.dumps(["fine", {"deep": value}]))
        with pytest.raises(UserError, match=f"is refused: to load it would call {name}"):
            restricted_pickle.load(path)
    # Numbers of extensions and persistent ids lead to the same door.
    path.write_bytes(b"\x80\x02X\x01\x00\x00\x00aQ.")
    with pytest.raises(UserError, match="persistent object"):
        restricted_pickle.load(path)  # pyright: ignore[reportPossiblyUnboundVariable]
    assert not witness.exists()


def test_plain_pickles_are_read_and_damaged_ones_told(tmp_path):
    value = [{"a": (1, 2.5, None, True)}, collections.OrderedDict(b="c")]
    path = tmp_path / "x.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(value, protocol))
        assert restricted_pickle.load(path) == value
    whole = path.read_bytes()
    for damaged in (whole[:-5], b"", b"not a pickle"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="no whole pickle of plain data"):
            restricted_pickle.load(path)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        restricted_pickle.load(tmp_path / "missing.pkl")


def _shared_tuples(depth):
    """A key of tuples, each twice the one before: 2^depth are hashed, of a few bytes a level."""
    levels = b"".join(b"h%ch%c\x86q%c0" % (n, n, n + 1) for n in range(depth))
    return b"\x80\x02)q\x000" + levels + b"}h%cNs." % depth


@pytest.mark.parametrize(
    "content",
    [
        _shared_tuples(60),
        # Puts a text at place 2^27 of the memo: an array of as many pointers.
        b"\x80\x02X\x01\x00\x00\x00ar" + (1 << 27).to_bytes(4, "little") + b".",
    ],
    ids=["shared_tuples", "long_binput"],
)
def test_pickles_that_take_for_ever_or_all_memory_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.setattr(restricted_pickle, "_LEAST_SECONDS", 1.0)
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.pkl (takes more time or memory|asks for more memory)"):
        restricted_pickle.load(path)
