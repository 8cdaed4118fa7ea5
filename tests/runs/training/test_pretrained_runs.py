"""A run starts from a model of any format, and what it leaves can start the next one."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_models import decoder_only  # pyright: ignore[reportMissingImports]

from tlm_jax import models, trees
from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import hugging_face
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.reading import task_reading
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory
from tlm_jax.models import layouts
from tlm_jax.optim.optimizers import Adafactor
from tlm_jax.optim.schedules import Constant
from tlm_jax.runs.training import pretrained
from tlm_jax.runs.training.parts import build_parts
from tlm_jax.runs.training.session import run_training
from tlm_jax.vocabularies import ByteVocabulary, vocabulary_from_name

TEXT = "# what config.gin will hold\n"


@pytest.fixture
def hf_model(tmp_path, tiny_run):
    """The model of `tiny_run` with random parameters, as a Hugging Face directory."""
    config = tiny_run().model
    params = models.init(jax.random.key(7), config)
    arrays = layouts.unrolled(
        {name: in_memory(np.asarray(leaf)) for name, leaf in trees.flatten(params).items()}
    )
    family = families.family_for(config)
    fields = {"model_type": family.model_type, **family.write_config(config)}
    directory = tmp_path / "pretrained"
    directory.mkdir()
    theirs = families.export_tensors(family, config, arrays)
    hugging_face.write(directory, fields, theirs, written=lambda _: None)
    (directory / "tokenizer_config.json").write_text("{}")
    return directory, params


def _trained(run):
    run_training(run, TEXT)
    return trees.flatten(load_params(open_pretrained(run.model_dir), run.model))


def test_every_format_starts_the_same_run(tiny_run, hf_model, tmp_path):
    directory, _ = hf_model
    convert(open_pretrained(directory), tmp_path / "native", "native")
    convert(open_pretrained(directory), tmp_path / "unscanned", "native", scan_layers=False)
    results = [
        _trained(
            tiny_run(f"of_{name}", train_steps=2, initial_checkpoint_path=str(tmp_path / name))
        )
        for name in ("pretrained", "native", "unscanned")
    ]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    scratch = _trained(tiny_run("scratch", train_steps=2))
    assert any(not np.array_equal(scratch[name], array) for name, array in results[0].items())


def test_a_student_leaves_as_a_model_with_its_tokenizer(tiny_run, hf_model, tmp_path):
    directory, _ = hf_model
    run = tiny_run("student", train_steps=2, initial_checkpoint_path=str(directory))
    trained = _trained(run)
    student = open_pretrained(run.model_dir)
    assert student.config == run.model
    assert set(student.companions) == {"tokenizer_config.json", "vocabulary.json"}
    convert(student, tmp_path / "served", "hf")
    served = open_pretrained(tmp_path / "served")
    jax.tree.map(
        np.testing.assert_array_equal, trees.flatten(load_params(served, run.model)), trained
    )
    again = tiny_run("again", train_steps=1, initial_checkpoint_path=run.model_dir)
    run_training(again, TEXT)
    assert (Path(again.model_dir) / "tokenizer_config.json").is_file()


def test_a_model_that_was_continued_still_says_where_it_came_from(tiny_run, hf_model):
    directory, _ = hf_model
    run = tiny_run("student", train_steps=1, initial_checkpoint_path=str(directory))
    run_training(run, TEXT)
    first = json.loads(Path(run.model_dir, "model.json").read_text())
    run_training(dataclasses.replace(run, train_steps=2), TEXT)
    assert json.loads(Path(run.model_dir, "model.json").read_text()) == first
    assert first["hugging_face"]["model_type"] == hugging_face.read_config(directory)["model_type"]


def test_going_on_as_another_model_of_the_same_shapes_is_said(tiny_run, tmp_path, capsys):
    """Its checkpoints fit, and would be described as what they were not trained as."""
    run = tiny_run(model=decoder_only(64))
    pretrained.describe_model(tmp_path, run, None, ByteVocabulary(), task_reading(ByteVocabulary()))
    assert capsys.readouterr().out == ""
    other = dataclasses.replace(run, model=dataclasses.replace(run.model, prefix_lm=True))
    pretrained.describe_model(
        tmp_path, other, None, ByteVocabulary(), task_reading(ByteVocabulary())
    )
    said = capsys.readouterr().out
    assert f"note: {tmp_path} and the model of this run differ in prefix_lm: False and True" in said


def test_the_model_and_tokenizer_of_a_checkpoint_need_not_be_said(hf_model, tiny_run):
    directory, _ = hf_model
    model = pretrained.model_of(str(directory), dtype="bfloat16", remat_policy="full")
    assert families.same_model(model, tiny_run().model)
    assert (model.dtype, model.remat_policy) == ("bfloat16", "full")
    with pytest.raises(UserError, match=r"pretrained has no tokenizer: expected tokenizer.json"):
        vocabulary_from_name(str(directory))


def test_another_model_is_refused_before_anything_is_trained(tiny_run, hf_model):
    directory, _ = hf_model
    run = tiny_run("other", initial_checkpoint_path=str(directory))
    wider = dataclasses.replace(run, model=dataclasses.replace(run.model, mlp_dim=40))
    with pytest.raises(UserError, match=r"different model: '.*/mlp/.*' has shape .* and"):
        run_training(wider, TEXT)
    taller = dataclasses.replace(run.model, vocab_size=run.model.vocab_size + 64)
    with pytest.raises(UserError, match=r"rows for tokens, this model .*RESIZE_VOCABULARY=True"):
        run_training(dataclasses.replace(run, model=taller), TEXT)
    run_training(
        dataclasses.replace(run, model=taller, resize_vocabulary=True, train_steps=1), TEXT
    )


def test_what_t5x_began_goes_on(tiny_run, shared_dir):
    """The step and Adafactor's slots are T5X's if they are asked for, else both begin anew."""
    path = shared_dir / "fixtures/t5x/decoder_only_untied/ckpt_legacy/checkpoint_3"
    source = open_pretrained(path)
    run = tiny_run(
        model=source.config,
        optimizer=Adafactor(learning_rate=Constant(1e-3), min_dim_size_to_factor=16),
        initial_checkpoint_path=str(path),
    )
    built = build_parts(run)
    new = built.initial_state(run.seed)
    for restore in (True, False):
        asked = dataclasses.replace(run, restore_optimizer=restore)
        _, state = pretrained.initial_state(asked, built.abstract_state, new)
        assert int(state.step) == (3 if restore else 0)
        slots = [float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(state.opt_state)]
        assert all(slots) if restore else not any(slots)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, (state, built.abstract_state))
        assert shardings[0] == shardings[1]
