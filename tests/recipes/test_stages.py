"""Stages: done once, done again where something changed, whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.recipes.done import described, finished, under_way
from tlm_jax.recipes.stages import EndReached, Stage, Stages
from tlm_jax.recipes.star.schedules import Exponential, Linear


class Work:
    """Writes a text, and counts how often it was asked to."""

    def __init__(self, text: str = "one", figures: dict | None = None):
        self.text, self.figures, self.times = text, figures or {}, 0

    def __call__(self, folder: Path) -> dict:
        self.times += 1
        (folder / "out.txt").write_text(self.text)
        return self.figures


def stage(work, name="first", kind="other", reads=None, **settings) -> Stage:
    return Stage(name, kind, work, ["out.txt"], settings, reads or {})


def chain(directory: Path, first: Work, second: Work, **settings) -> list[str]:
    """Two stages, of which the second reads what the first wrote."""
    with Stages(str(directory)) as stages:
        done = stages.run(stage(first, **settings))
        stages.run(stage(second, "second", reads={"the text": done.path("out.txt")}))
        return [done.wrote["out.txt"] for done in stages.done.values()]


def test_a_stage_is_done_once(tmp_path, capsys):
    works = Work(), Work("two")
    wrote = chain(tmp_path, *works)
    assert chain(tmp_path, *works) == wrote
    assert [work.times for work in works] == [1, 1]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "== first: done before",
        "== second: done before",
    ]


def test_what_reads_a_change_is_done_again(tmp_path, capsys):
    first, second = Work(), Work("two")
    chain(tmp_path, first, second, size=1)
    capsys.readouterr()
    other = Work("another")
    chain(tmp_path, other, second, size=2)
    out = capsys.readouterr().out
    assert "== first: again, because settings.size was 1 and is 2; the earlier one: " in out
    assert "== second: again, because content of the text was" in out
    assert (other.times, second.times) == (1, 2)
    assert (tmp_path / "replaced/first.1/out.txt").read_text() == "one"


def test_a_change_without_effect_ends_there(tmp_path):
    first, second = Work(), Work("two")
    chain(tmp_path, first, second, size=1)
    chain(tmp_path, first, second, size=2)
    assert (first.times, second.times) == (2, 1)


def test_settings_are_told_apart_by_their_type(tmp_path):
    assert described(Linear(40, 20)) != described(Exponential(40, 20))
    assert described({"a": (1, None, Linear(2, 3))}) == {
        "a": [1, None, {"": "Linear", "first": 2, "increment": 3}]
    }


def test_the_reason_names_the_one_setting_that_differs(tmp_path, capsys):
    def run(schedule):
        with Stages(str(tmp_path)) as stages:
            stages.run(stage(Work(), training={"long": "x" * 200, "schedule": schedule}))

    for before, now, reason in (
        (Linear(40, 20), Linear(40, 30), "increment was 20 and is 30"),
        (Linear(40, 30), Exponential(40), 'kind was "Linear" and is "Exponential"'),
    ):
        run(before)
        capsys.readouterr()
        run(now)
        expected = f"== first: again, because settings.training.schedule.{reason};"
        assert expected in capsys.readouterr().out


def test_a_stage_that_fails_is_begun_and_goes_on(tmp_path, capsys):
    def fails(folder: Path) -> dict:
        (folder / "half.txt").write_text("half")
        raise UserError("no more")

    with Stages(str(tmp_path)) as stages, pytest.raises(UserError, match="no more"):
        stages.run(stage(fails))
    assert list(under_way(tmp_path)) == ["first"]
    assert finished(tmp_path) == []
    seen: list[str] = []

    def goes_on(folder: Path) -> dict:
        seen.append((folder / "half.txt").read_text())
        (folder / "out.txt").write_text("whole")
        return {"samples": 3, "tokens": 5}

    with Stages(str(tmp_path)) as stages:
        done = stages.run(stage(goes_on))
    assert seen == ["half"]
    assert done.starts == 2
    assert "== first: goes on" in capsys.readouterr().out
    assert [one.name for one in finished(tmp_path)] == ["first"]
    assert list(under_way(tmp_path)) == []


def test_half_a_stage_of_other_settings_is_set_aside(tmp_path):
    def fails(folder: Path) -> dict:
        (folder / "half.txt").write_text("half")
        raise UserError("no more")

    with Stages(str(tmp_path)) as stages, pytest.raises(UserError):
        stages.run(stage(fails, size=1))
    with Stages(str(tmp_path)) as stages:
        stages.run(stage(Work(), size=2))
    assert not (tmp_path / "first/half.txt").exists()
    assert (tmp_path / "replaced/first.1/half.txt").read_text() == "half"


def test_what_was_written_and_is_no_longer_so_is_done_again(tmp_path, capsys):
    work = Work()
    chain(tmp_path, work, Work("two"))
    (tmp_path / "first/out.txt").write_text("mine")
    capsys.readouterr()
    chain(tmp_path, work, Work("two"))
    assert f"because {tmp_path}/first/out.txt is not as it was written" in capsys.readouterr().out
    assert (tmp_path / "first/out.txt").read_text() == "one"
    assert (tmp_path / "replaced/first.1/out.txt").read_text() == "mine"


def test_until_and_again(tmp_path):
    first, second = Work(), Work("two")
    with Stages(str(tmp_path), until="first") as stages, pytest.raises(EndReached):
        stages.run(stage(first))
    with Stages(str(tmp_path), again="first") as stages:
        stages.run(stage(first))
        stages.run(stage(second, "firsts/second"))
    assert (first.times, second.times) == (2, 1)


def test_a_damaged_note_is_no_note(tmp_path):
    work = Work()
    chain(tmp_path, work, Work("two"))
    (tmp_path / "first/stage.json").write_text('{"name": ')
    chain(tmp_path, work, Work("two"))
    assert work.times == 2


def test_only_one_process_works_there(tmp_path):
    code = (
        "import sys\nfrom tlm_jax.recipes.stages import Stages\n"
        "with Stages(sys.argv[1]): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UserError, match="is in use by another process"):
            Stages(str(tmp_path))
        other.communicate("")
    with Stages(str(tmp_path)):
        pass


def test_cost_counts_each_stage_once(tmp_path):
    with Stages(str(tmp_path)) as stages:
        asked = Work(figures={"samples": 4, "tokens": 9})
        for _ in range(2):
            stages.run(stage(asked, "asked", "generation"))
        stages.run(stage(Work(figures={"steps": 7}), "trained", "training"))
        cost = stages.cost()
    assert (cost["samples"], cost["tokens"], cost["steps"]) == (4, 9, 7)
    assert set(cost["seconds"]) == {"generation", "training"}
    assert 0 <= cost["this_start"]["overhead_share"] <= 1
    fields = json.loads((tmp_path / "asked/stage.json").read_text())
    assert set(fields) >= {"name", "kind", "figures", "seconds", "decided_by", "wrote"}
    assert dataclasses.is_dataclass(stages.done["asked"])
