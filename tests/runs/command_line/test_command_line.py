"""A faulty configuration is one line: the binding, its place, the nearest right name."""

import textwrap

import pytest

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import configuration as command_line
from tlm_jax.runs.command_line.arguments import configured_parser, parse_settings
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.files import write_configuration

RUN = """
    from __gin__ import dynamic_registration
    from tlm_jax.optim import optimizers
    from tlm_jax.optim import schedules
    include 'gin_configs/runs/train.gin'
    include 'gin_configs/models/t5_1_1_tiny.gin'
    MIXTURE_OR_TASK_NAME = 'word_problems_easy_cot_zero_shot'
    TASK_FEATURE_LENGTHS = {'inputs': 96, 'targets': 64}
    TRAIN_STEPS = 20
    OPTIMIZER = @optimizers.AdamW()
    optimizers.AdamW.learning_rate = @schedules.Constant()
    schedules.Constant.value = 0.001
"""


@pytest.fixture
def load(tmp_path):
    def load(*bindings: str, text: str = RUN, model_dir: bool = True):
        file = tmp_path / "run.gin"
        file.write_text(textwrap.dedent(text))
        argv = [f"--gin_file={file}", *bindings]
        if model_dir:
            argv.append('--gin.MODEL_DIR="somewhere"')
        known, rest = parse_settings(configured_parser("train", ""), argv)
        return command_line.load(RunConfig, known, rest)

    return load


def test_bindings_override_files(load):
    run, text = load("--gin.TRAIN_STEPS=7", "--gin.run.RunConfig.seed=3")
    assert (run.train_steps, run.seed, run.model.embed_dim) == (7, 3, 128)
    assert "TRAIN_STEPS = 7" in text


def test_a_place_to_look_for_files_is_for_its_own_command(tmp_path):
    """Two runs in one process: the second does not find what only the first named."""
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "only_there.gin").write_text(textwrap.dedent(RUN))

    def load(*arguments: str) -> RunConfig:
        argv = ["--gin_file=only_there.gin", '--gin.MODEL_DIR="somewhere"', *arguments]
        known, rest = parse_settings(configured_parser("train", ""), argv)
        return command_line.load(RunConfig, known, rest)[0]

    assert load(f"--gin_search_paths={tmp_path / 'place'}").train_steps == 20
    with pytest.raises(UserError, match=r"only_there\.gin"):
        load()


def test_operative_configuration_loads_to_the_same_run(load):
    run, text = load("--gin.BATCH_SIZE=16")
    assert load(text=text, model_dir=False)[0] == run


def test_command_line_may_name_what_files_import(load):
    with pytest.raises(UserError, match="DecoderOnlyConfig needs 'vocab_size'"):
        load("--gin.MODEL=@models.DecoderOnlyConfig()")


