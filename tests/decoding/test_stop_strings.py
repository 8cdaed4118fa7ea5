"""Where a sample reaches a text at which it ends."""

import pytest

from tlm_jax.decoding.stop_strings import StopStrings, check_stop
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import ByteVocabulary

BYTES = ByteVocabulary()


@pytest.mark.parametrize("text", ["a\n\nb", "ab\n\n", "\n\n", "a\n\nb\n\nc", "aé\n\nb"])
def test_keeps_the_tokens_up_to_the_first_stop_string(text):
    stop = StopStrings(["\n\n", "END"], BYTES)
    tokens = BYTES.encode(text).tolist()
    kept = stop.kept_tokens(tokens)
    assert kept is not None
    assert BYTES.decode(tokens[:kept]) == text[: text.index("\n\n") + 2]
    assert stop.before(text) == text[: text.index("\n\n")]


def test_a_stop_string_that_is_never_reached():
    stop = StopStrings(["\n\n"], BYTES)
    assert stop.kept_tokens(BYTES.encode("a\nb\n").tolist()) is None
    assert stop.before("a\nb\n") == "a\nb\n"
    assert not StopStrings([], BYTES)
    tokens = BYTES.encode("ab").tolist()
    assert StopStrings([], BYTES).read(tokens) == ("ab", None)
    assert StopStrings(["b", "a"], BYTES).read(tokens) == ("", 1)


def test_an_empty_text_is_refused():
    with pytest.raises(UserError, match="EVAL_STOP holds an empty text, which every sample would"):
        check_stop(["x", ""], "EVAL_STOP")
