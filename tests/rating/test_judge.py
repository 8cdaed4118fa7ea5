"""A model as judge: blind, read strictly, apart from people, and going on after a stop."""

import json

import json_lines
import pytest
from served_ratings import CORRECTION, SOURCES, explanations

from tlm_jax.errors import UserError
from tlm_jax.rating.items import Fields, read_sheet
from tlm_jax.rating.judge import judge, prompt, read_answer, server_and_name
from tlm_jax.rating.scales import GRADES, VERDICT
from tlm_jax.rating.store import RatingStore, read_ratings
from tlm_jax.remote.client import Client
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.wire import Completion

GOOD = "Fine.\n\nfluency: 5\n**Factuality**: 4\n- informativeness: 3."


def test_answers_are_read():
    assert read_answer(GOOD, GRADES) == {"fluency": 5, "factuality": 4, "informativeness": 3}
    assert read_answer("Rating: **Excellent**", VERDICT) == {"rating": "excellent"}
    assert read_answer("rating: good\nSo, once more:\nrating: Good", VERDICT) == {"rating": "good"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.replace("5", "6"),
        GOOD.replace("5", "45"),
        GOOD.replace("5", "4.5"),
        GOOD.replace("5", "4-5"),
        GOOD.replace("fluency: 5", ""),
        GOOD + "\nfluency: 1",
        "fluency: ...\nfactuality: ...\ninformativeness: ...",
    ],
)
def test_answers_that_say_nothing_or_two_things(text):
    assert read_answer(text, GRADES) is None


def test_a_judge_sees_what_people_see(tmp_path):
    sheet = read_sheet(json_lines.write(tmp_path / "a.jsonl", *explanations(1)), Fields())
    text = prompt(sheet.items[1], sheet.scale)
    assert text.startswith(
        "Question:\nCan fish 0 fly?\n\nOptions:\n(A) yes\n(B) no\n\nRight answer:"
    )
    assert "<text>\nExplanation:\nFish 0 swims, says one of 7 letters.\n</text>" in text
    assert "- factuality: Is what it says true?" in text
    assert text.endswith(
        "end with a line for each:\nfluency: ...\nfactuality: ...\ninformativeness: ..."
    )
    assert not any(source in text for source in SOURCES)
    correction = read_sheet(json_lines.write(tmp_path / "b.jsonl", CORRECTION), Fields()).items[0]
    assert "Wrong solution:\nStep 1: 2 + 3 = 6." in prompt(correction, VERDICT)


class _Client(Client):
    """Answers in turn, and asks nobody."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def complete_all(self, requests):
        for key, request in requests:
            self.asked.append(request)
            answer = self.answers.pop(0)
            yield key, Completion(answer, "stop") if isinstance(answer, str) else answer


def test_it_goes_on_and_tells_what_is_left_out(tmp_path):
    sheet = read_sheet(json_lines.write(tmp_path / "a.jsonl", *explanations(1)), Fields())
    path = sheet.beside("judged.jsonl")
    with RatingStore(path, sheet.scale, "model") as store:
        client = _Client(GOOD, "No.", Fault("timeout", "no answer within 1 s"))
        found = judge(sheet, store, client, "m")
    assert (found.rated, found.before) == (1, 0)
    assert found.unreadable == ["q0 of teacher"]
    assert found.failed == {"q0 of other_model": "no answer within 1 s"}
    assert all(r.temperature == 0 and r.endpoint == "chat/completions" for r in client.asked)
    with RatingStore(path, sheet.scale, "model") as store:
        found = judge(sheet, store, _Client(GOOD, GOOD), "m")
    assert (found.rated, found.before, found.unreadable) == (2, 1, [])
    ratings = read_ratings(path)
    assert {r.kind for r in ratings} == {"model"}
    assert len(ratings) == 3
    assert json.loads(path.read_text().splitlines()[0])["rater"] == "m"


def test_a_fault_of_every_request_ends_it(tmp_path):
    sheet = read_sheet(json_lines.write(tmp_path / "a.jsonl", *explanations(1)), Fields())
    refused = Fault("HTTP 401", "HTTP 401: no key", retryable=False, of_the_run=True)
    ended = pytest.raises(UserError, match="the judge m: HTTP 401: no key")
    with RatingStore(sheet.beside("judged.jsonl"), sheet.scale, "model") as store, ended:
        judge(sheet, store, _Client(refused), "m")


def test_the_name_of_a_judge():
    assert server_and_name("openai:http://a/v1,b,c") == ("http://a/v1", "b,c")
    for wrong in ("", "http://a/v1,b", "openai:http://a/v1", "openai:,b"):
        with pytest.raises(UserError, match=r"expected a server's URL and a model's name, such as"):
            server_and_name(wrong)
