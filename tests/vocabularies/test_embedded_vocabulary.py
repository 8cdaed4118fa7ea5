"""The SentencePiece vocabulary that comes with the library."""

import runpy
from pathlib import Path

import pytest

from tlm_jax.data.formats import FORMATS
from tlm_jax.data.formatted import EMBEDDED_VOCABULARY
from tlm_jax.data.generators.word_problems import EASY, WordProblems, word_problem
from tlm_jax.vocabularies import vocabulary_from_name

ROOT = Path(__file__).parents[2]
ASSET = ROOT / "tlm_jax/vocabularies/assets/word_problems.model"


def pieces(text):
    return [EMBEDDED_VOCABULARY.piece(int(i)) for i in EMBEDDED_VOCABULARY.encode(text)]


def test_its_special_ids_are_t5s_and_its_size_is_a_multiple_of_128():
    assert EMBEDDED_VOCABULARY.size == 1024
    assert EMBEDDED_VOCABULARY.eos_id == 1
    assert EMBEDDED_VOCABULARY.unk_id == 2
    assert EMBEDDED_VOCABULARY.zero_is_padding
    assert ASSET.stat().st_size < 100_000


def test_numbers_are_read_digit_by_digit_and_line_breaks_kept():
    assert pieces("has 123 + 4 = 127") == ["▁has", "▁1", "2", "3", "▁+", "▁4", "▁=", "▁1", "2", "7"]
    assert "\n" in pieces("points.\nThe answer is 3")


@pytest.mark.parametrize(
    "text",
    ["a\nb  c\n\n", " leading", "Zürich 日本 \t $5", "<scratch>\n1 2\n</scratch>", "x" * 50],
)
def test_any_text_survives(text):
    ids = EMBEDDED_VOCABULARY.encode(text)
    assert EMBEDDED_VOCABULARY.decode(ids) == text
    assert EMBEDDED_VOCABULARY.unk_id not in ids


@pytest.mark.parametrize("split", ["train", "validation", "ood"])
def test_word_problems_survive_without_falling_back_to_bytes(split):
    for problems in (EASY, WordProblems()):
        for index in range(30):
            record = word_problem(problems, split, index)
            for form in FORMATS.values():
                for text in (form.inputs(record), form.targets(record)):
                    ids = EMBEDDED_VOCABULARY.encode(text)
                    assert EMBEDDED_VOCABULARY.decode(ids) == text
                    assert not any(piece.startswith("<0x") for piece in pieces(text))


def test_the_easy_problems_fit_short_rows():
    cot = FORMATS["cot_zero_shot"]
    records = [word_problem(EASY, "train", index) for index in range(300)]
    inputs = [len(EMBEDDED_VOCABULARY.encode(cot.inputs(r))) for r in records]
    targets = [len(EMBEDDED_VOCABULARY.encode(cot.targets(r))) for r in records]
    assert max(inputs) < 80
    assert max(targets) < 80


def test_the_other_one_cuts_words_otherwise_and_digits_alike():
    other = vocabulary_from_name("asset:word_problems_unigram")
    assert other.size == 768
    assert (other.eos_id, other.unk_id) == (EMBEDDED_VOCABULARY.eos_id, EMBEDDED_VOCABULARY.unk_id)
    record = word_problem(EASY, "train", 5)
    text = FORMATS["cot_zero_shot"].targets(record)
    ids = other.encode(text)
    assert other.decode(ids) == text
    found = [other.piece(int(i)) for i in ids]
    assert found != pieces(text)
    digits = [[p for p in cut if p.strip("▁").isdigit()] for cut in (found, pieces(text))]
    assert digits[0] == digits[1]


def test_the_script_makes_the_same_bytes_again(tmp_path):
    script = runpy.run_path(str(ROOT / "scripts/train_embedded_vocabulary"))
    script["main"](tmp_path / "again.model")
    assert (tmp_path / "again.model").read_bytes() == ASSET.read_bytes()
    script["train"](tmp_path / "other.model", script["OTHER_SIZE"], "unigram")
    assert (tmp_path / "other.model").read_bytes() == script["OTHER"].read_bytes()
