"""The survey shows what the model would get, and the views draw all of it, escaped."""

import html.parser
import io
import re

import numpy as np
import pytest
from rich.console import Console

from tlm_jax.data import tasks
from tlm_jax.data.shown_examples import format_siblings
from tlm_jax.data.sources import ListSource
from tlm_jax.data.survey import SurveyConfig, survey
from tlm_jax.errors import UserError
from tlm_jax.reports import task_page as view_html
from tlm_jax.reports import task_terminal as view_terminal

HOSTILE = "</pre><script>alert(1)</script> & [bold]markup[/bold]"


def examples(form, count=40):
    rows = [
        {
            "id": f"e{i}",
            "inputs": f"{form} {i} {HOSTILE}",
            "targets": "t" * (i % 9 + 1),
            "answer": f"{i}",
        }
        for i in range(count)
    ]
    # The formats leave out different examples, so their indices differ.
    return rows[3:] if form == "cot_zero_shot" else rows


@pytest.fixture(scope="module", autouse=True)
def survey_tasks():
    names = [f"survey_{form}" for form in ("cot_zero_shot", "answer_zero_shot")]
    for name in names:
        source = ListSource({"train": examples(name.removeprefix("survey_"))})
        tasks.register_task(name, source, description="made for a test")
    tasks.register_task(
        "survey_lm",
        ListSource({"train": [{"id": "a", "targets": "abc"}, {"id": "b", "targets": "de"}]}),
        features=("targets",),
    )
    tasks.register_mixture("survey_mixture", {names[0]: 3, names[1]: 1})
    yield
    for name in ("survey_mixture", "survey_lm", *names):
        tasks.unregister(name)


def test_formats_are_those_of_the_same_example():
    found = survey(SurveyConfig("survey_cot_zero_shot", num_examples=5))
    assert set(format_siblings("survey_cot_zero_shot")) == {"cot_zero_shot", "answer_zero_shot"}
    for example in found.examples:
        number = example.example_id.removeprefix("e")
        forms = {form: inputs for form, inputs, _ in example.texts}
        assert list(forms) == ["cot_zero_shot", "answer_zero_shot"]
        for form, inputs in forms.items():
            assert inputs.startswith(f"{form} {number} ")
        assert example.carried == {"answer": number}


def test_tokens_carry_weights_and_what_is_cut():
    config = SurveyConfig("survey_cot_zero_shot", feature_lengths={"inputs": 6, "targets": 4})
    for example in survey(config).examples:
        encoder, decoder = example.sequences["encoder"], example.sequences["decoder"]
        assert "".join(t.piece for t in encoder[:6]) == "cot_ze"
        assert [t.cut for t in encoder[:8]] == [False] * 6 + [True] * 2
        assert {t.weight for t in encoder} == {None}
        assert all(t.weight == 1.0 for t in decoder[:4])
        assert all(t.cut and t.weight is None for t in decoder[4:])
        assert decoder[-1].piece == "</s>"


def test_a_decoder_only_model_sees_prompt_and_targets_in_one():
    config = SurveyConfig(
        "survey_cot_zero_shot",
        feature_lengths={"inputs": 6, "targets": 4},
        architecture="decoder_only",
    )
    found = survey(config)
    assert found.axes == {"decoder": 10}
    for example in found.examples:
        tokens = example.sequences["decoder"]
        kept = [t for t in tokens if not t.cut]
        assert [t.weight for t in kept] == [0.0] * 6 + [1.0] * (len(kept) - 6)
        assert [t.prompt for t in kept] == [True] * 6 + [False] * (len(kept) - 6)


def test_lengths_truncation_and_fill_by_hand():
    config = SurveyConfig("survey_lm", feature_lengths={"targets": 3})
    found = survey(config)
    assert found.architecture == "decoder_only"
    summary = found.lengths["targets"]
    assert sorted(summary.lengths.tolist()) == [3, 4]
    assert (summary.truncated, summary.limit) == (1, 3)
    assert summary.lost_tokens == pytest.approx(1 / 7)
    assert found.unpacked_fill == {"decoder": 1.0}
    assert len(found.rows) == 2
    assert sum(summary.histogram(4)[0]) == 2
    packed = survey(SurveyConfig("survey_lm", feature_lengths={"targets": 10}))
    assert len(packed.rows) == 1
    assert sorted(packed.rows[0].example_ids) == ["a", "b"]
    assert packed.packed_fill == {"decoder": 0.7}
    assert packed.unpacked_fill == {"decoder": 0.35}
    assert np.count_nonzero(packed.arrays["decoder_segment_ids"]) == 7


def test_lengths_are_the_longest_of_the_sample_where_none_are_given():
    found = survey(SurveyConfig("survey_mixture", sample=64))
    assert not found.lengths_given
    assert all(s.truncated == 0 and s.limit == s.lengths.max() for s in found.lengths.values())
    assert found.rates == {"survey_cot_zero_shot": 0.75, "survey_answer_zero_shot": 0.25}


def test_wrong_lengths_are_user_errors():
    with pytest.raises(UserError, match="no feature length for 'targets'"):
        survey(SurveyConfig("survey_cot_zero_shot", feature_lengths={"inputs": 4}))


@pytest.fixture
def drawn():
    def draw(name, packing=True, **options):
        found = survey(SurveyConfig(name, **options))
        text = io.StringIO()
        console = Console(file=text, width=110, highlight=False)
        view_terminal.draw(found, console, packing=packing)
        return text.getvalue(), view_html.document(found, packing=packing)

    return draw


def test_the_terminal_shows_text_tokens_lengths_and_packing(drawn):
    lengths = {"inputs": 90, "targets": 40}
    text, _ = drawn("survey_cot_zero_shot", feature_lengths=lengths)
    # Markup in data is data.
    assert "[bold]markup[/bold]" in text
    for expected in (
        "made for a test",
        "answer_zero_shot",
        "c│o│t│_",
        "decoder, weight 1",
        "inputs: mean",
        "fill, packed",
        "row 1",
        "decoder_loss_weights",
    ):
        assert expected in text
    text, _ = drawn("survey_cot_zero_shot", packing=False)
    assert "fill, packed" not in text


class Collector(html.parser.HTMLParser):
    """Notes elements and what they would fetch."""

    def __init__(self):
        super().__init__()
        self.names, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_escaped_and_self_contained(drawn):
    _, page = drawn("survey_cot_zero_shot", feature_lengths={"inputs": 90, "targets": 40})
    collected = Collector()
    collected.feed(page)
    assert "script" not in collected.names
    assert collected.fetched == []
    assert HOSTILE in "".join(collected.text)
    assert not re.search(r"https?://|url\(", page)
    widths = [float(w) for w in re.findall(r'class="block s\d" style="width:([\d.]+)%"', page)]
    assert widths
    assert max(widths) <= 100


def test_the_page_of_a_mixture_shows_its_tasks(drawn):
    _, page = drawn("survey_mixture")
    assert "75.00%" in page
    assert "survey_answer_zero_shot" in page
