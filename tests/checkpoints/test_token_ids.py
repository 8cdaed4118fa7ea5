# pyright: reportOptionalSubscript=false
"""A student that leaves says which tokens begin and end its texts, and a model's own are read."""

import json

import pytest
from tiny_models import decoder_only, encoder_decoder  # pyright: ignore[reportMissingImports]

from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import native
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.checkpoints.token_ids import end_ids
from tlm_jax.data.reading import task_reading
from tlm_jax.errors import UserError
from tlm_jax.models import layouts
from tlm_jax.runs.opened.trained_vocabulary import trained_vocabulary_text
from tlm_jax.vocabularies import SentencePieceVocabulary

PIECES = SentencePieceVocabulary("asset:word_problems")
NAMES = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@pytest.fixture
def student(tmp_path, random_arrays):
    """Writes what training leaves: `student(config, hugging_face, vocabulary.json)`."""

    def write(config, hugging_face=None, vocabulary=None):
        directory = tmp_path / "student"
        directory.mkdir()
        arrays = layouts.arrange(random_arrays(config), config)
        native.write(directory, config, arrays, hugging_face, written=lambda _: None)
        if vocabulary is not None:
            (directory / native.VOCABULARY_FILE).write_text(vocabulary)
        return directory

    return write


def _exported(directory, tmp_path):
    done = convert(open_pretrained(directory), tmp_path / "hf", "hf")
    contents = [
        json.loads((tmp_path / "hf" / name).read_text())
        if (tmp_path / "hf" / name).is_file()
        else None
        for name in ("config.json", "generation_config.json")
    ]
    return done.notes, *contents


def test_a_decoder_trained_from_scratch_names_its_tokens(student, tmp_path):
    """Unsaid, transformers takes 1 and 2 for LLaMA, and the student never stops."""
    directory = student(
        decoder_only(512), vocabulary=trained_vocabulary_text(PIECES, task_reading(PIECES))
    )
    notes, config, generation = _exported(directory, tmp_path)
    assert notes == ()
    assert config["model_type"] == "llama"  # pyright: ignore[reportOptionalSubscript]
    assert [config[name] for name in NAMES[:3]] == [0, 1, 0]
    assert generation == {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    assert end_ids(open_pretrained(tmp_path / "hf")) == (1,)


def test_an_encoder_decoder_trained_from_scratch_names_its_tokens(student, tmp_path):
    trained = json.dumps({"fingerprint": "f", "size": 9, "bos_id": 5, "eos_id": 6, "pad_id": None})
    _, config, generation = _exported(student(encoder_decoder(40), vocabulary=trained), tmp_path)
    assert config["decoder_start_token_id"] == 5  # pyright: ignore[reportOptionalSubscript]
    assert config["eos_token_id"] == 6  # pyright: ignore[reportOptionalSubscript]
    assert generation == {"decoder_start_token_id": 5, "eos_token_id": 6}


def test_a_student_of_unknown_tokens_names_none_and_it_is_said(student, tmp_path):
    before = json.dumps({"fingerprint": "f", "size": 9})  # as written before ids were
    notes, config, generation = _exported(student(decoder_only(512), vocabulary=before), tmp_path)
    assert [config[name] for name in NAMES[:3]] == [None, None, None]
    assert generation is None
    assert "set eos_token_id there before the model is served" in notes[0]


@pytest.mark.parametrize(
    ("eos", "generation", "ends"),
    [
        # generation_config.json comes first, as in transformers.
        (2, {"eos_token_id": [5, 7], "temperature": 0.6}, (5, 7)),
        ([5, 7], None, (5, 7)),
        (2, {"temperature": 0.6}, (2,)),
        (2, {"eos_token_id": 9}, (9,)),
        (None, None, ()),
    ],
)
def test_the_ends_that_a_model_names(write_hugging_face, llama_json, eos, generation, ends):
    directory = write_hugging_face(llama_json | {"eos_token_id": eos})
    if generation is not None:
        (directory / "generation_config.json").write_text(json.dumps(generation))
    assert end_ids(open_pretrained(directory)) == ends


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"eos_token_id": "2"}', r"eos_token_id in generation_config.json is '2'; expected the"),
        (
            '{"eos_token_id": [2, null]}',
            r"is \[2, None\]; expected the number of a token or",
        ),
        ('{"eos_token_id": true}', r"is True; expected the number of a token"),
        ('{"eos_token_id": 2,}', r"generation_config.json is not JSON"),
        ("[]", r"generation_config.json is not a JSON object"),
        ("version https://git-lfs.github.com/spec/v1\n", r"is a pointer of Git LFS"),
    ],
)
def test_a_damaged_generation_config_is_one_line(write_hugging_face, content, message):
    directory = write_hugging_face()
    (directory / "generation_config.json").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        end_ids(open_pretrained(directory))
    assert "\n" not in str(error.value)


def test_a_chat_model_that_was_continued_keeps_what_it_came_with(student, llama_json, tmp_path):
    """Its own tokenizer's end is among the ends it names."""
    origin = llama_json | {"eos_token_id": 2, "bos_token_id": 1}
    config = decoder_only(
        48, embed_dim=16, mlp_dim=24, num_layers=3, num_heads=4, head_dim=4, num_kv_heads=2,
        norm_epsilon=1e-5,
    )  # fmt: skip
    trained = json.dumps({"fingerprint": "f", "size": 9, "bos_id": None, "eos_id": 7, "pad_id": 2})
    directory = student(config, origin, trained)
    own = {"eos_token_id": [2, 7], "temperature": 0.6}
    (directory / "generation_config.json").write_text(json.dumps(own))
    assert end_ids(open_pretrained(directory)) == (2, 7)
    _, written, generation = _exported(directory, tmp_path)
    assert {name: written[name] for name in origin} == origin
    assert generation == own


def test_a_model_that_was_given_other_tokens_forgets_the_old_ones(student, llama_json, tmp_path):
    """The numbers stand for other tokens now: 2 may be in the middle of any text."""
    origin = llama_json | {"eos_token_id": 2, "bos_token_id": 1}
    config = decoder_only(512, head_dim=8)
    directory = student(config, origin, trained_vocabulary_text(PIECES, task_reading(PIECES)))
    own = {"eos_token_id": [2, 7], "temperature": 0.6, "suppress_tokens": [3], "pad_token_id": 2}
    (directory / "generation_config.json").write_text(json.dumps(own))
    assert end_ids(open_pretrained(directory)) == (1,)
    _, written, generation = _exported(directory, tmp_path)
    assert [written[name] for name in NAMES[:3]] == [0, 1, 0]
    expected = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "temperature": 0.6}
    assert generation == expected


def test_a_plain_conversion_changes_nothing(write_hugging_face, llama_json, tmp_path):
    directory = write_hugging_face(llama_json | {"eos_token_id": 2})
    content = '{"eos_token_id": [2, 7],\n\n "temperature": 0.6}'
    (directory / "generation_config.json").write_text(content)
    convert(open_pretrained(directory), tmp_path / "out", "hf")
    assert (tmp_path / "out" / "generation_config.json").read_text() == content
    assert json.loads((tmp_path / "out/config.json").read_text())["eos_token_id"] == 2
