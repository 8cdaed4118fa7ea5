"""The student's rows, with prompts that end as its teacher was made to read them."""

import jax
import numpy as np
import pytest
from tiny_models import decoder_only, encoder_decoder  # pyright: ignore[reportMissingImports]

from tlm_jax import models
from tlm_jax.data.pipeline.converters import make_converter
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.training.prompt_borders import with_border
from tlm_jax.training.teacher_batch import teacher_batch

EOS, BREAK = 1, 30
TARGETS = ([3, 9, EOS], [4, EOS], [11, BREAK, 13, EOS])
MODELS = {"encoder_decoder": encoder_decoder(40), "decoder_only": decoder_only(40, num_layers=2)}


def batch_of(architecture: str, end: int, bos_id: int | None, packed: bool):
    """Returns a batch whose prompts end with `end`; the last one was cut before its end."""
    inputs = ([7, EOS, 5, end], [8, BREAK, 9, 3, end], [6, 12])
    features = {
        name: Ragged.from_arrays([np.array(x) for x in values], np.int32)
        for name, values in (("inputs", inputs), ("targets", TARGETS))
    }
    examples = TokenizedExamples(features, ("a", "b", "c"), ({}, {}, {}))
    converter = make_converter(
        architecture, feature_lengths={"inputs": 10, "targets": 8}, bos_id=bos_id
    )
    rows = np.array([0, 1, 0] if packed else [0, 1, 2])
    prepared = converter.prepare(examples)
    return jax.device_put(converter.convert(prepared, rows, int(rows.max()) + 1, packed=packed))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bos_id", [0, None])
@pytest.mark.parametrize("architecture", ["encoder_decoder", "decoder_only"])
@pytest.mark.parametrize("border", [(EOS, BREAK), (BREAK, EOS)])
def test_rows_become_what_the_teacher_would_have_made_of_them(architecture, border, bos_id, packed):
    if architecture == "encoder_decoder" and bos_id is None:
        bos_id = 2
    ours = batch_of(architecture, border[0], bos_id, packed)
    wanted = batch_of(architecture, border[1], bos_id, packed)
    found = with_border(ours, MODELS[architecture], border)
    assert found.keys() == wanted.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    assert with_border(ours, MODELS[architecture], None) is ours


@pytest.mark.parametrize("student", MODELS)
@pytest.mark.parametrize("teacher", MODELS)
def test_a_teacher_says_what_it_says_about_its_own_rows(student, teacher):
    """The distributions at the targets are those of its own rows, whatever the architectures."""
    config = MODELS[teacher]
    params = models.init(jax.random.key(1), config)

    def at_targets(batch, start):
        logits = np.asarray(models.logits(params, batch, config))
        weights = np.asarray(ours["decoder_loss_weights"]) > 0
        return logits[:, start : start + weights.shape[1]][weights]

    ours = batch_of(student, EOS, 0, False)
    own = teacher_batch(with_border(ours, MODELS[student], (EOS, BREAK)), MODELS[student], config)
    theirs = teacher_batch(batch_of(student, BREAK, 0, False), MODELS[student], config)
    np.testing.assert_array_equal(
        at_targets(own.batch, own.start), at_targets(theirs.batch, theirs.start)
    )
    plain = teacher_batch(ours, MODELS[student], config)
    assert np.abs(at_targets(own.batch, own.start) - at_targets(plain.batch, plain.start)).max() > 0