# Binding, and what the message must hold.
FAULTY = {
    "--gin.TRAIN_STEP=5": "--gin.TRAIN_STEP is set but nothing uses it. Did you mean 'TRAIN_",
    "--gin.DATA_DIR=data": "a string keeps its quotes: --gin.DATA_DIR='\"data\"'",
    '--gin.MODEL_DIR="C:\\Users\\new"': "written twice: --gin.MODEL_DIR='\"C:\\\\Users\\\\new\"'",
    "--gin.EVAL_TASKS=[a_b]": "keep their quotes: --gin.EVAL_TASKS='[\"a_b\"]'",
    "--gin.TASK_FEATURE_LENGTHS={inputs: 5}": "--gin.TASK_FEATURE_LENGTHS='{\"inputs\": 5}'",
    "--gin.BATCH_SIZE=true": "'true' is no Python value; write --gin.BATCH_SIZE=True",
    "--gin.EVAL_TASKS=[a": "is no Python value; texts are in quotes, lists in [], and a dict",
    "--gin.BATCH_SIZE=": "--gin.BATCH_SIZE=: '' is no Python value",
    "--gin.BATCH_SIZE='8'": "RunConfig.batch_size is '8' (str), expected int",
    "--gin.BATCH_SIZE=0": "RunConfig.batch_size is 0, expected at least 1",
    "--gin.run.RunConfig.sed=1": "run.RunConfig has no parameter 'sed'. Did you mean 'seed'?",
    "--gin.run.RunConfg.seed=1": "training.config has no 'RunConfg'. Did you mean 'RunConfig'?",
    "--gin.BATCH_SIZE=%BATCH": "macro %BATCH is used but never set. Did you mean 'BATCH_SIZE'?",
    "--gin.run.RunConfig.mesh=3": "RunConfig.mesh is 3 (int), expected MeshShape",
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 'a'}": "expected Mapping[str, int]",
    "--gin.ON_NON_FINITE='ignore'": "expected one of 'skip', 'stop'",
    "--gin.OPTIMIZER=3": "RunConfig.optimizer is 3 (int), expected Adafactor or AdamW",
    "--gin.DROPOUT_RATE=2.0": "EncoderDecoderConfig.dropout_rate is 2.0: expected at least 0",
    "--gin.PACK": "--gin.PACK: expected --gin.NAME=VALUE",
    'MODEL_DIR="C:\\Users\\new"': "leave out the inner quotes: 'MODEL_DIR=C:\\Users\\new'",
    "TASK_FEATURE_LENGTHS={inputs: 5}": 'Mapping[str, int]; write {"inputs": 5} (in a shell',
    "EVAL_TASKS=[a_b]": 'expected Sequence[str]; write ["a_b"]',
    "EVAL_TASKS=a_b, c": 'expected Sequence[str]; write ["a_b", "c"] (in a shell',
    "BATCH_SIZE=true": "RunConfig.batch_size is 'true' (str), expected int",
    "PACK=true": "expected bool; write True",
    'BATCH_SIZE="8"': "RunConfig.batch_size is '8' (str), expected int; write 8",
    "BATCH_SIZE=1e2": "RunConfig.batch_size is 100.0 (float), expected int; write 100",
    "BATCH_SIZE=1,5": "RunConfig.batch_size is (1, 5) (tuple), expected int",
    "MIXTURE_OR_TASK_NAME=5": 'expected str; write "5" (in a shell',
    "OPTIMIZER=AdamW": "expected Adafactor or AdamW or Adam or Lion or Muon; write @MODULE.AdamW()",
    "OPTIMIZER=@optimizers.AdamW": "is the class AdamW itself, expected Adafactor or AdamW",
    "--gin.OPTIMIZER=@Adafactor()": "statement. It is in optimizers: with `from tlm_jax.optim imp",
    "BATCH_SIZE=08": "RunConfig.batch_size is '08' (str), expected int; write 8",
    "--gin.BATCH_SIZE=08": "'08' is no Python value; write --gin.BATCH_SIZE=8",
    "PACK=yes": "expected bool; write True",
    "--gin.PACK=off": "write --gin.PACK=False, or as a text --gin.PACK='\"off\"'",
    "--gin.PACK=TRUE": "'TRUE' is no Python value; write --gin.PACK=True",
    "--gin.MODEL_DIR=\u201cruns/a\u201d": "quotes have to be straight ones: --gin.MODEL_DIR='\"ru",
    "MODEL_DIR=\u201eruns/a\u201c": "become part of it; leave them out: MODEL_DIR=runs/a",
    "--gin.=3": "--gin.=3: expected --gin.NAME=VALUE",
    "--gin_fil=x": "unknown argument '--gin_fil=x'. Did you mean '--gin_file'? Try tlm",
    "--gin_file=nowhere.gin": "no gin file 'nowhere.gin' in the current folder",
}


@pytest.mark.parametrize(("binding", "message"), FAULTY.items())
def test_faulty_binding(load, binding, message):
    with pytest.raises(UserError) as caught:
        load(binding)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_of_settings_may_begin_as_other_values_do(load):
    """What looks like a dict or list is a text where a text is wanted."""
    for text in ("{question} = ?", "[question]", "{question}", "'a' and 'b'", "b'x'"):
        assert load(f"MODEL_DIR={text}", model_dir=False)[0].model_dir == text


