"""Two checkpoints on two tasks in three modes, with texts that try to break a page."""

import random

from tlm_jax.evaluation.outcomes import Outcome, Question, Sample, majority_question

EVIL = '<script>alert("x")</script><b>bold</b> & "quotes" \x00\ud800'
LONG_WORD = "w" * 300


def _sample(generator, gold, right, name):
    value = gold if right else str(int(gold) + generator.randint(1, 9))
    if not right and generator.random() < 0.2:
        return Sample(f"I do not know {name}.", None, False, finished=False)
    return Sample(
        f"First {name} has {gold} apples and gives away 3.\nThen 2 * 4 = 8 are left over.\n"
        f"The answer is {value}.",
        value,
        right,
    )


def _question(generator, number, strength, mode):
    steps = 1 + number % 8
    gold = str(10 + number)
    traits = {"words": 10 + 7 * (number % 23), "steps": steps, "level": f"Level {1 + number % 5}"}
    name = "Ann" if number % 3 else "Bob"
    prompt = f"Q: {name} has {gold} apples. " + "She buys some more. " * steps + "How many?\nA:"
    if number == 0:
        prompt, name = f"Q: {EVIL} {LONG_WORD}", EVIL
    chance = strength - 0.08 * steps
    if mode == "self_consistency":
        samples = [_sample(generator, gold, generator.random() < chance, name) for _ in range(8)]
        return majority_question(f"gsm8k-{number}", prompt, gold, samples, traits)
    right = generator.random() < chance
    sample = _sample(generator, gold, right, name)
    margin = generator.random() * (1 if right else -1)
    return Question(
        f"gsm8k-{number}", prompt, gold, sample.extracted, right, (sample,), traits, margin
    )


def example_outcomes(num_questions=120):
    """Returns outcomes that are the same in every run."""
    outcomes = []
    for strength, checkpoint in ((0.7, "checkpoint_10000"), (0.95, "a_longer_name_of_a_run")):
        for task in ("gsm8k_cot_zero_shot", "mmlu_answer_in_context"):
            for mode in ("greedy", "self_consistency"):
                generator = random.Random(f"{checkpoint} {task} {mode}")
                questions = tuple(
                    _question(generator, n, strength, mode) for n in range(num_questions)
                )
                outcomes.append(Outcome(checkpoint, task, mode, questions, ungraded=3))
    return outcomes
