"""Questions of an evaluation to be read: what was asked once, what each checkpoint wrote beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlm_jax.evaluation.outcomes import Question, Sample
from tlm_jax.reports.html import Html, details, element, join
from tlm_jax.reports.marks import marked_answer

Answers = Mapping[str, Question]
"""What each checkpoint, by name, made of one question."""


def question_block(answers: Answers, *, order: int = 0, hardness: int = 0) -> Html:
    """Returns a line that opens to the prompt and every sample, one column a checkpoint.

    Args:
      answers: at least one; id, prompt and right answer are the same in all of them.
      order: the question's place in its task, for sorting in the page.
      hardness: its place among the hardest.
    """
    question = next(iter(answers.values()))
    columns = [_column(name, answer, len(answers) > 1) for name, answer in answers.items()]
    return element(
        "details",
        element(
            "summary",
            element("span", *(_verdict(answer) for answer in answers.values()), class_="verdicts"),
            element("span", question.id, class_="mono"),
            element("span", "right answer ", element("b", question.gold), class_="gold"),
            _told(question),
        ),
        element("pre", question.prompt or "(empty)", class_="prompt"),
        element("div", *columns, class_="columns"),
        class_="question",
        data_right="".join("01"[answer.right] for answer in answers.values()),
        data_order=order,
        data_hardness=hardness,
    )


def question_list(title: str, blocks: Sequence[Html], names: Sequence[str]) -> Html:
    """Returns blocks under a heading that opens, with controls to find, choose and sort.

    Args:
      title: says what they are and how many.
      blocks: of `question_block`.
      names: of the checkpoints, in the blocks' order.
    """
    choices = [element("option", "all answers", value="")]
    for place, name in enumerate(names):
        choices.append(element("option", f"{name} wrong", value=f"{place}0"))
        choices.append(element("option", f"{name} right", value=f"{place}1"))
    controls = element(
        "div",
        element("input", type="search", placeholder="find text", aria_label="find text"),
        element("select", *choices, aria_label="which answers"),
        element(
            "select",
            element("option", "in the task's order", value="order"),
            element("option", "hardest first", value="hardness"),
            aria_label="order",
        ),
        element("output", f"{len(blocks):,} shown"),
        class_="controls",
    )
    return details(title, controls, element("div", *blocks, class_="blocks"))


def size_of(answers: Answers) -> int:
    """Returns about how many characters a question's block shows."""
    texts = (sample.text for answer in answers.values() for sample in answer.samples)
    return sum(map(len, texts)) + len(next(iter(answers.values())).prompt)


def _verdict(question: Question) -> Html:
    text, kind = ("✓ right", "good") if question.right else ("✗ wrong", "bad")
    return element("span", text, class_=f"verdict {kind}")


def _told(question: Question) -> Html:
    told = [
        text if isinstance(value, str) else f"{value:,} {name}"
        for name, value in question.traits.items()
        for text in [str(value)]
    ]
    return element("span", join(told, " · "), class_="traits")


def _column(name: str, question: Question, several: bool) -> Html:
    answer = element("i", "no answer") if question.answer is None else element("b", question.answer)
    facts = [join(["answer ", answer])]
    if len(question.samples) > 1:
        right = sum(sample.correct for sample in question.samples)
        facts.append(join([f"{right:,} of {len(question.samples):,} samples right"]))
    if question.margin is not None:
        facts.append(join([f"margin\u00a0{question.margin:+.3f}"]))
    return element(
        "div",
        element(
            "p",
            *([element("span", name, class_="name"), " "] if several else []),
            _verdict(question),
            " ",
            join(facts, " · "),
            class_="facts",
        ),
        *(_sample(sample, len(question.samples) > 1) for sample in question.samples),
        class_="column",
    )


def _sample(sample: Sample, several: bool) -> Html:
    cut = None if sample.finished else element("i", " [cut at the length limit]")
    kind = ("good" if sample.correct else "bad") if several else ""
    text = marked_answer(sample.text, sample.extracted) if sample.text else "(empty)"
    return element("pre", text, cut, class_=f"sample {kind}".strip())


STYLE = """
.question { margin: 0; border-width: 0 0 1px; border-radius: 0; border-color: var(--grid); }
.question:last-child { border-bottom: 0; }
.question > summary { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline;
  padding: 8px 0; font-weight: 400; font-size: 14px; overflow-wrap: anywhere; }
.question > summary::before { content: "▸"; color: var(--muted); }
.question[open] > summary::before { content: "▾"; }
.question > :not(summary) { padding: 0 0 12px; }
.question .gold, .question .mono { max-width: 100%; }
.traits { color: var(--muted); font-size: 13px; }
.verdicts { display: inline-flex; gap: 6px; }
.verdict { font-weight: 600; padding: 0 8px; border-radius: 6px; font-size: 13px;
  white-space: nowrap; }
.verdict.good { background: var(--good-wash); } .verdict.bad { background: var(--bad-wash); }
.question .prompt { color: var(--soft); border-left: 3px solid var(--line); padding: 0 0 0 10px;
  margin-bottom: 12px; max-height: 18em; overflow-y: auto; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr));
  gap: 12px; }
.column { min-width: 0; background: var(--surface); border: 1px solid var(--grid);
  border-radius: 8px; padding: 10px 12px; }
.facts { font-size: 13px; color: var(--soft); margin: 0 0 6px; overflow-wrap: anywhere; }
.facts .name { font-weight: 600; color: var(--ink); }
.sample { border-top: 1px solid var(--grid); padding-top: 6px; margin-top: 6px; }
.sample.good, .sample.bad { color: inherit; border-left: 3px solid var(--bad); padding-left: 8px; }
.sample.good { border-left-color: var(--good); }
.sample i { color: var(--muted); }
.controls { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; }
.controls input, .controls select { font: inherit; font-size: 14px; color: var(--ink);
  background: var(--surface); border: 1px solid var(--line); border-radius: 6px; padding: 4px 8px;
  max-width: 100%; }
.controls output { color: var(--muted); font-size: 13px; }
"""

SCRIPT = """
for (const controls of document.querySelectorAll(".controls")) {
  const [find, which, order] = controls.querySelectorAll("input, select");
  const list = controls.nextElementSibling, blocks = [...list.children];
  const shown = () => {
    const text = find.value.toLowerCase(), [place, right] = which.value;
    let count = 0;
    for (const block of blocks) {
      const fits = (!which.value || block.dataset.right[place] === right)
        && (!text || block.textContent.toLowerCase().includes(text));
      block.hidden = !fits;
      count += fits;
    }
    controls.querySelector("output").textContent = count.toLocaleString("en") + " shown";
  };
  find.addEventListener("input", shown);
  which.addEventListener("change", shown);
  order.addEventListener("change", () => {
    blocks.sort((a, b) => a.dataset[order.value] - b.dataset[order.value]);
    list.append(...blocks);
  });
}
"""
