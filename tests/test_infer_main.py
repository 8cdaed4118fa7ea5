"""`python -m tlm_jax.infer` as a command; what it does is tested in tests/runs/inference."""

from __future__ import annotations

import re

import pytest

from tlm_jax import infer
from tlm_jax.errors import UserError

COMMON = ["MODEL=no/such/model", "PROMPTS=no/such/file.jsonl"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["MODEL=absent"], "no model at absent"),
        (["MODEL=openai:http://localhost"], "needs a URL and a name"),
        (["TOP_P=1.5"], "TOP_P is 1.5, expected 0 to 1"),
        (["NUM_SAMPLES=0"], "NUM_SAMPLES is 0, expected at least 1"),
        (["STOP=['']"], "empty text"),
        (["TEMPRATURE=1"], "TEMPERATURE"),
        (["TEMPERATURE=hot"], "temperature is 'hot' (str), expected float"),
        (["HOST_INDEX=0"], "belong together"),
        (["HOST_INDEX=2", "NUM_HOSTS=2"], "HOST_INDEX is 2 of 2"),
        (["GRADING_RULE=numerc"], "Did you mean 'numeric'?"),
        (["--modle=x"], "unknown argument '--modle=x'"),
    ],
)
def test_what_is_wrong_with_the_command_is_one_line(tmp_path, settings, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        infer.main([*COMMON, f"OUTPUT_DIR={tmp_path}", *settings])
    assert "\n" not in str(caught.value)


def test_gin_flags_work_as_in_every_main(capsys):
    arguments = ["--gin_file=gin_configs/infer.gin", "--gin.MODEL='some/model'", "--dry_run"]
    arguments += ["--gin.PROMPTS='p.jsonl'", "--gin.OUTPUT_DIR='out'", "TOP_K=5"]
    assert infer.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "MODEL = 'some/model'" in shown
    assert "TOP_K = 5" in shown
