"""Arithmetic word problems of two to six steps with a written rationale, endless by index."""

from __future__ import annotations

from dataclasses import dataclass

from tlm_jax.data.generators import scenarios_held_out, scenarios_people, scenarios_things
from tlm_jax.data.generators.draws import SPLITS, Draws, split_of
from tlm_jax.data.generators.stories import VARIABLES, Part, Scenario, Step
from tlm_jax.data.records import Record
from tlm_jax.errors import UserError, nearest

SCENARIOS = (
    scenarios_things.COLLECTION,
    scenarios_things.SHOPPING,
    scenarios_things.BAKING,
    scenarios_things.SHARING,
    scenarios_things.CRAFT,
    scenarios_things.GARDEN,
    scenarios_people.WAGES,
    scenarios_people.SAVINGS,
    scenarios_people.BUS,
    scenarios_people.TRAVEL,
    scenarios_people.CLASSROOM,
    scenarios_people.GAME,
)
HELD_OUT = (scenarios_held_out.FARM, scenarios_held_out.THEATER, scenarios_held_out.POST)

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@dataclass(frozen=True)
class WordProblems:
    """Which problems to make.

    Attributes:
      seed: another seed gives other problems; no seed's training problems are another's test.
      min_steps, max_steps: operations needed, between 1 and 6, every count equally often.
      max_number: no number in the question or the rationale is larger.
      max_term: no number added or taken away at one time is larger.
      max_factor: no number multiplied or divided by is larger.
      max_distractors: sentences with a number of no use; 0 to this many, equally often.
      scenarios: names of the scenarios to use, in all splits but 'ood'; None: all of them.
    """

    seed: int = 0
    min_steps: int = 2
    max_steps: int = 6
    max_number: int = 1000
    max_term: int = 100
    max_factor: int = 12
    max_distractors: int = 1
    scenarios: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.min_steps <= self.max_steps <= 6:
            raise UserError(
                "Word problems take 1 <= min_steps <= max_steps <= 6, got "
                f"min_steps={self.min_steps}, max_steps={self.max_steps}."
            )
        if self.max_number < 20 or self.max_factor < 2 or self.max_term < 4:
            raise UserError(
                "Word problems take max_number >= 20, max_term >= 4, max_factor >= 2, got "
                f"max_number={self.max_number}, max_term={self.max_term}, "
                f"max_factor={self.max_factor}."
            )
        if self.max_distractors < 0:
            raise UserError(f"max_distractors cannot be negative: {self.max_distractors}.")
        for name in self.scenarios or ():
            if name not in _BY_NAME:
                raise UserError(
                    f"Unknown word problem scenario {name!r}.{nearest(name, _BY_NAME)} "
                    f"Known: {', '.join(_BY_NAME)}."
                )


EASY = WordProblems(
    min_steps=2,
    max_steps=2,
    max_number=20,
    max_term=9,
    max_factor=4,
    max_distractors=0,
    scenarios=("savings", "bus", "game"),
)
"""Small numbers and few situations: what a tiny model learns in minutes, given rationales."""


def word_problem(problems: WordProblems, split: str, index: int) -> Record:
    """Returns problem `index` of a split, the same one always.

    The splits share no problem: the scenario, its parts and all its numbers decide the split, so a
    held-out problem is new in its numbers whatever its names and wording. 'ood' problems use
    scenarios that no other split uses.

    The rationale has one sentence for each step, each with its equation, divided by newlines.
    """
    if split not in (*SPLITS, "ood"):
        raise UserError(
            f"Word problems have the splits {', '.join(SPLITS)} and ood, not {split!r}."
        )
    draws = Draws("word_problems", problems.seed, split, index)
    plan = _plan(problems, split, draws)
    question, rationale = _render(problems, plan, draws)
    return Record(
        id=f"word_problems-{problems.seed}-{split}-{index}",
        dataset="word_problems",
        split=split,
        kind="numeric",
        question=question,
        options=None,
        answer=str(plan.answer),
        rationale=rationale,
        meta={"scenario": plan.scenario.name, "num_steps": plan.num_steps},
    )


@dataclass(frozen=True)
class _Plan:
    """A problem before it has words: its parts, their numbers, and the result of every step."""

    scenario: Scenario
    parts: tuple[Part, ...]
    numbers: tuple[dict[str, int], ...]
    answer: int

    @property
    def num_steps(self) -> int:
        return sum(len(part.steps) for part in self.parts)


def _plan(problems: WordProblems, split: str, draws: Draws) -> _Plan:
    """Draws plans until one can be calculated and belongs to the split."""
    if split == "ood":
        scenarios = HELD_OUT
    elif problems.scenarios is None:
        scenarios = SCENARIOS
    else:
        scenarios = tuple(_BY_NAME[name] for name in problems.scenarios)
    while True:
        num_steps = draws.between(problems.min_steps, problems.max_steps)
        plan = _try_plan(problems, draws.choice(scenarios), num_steps, draws)
        if plan is None:
            continue
        if split == "ood" or split_of(_content(plan)) == split:
            return plan


def _content(plan: _Plan) -> tuple[object, ...]:
    """Returns what makes a problem this problem, without names, nouns, wording and distractors."""
    stated = [part.wordings[0] for part in plan.parts]
    return plan.scenario.name, stated, [list(numbers.items()) for numbers in plan.numbers]


