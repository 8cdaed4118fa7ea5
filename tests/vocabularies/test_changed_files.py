"""A vocabulary is what its files hold when it first reads them; one made later reads them anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.store import RecordReader, task_vocabulary
from tlm_jax.data.sources import ListSource
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name
from tlm_jax.vocabularies.token_bytes import token_table


def write_tokenizer(path: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer, decoders, models

    ids = {word: n for n, word in enumerate(["<unk>", "</s>", "<s>", *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(path))


def write_pieces(path: Path, words: list[str]) -> None:
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(words * 20),
            model_writer=file,
            model_type="word",
            vocab_size=3 + len(words),
            minloglevel=2,
        )


def known(vocabulary: Vocabulary) -> tuple[list[int], str, bool]:
    """What it makes of "one", its fingerprint, and whether its table has a piece for it."""
    pieces = token_table(vocabulary).pieces
    ids = vocabulary.encode("one").tolist()
    return ids, vocabulary.fingerprint, any(b"one" in piece for piece in pieces)


@pytest.mark.parametrize(
    ("name", "write"), [("tokenizer.json", write_tokenizer), ("a.model", write_pieces)]
)
def test_a_vocabulary_made_later_reads_what_is_there_then(tmp_path, name, write):
    path = tmp_path / name
    write(path, ["one", "two"])
    first = vocabulary_from_name(str(path))
    before = known(first)
    assert before[2]
    write(path, ["two", "six"])
    later = vocabulary_from_name(str(path))
    assert later == first
    after = known(later)
    assert after[0] == [later.unk_id]
    assert after[1] != before[1]
    assert not after[2]
    assert known(first) == before


def test_special_tokens_are_those_of_the_settings_there_then(tmp_path):
    write_tokenizer(tmp_path / "tokenizer.json", ["one", "two"])
    settings = tmp_path / "tokenizer_config.json"
    found = []
    for eos in ("one", "two"):
        settings.write_text(json.dumps({"eos_token": eos}))
        vocabulary = vocabulary_from_name(str(tmp_path))
        assert vocabulary.decode_text([vocabulary.eos_id]) == eos
        found.append(vocabulary.fingerprint)
    assert found[0] != found[1]


def test_a_registered_task_has_the_vocabulary_of_each_run(tmp_path):
    path = tmp_path / "tokenizer.json"
    write_tokenizer(path, ["one", "two"])
    source = ListSource({"train": [{"id": "1", "inputs": "one", "targets": "two"}]})
    vocabulary = vocabulary_from_name(str(path))
    task = tasks.register_task("changed_vocabulary", source, vocabulary=vocabulary)
    try:
        for words, expected in ((["one", "two"], 3), (["two", "one"], 4)):
            write_tokenizer(path, words)
            for found in (task_vocabulary(task.name), RecordReader(task, "train").vocabulary):
                assert found.encode("one").tolist() == [expected]
    finally:
        tasks.unregister(task.name)
