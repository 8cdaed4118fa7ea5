"""Statistics of a pipeline count what was handed out, and nothing else."""

import pytest
import tokenizers
from small_pipelines import make, pipeline_tasks, take  # noqa: F401 (the second is a fixture)

from tlm_jax.data import tasks
from tlm_jax.data.sources import ListSource
from tlm_jax.vocabularies import HuggingFaceVocabulary


def test_statistics_count_tokens_room_and_truncation():
    with make("pipe_endless", pack=False, feature_lengths={"inputs": 4, "targets": 6}) as pipeline:
        take(pipeline, 7)
    statistics = pipeline.statistics
    assert (statistics.batches, statistics.examples) == (7, 56)
    # 8 of each length from 2 to 8 with EOS, cut at 4; capacity 4 each.
    assert statistics.tokens["encoder"] == 8 * (2 + 3 + 4 * 5)
    assert statistics.capacity["encoder"] == 56 * 4
    assert statistics.fill()["encoder"] == pytest.approx(25 / 28)
    assert statistics.truncated == {"inputs": 8 * 4, "targets": 0}


def test_statistics_count_examples_with_what_no_token_stands_for(tmp_path):
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "t": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["a", "{ and {", "a {", "a a"]
    records = [{"id": str(i), "inputs": text, "targets": "t"} for i, text in enumerate(texts)]
    tasks.register_task("pipe_unknown", ListSource({"train": records}))
    vocabulary = HuggingFaceVocabulary(str(tmp_path / "tokenizer.json"))
    try:
        with make("pipe_unknown", pack=False, batch_size=4, vocabulary=vocabulary) as pipeline:
            take(pipeline, 1)
    finally:
        tasks.unregister("pipe_unknown")
    assert pipeline.statistics.unknown == {"inputs": 2, "targets": 0}


def test_packed_examples_that_are_not_handed_out_yet_do_not_count_as_truncated():
    with make("pipe_endless", pack=True, feature_lengths={"inputs": 1, "targets": 1}) as pipeline:
        take(pipeline, 2)
    statistics = pipeline.statistics
    assert statistics.truncated == {"inputs": statistics.examples, "targets": statistics.examples}