def _try_plan(
    problems: WordProblems, scenario: Scenario, num_steps: int, draws: Draws
) -> _Plan | None:
    """Returns a plan with this many steps, or None where the numbers drawn do not work out."""
    opening = draws.choice([p for p in scenario.openings if len(p.steps) <= num_steps])
    steps_left = num_steps - len(opening.steps)
    closing = draws.choice([p for p in scenario.closings if len(p.steps) <= steps_left])
    steps_left -= len(closing.steps)
    parts, numbers, value = [], [], 0
    previous = None
    while True:
        if not parts:
            part = opening
        elif steps_left:
            fitting = [
                p for p in scenario.events if len(p.steps) <= steps_left and p is not previous
            ]
            if not fitting:
                return None
            part = previous = draws.choice(fitting)
            steps_left -= len(part.steps)
        else:
            part = closing
        calculated = _calculate(problems, part, value, draws)
        if calculated is None:
            return None
        parts.append(part)
        numbers.append(calculated)
        value = calculated["v"]
        if part is closing:
            return _Plan(scenario, tuple(parts), tuple(numbers), value)


def _calculate(
    problems: WordProblems, part: Part, value: int, draws: Draws
) -> dict[str, int] | None:
    """Draws the numbers of a part and returns them with the results of its steps, or None.

    Results are keyed by step number as 'c0', 'c1', ..., the operands as 'a0', 'b0', ...; 'v' is
    the running value afterwards.
    """
    known: dict[str, int] = {"v": value}
    if not part.steps and "{n}" in part.wordings[0]:
        known["n"] = known["v"] = draws.between(3, min(problems.max_term * 2, problems.max_number))
    for i, step in enumerate(part.steps):
        left = int(step.left) if step.left.isdigit() else known.get(step.left)
        right = int(step.right) if step.right.isdigit() else known.get(step.right)
        operands = _operands(problems, step, left, right, draws)
        if operands is None:
            return None
        a, b = operands
        result = a + b if step.op == "+" else a - b if step.op == "-" else a * b
        if step.op == "/":
            result = a // b
        if not 2 <= result <= problems.max_number:
            return None
        known[step.left], known[step.right] = a, b
        known[f"a{i}"], known[f"b{i}"], known[f"c{i}"] = a, b, result
        known[step.result] = result
    return known


def _operands(
    problems: WordProblems, step: Step, left: int | None, right: int | None, draws: Draws
) -> tuple[int, int] | None:
    """Returns both operands of a step, drawing those that are not known yet, or None."""
    most, term, factor = problems.max_number, problems.max_term, problems.max_factor
    if step.op == "/":
        assert left is not None
        divisors = [right] if right else range(2, min(factor, left // 2) + 1)
        exact = [d for d in divisors if left % d == 0]
        return (left, draws.choice(exact)) if exact else None
    if left is None:
        # A minuend leaves a difference of at least 2; a summand or factor leaves room for the rest.
        low = 2 + (right or 2) if step.op == "-" else 2
        high = {"+": min(term, most - 2), "-": min(most, low + term), "*": factor}[step.op]
        if low > high:
            return None
        left = draws.between(low, high)
    if right is None:
        room = {"+": most - left, "-": left - 2, "*": most // left}[step.op]
        high = min(room, factor if step.op == "*" else term)
        if high < 2:
            return None
        right = draws.between(2, high)
    return left, right


def _render(problems: WordProblems, plan: _Plan, draws: Draws) -> tuple[str, str]:
    """Returns the question and the rationale of a plan in words."""
    words = _words(plan.scenario, draws)
    story, steps = [], []
    for part, numbers in zip(plan.parts, plan.numbers, strict=True):
        words.update({name: str(numbers[name]) for name in VARIABLES if name in numbers})
        story.append(draws.choice(part.wordings).format_map(words))
        words["told"] = story[-1].removesuffix(".")
        for i, step in enumerate(part.steps):
            a, b, c = numbers[f"a{i}"], numbers[f"b{i}"], numbers[f"c{i}"]
            words["eq"] = f"{a} {step.op} {b} = {c}"
            sentence = step.sentence.format_map(words)
            steps.append(sentence)
    spare = list(plan.scenario.distractors)
    for _ in range(min(draws.below(problems.max_distractors + 1), len(spare))):
        words["d"] = str(draws.between(2, max(9, problems.max_term)))
        sentence = spare.pop(draws.below(len(spare))).format_map(words)
        story.insert(draws.between(1, len(story) - 1), sentence)
    return " ".join(story), "\n".join(steps)


def _words(scenario: Scenario, draws: Draws) -> dict[str, str]:
    """Draws the people and the nouns of a problem."""
    first = draws.below(len(_NAMES))
    second = (first + 1 + draws.below(len(_NAMES) - 1)) % len(_NAMES)
    name = _NAMES[first]
    pronouns = _SHE if first < _NUM_SHE else _HE
    return {"name": name, "other": _NAMES[second], **pronouns, **draws.choice(scenario.words)}


_SHE = {"he": "she", "He": "She", "his": "her", "His": "Her", "him": "her"}
_HE = {"he": "he", "He": "He", "his": "his", "His": "His", "him": "him"}
_NAMES = (
    *("Anna", "Mia", "Sara", "Nina", "Lucy", "Emma", "Rosa", "Aisha", "Mei", "Julia"),
    *("Tom", "Ben", "Omar", "Leo", "Sam", "Paul", "Kofi", "Ravi", "Hugo", "Diego"),
)
_NUM_SHE = 10