DISTILLED = (
    RUN
    + """
    include 'gin_configs/methods/distill_live.gin'
    TEACHER_PATH = 'somewhere'
"""
)


def test_settings_of_the_loss_are_those_of_the_loss_that_takes_its_place(load):
    loss = load("--gin.LABEL_SMOOTHING=0.1", "--gin.Z_LOSS=0.5", text=DISTILLED)[0].loss
    assert (loss.distillation.label_smoothing, loss.distillation.z_loss) == (0.1, 0.5)
    assert load("--gin.LOSS_NORMALIZING_FACTOR=None", text=DISTILLED)[0].loss.normalization is None
    assert load("--gin.LOSS_NORMALIZING_FACTOR=2048.0")[0].loss.normalization == 2048.0


OTHER_LOSS = (
    RUN
    + """
    from tlm_jax.training import distillation
    LOSS = @distillation.DistillationObjective()
"""
)

# What is set, and what the message must hold.
UNREAD = {
    "--gin.LABEL_SMOOTHING=0.1": "this run is made without what reads it (objectives.CrossEntropy)",
    "--gin.objectives.CrossEntropy.z_loss=0.1": "is made without objectives.CrossEntropy: leave",
    "--gin.optimizers.Lion.beta1=0.5": "this run is made without optimizers.Lion: leave it out",
    "--gin.a/schedules.Constant.value=0.5": "this run is made without schedules.Constant",
}


@pytest.mark.parametrize(("binding", "message"), UNREAD.items())
def test_what_is_set_and_not_read_is_an_error(load, binding, message):
    with pytest.raises(UserError) as caught:
        load(binding, text=OTHER_LOSS)
    assert f"{binding.partition('=')[0]} is set but" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_macro_of_a_file_that_another_file_overrides_is_read(load):
    with pytest.raises(UserError, match=r"^macro LABEL_SMOOTHING is set but this run is made"):
        load(text=OTHER_LOSS + "    LABEL_SMOOTHING = 0.2\n")
    run, _ = load(text=OTHER_LOSS)  # a default may go unread
    assert run.loss.distillation.alpha == 1.0


def test_missing_required_macro(load):
    with pytest.raises(UserError, match=r"^MODEL_DIR is required: set it in a gin file or with"):
        load(model_dir=False)


def test_unquoted_string_in_a_file_names_the_file_and_line(load):
    with pytest.raises(UserError) as caught:
        load(text=RUN + "    EVAL_SPLIT = test\n")
    assert "'test' is no Python value; if it is a string, put it in quotes" in str(caught.value)
    assert "line 13" in str(caught.value)


def test_misspelled_module_in_a_file(load):
    with pytest.raises(UserError, match="optimiser"):
        load(text=RUN + "    from tlm_jax.optim import optimisers\n")


def test_no_gin_file():
    known, bindings = parse_settings(configured_parser("train", ""), [])
    with pytest.raises(UserError, match="no configuration: give --gin_file=FILE"):
        command_line.load(RunConfig, known, bindings)


def test_a_file_that_is_not_utf8_is_named(load, tmp_path):
    (tmp_path / "latin.gin").write_bytes(b"# caf\xe9")
    with pytest.raises(UserError, match=r"latin\.gin is not UTF-8 \(byte 5: 0xe9\)"):
        load(text=f"include '{tmp_path / 'latin.gin'}'")


def test_an_earlier_configuration_that_is_not_utf8_is_kept(tmp_path):
    (tmp_path / "config.gin").write_bytes(b"# caf\xe9")
    write_configuration(tmp_path, "A = 1\n")
    assert (tmp_path / "config.gin").read_text() == "A = 1\n"
    assert (tmp_path / "config.gin.1").read_bytes() == b"# caf\xe9"
