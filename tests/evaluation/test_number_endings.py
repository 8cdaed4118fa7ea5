"""Endings of solutions as models write them, with the number that a person reads in each."""

import re

import pytest

from tlm_jax.data.records import read_records
from tlm_jax.evaluation.number_answers import extract_number
from tlm_jax.evaluation.numbers import evaluate

ENDINGS = [
    ("Answer: Janet makes 18 dollars in 1 day", 18),
    ("Answer: Janet makes 18 dollars in 1 day.", 18),
    ("Answer: 18 dollars in 1 day", 18),
    ("Answer: In 1 day, Janet makes 18 dollars.", 18),
    ("Answer: In 1 day Janet makes 18 dollars.", 18),
    ("Answer: She earns $18 every day at the market.", 18),
    ("Answer: It takes 3 bolts in total.", 3),
    ("Answer: He runs 540 meters over 3 weeks.", 540),
    ("Answer: 18 dollars is what Janet makes in 1 day.", 18),
    ("Answer: 3 pens and 4 pens make 7 pens.", 7),
    ("Answer: The train travels 120 miles in 2 hours", 120),
    ("Answer: Each of the 3 children gets 6 apples.", 6),
    ("Answer: Tom needs 12 eggs for 4 people.", 12),
    ("Answer: $18 per day", 18),
    ("Answer: 18 dollars/day", 18),
    ("Answer: 60 miles per hour", 60),
    ("Answer: He drove 60 miles per hour for 3 hours", 60),
    ("Answer: 5 apples for 3 dollars", 5),
    ("Answer: There are 20 out of 50 students left.", 20),
    ("Answer: 20 of the 50 students", 20),
    ("Answer: She will be 30 in 5 years.", 30),
    ("Answer: In 5 years, she will be 30.", 30),
    ("The answer is 5 apples, which cost $10 in total", 5),
    ("The answer is 5 apples which cost $10 in total.", 5),
    ("The answer is that Janet makes 18 dollars in 1 day.", 18),
    ("The answer is Janet makes 18 dollars in 1 day.", 18),
    ("The answer is that in 1 day Janet makes 18 dollars.", 18),
    ("The answer is: In 5 years, Tom will be 30.", 30),
    ("The answer is in 3 hours.", 3),
    ("The answer is after 3 hours.", 3),
    ("The answer is 18 dollars for 3 hours of work.", 18),
    ("The answer is 3 pens and 4 pens make 7 pens.", 7),
    ("The answer is 20% of 50 is 10.", 10),
    ("The answer is 18 and that is 3 more than 15.", 18),
    ("The final answer is 2 more than 16, so 18.", 18),
    ("The answer is 16 + 2 = 18 dollars in 1 day.", 18),
    ("The answer is 16 + 2 = $18 (for 1 day).", 18),
    ("The answer is 18 dollars (9 eggs x $2 each).", 18),
    ("Final answer: Janet earns $18 in 1 day from 9 eggs.", 18),
    ("Final Answer: 70,000 dollars profit on a 200,000 dollar house", 70000),
    ("Final answer: After 3 weeks, James has run 540 meters.", 540),
    ("So the answer is for 4 people you need 12 eggs.", 12),
    ("The answer is that it takes 3 hours to walk 12 miles.", 3),
    ("The answer is 5 hours to walk 12 miles.", 5),
    ("The total is 25 and the answer is 18 because 25 - 7 = 18.", 18),
    ("The answer is $18 per day for 7 days.", 18),
    ("The correct answer is 18, not 20, since 2 eggs broke.", 18),
    ("The answer is 18 years old in 2030.", 18),
    ("She sells 16 - 3 - 4 = 9 eggs. So Janet makes 18 dollars in 1 day.", 18),
    ("So Janet makes 9 * 2 = 18 dollars in 1 day.", 18),
    ("Thus he ran 540 meters in 3 weeks.", 540),
    ("9 * 2 = $18 every day.", 18),
    ("9 * 2 = 18 dollars per day for 1 person.", 18),
    ("He spends a total of $64 on 16 glasses.", 64),
    ("Toulouse, Charleston and Seattle have 260 sheep in 3 cities.", 260),
    ("It takes her 160 minutes to download 200 GB.", 160),
    ("So it takes 160 minutes to download 200 GB.", 160),
    ("In 7 days she makes 126 dollars.", 126),
    ("She has 48 clips and sold 24 in 2 days.", 24),
    ("She ate 3, leaving 5.", 5),
    ("The price rose from 12 to 30.", 30),
    ("The 2 trains meet at 5.", 5),
    ("All 3 boys finish in 10 minutes.", 10),
    ("So 5 boys finish in 10 minutes.", 10),
    ("He finishes in 3 hours.", 3),
    ("If Tom has 5 workers they finish in 10 days.", 10),
    ("He bought 5 and was left with 18.", 18),
    ("The price increased by 5 to 30.", 30),
    ("Each of the 3 friends pays 6 dollars.", 6),
    ("Dividing 18 by 3 gives 6.", 6),
    ("Dividing 18 among 3 friends gives 6 each.", 6),
    ("Of the 50 students, 20 are girls.", 20),
    ("So 20 out of 50 students are girls.", 20),
    ("He will have $500 after 5 months.", 500),
    ("It costs $18 for 3 hours.", 18),
    ("So 3 shirts cost $45.", 45),
    ("He sold 3 shirts for $45.", 45),
    ("That makes 12 + 6 = 18 (in 1 day).", 18),
    ("The total is 18.\n(This took 3 steps.)", 18),
    ("That leaves 20 minutes.", 20),
    ("Marie has to pay $94 for 1 month.", 94),
    ("\\boxed{18} dollars in 1 day", 18),
    ("#### 18 dollars in 1 day", 18),
    ("**18 dollars in 1 day**", 18),
    ("**Answer:** Janet makes **18** dollars in **1** day.", 18),
    ("Answer: Janet makes \\$18 in 1 day", 18),
    ("Answer: $\\$18$ in 1 day", 18),
    (
        "The answer is 18.\n\nTom has 5 apples. He buys 3 more. How many apples does Tom have?\n"
        "5 + 3 = 8. The answer is 8.",
        18,
    ),
    (
        "The answer is 18.\nTom has 5 apples and buys 3 more. How many apples does he have now?\n"
        "The answer is 8.",
        18,
    ),
    (
        "\\boxed{18}\n\nTom has 5 apples. How many apples will he have after buying 3?\n\n"
        "\\boxed{8}",
        18,
    ),
    (
        "Answer: 18\n\nTom has 5 apples. He buys 3 more. How many apples does Tom have?\n\n"
        "Answer: 8",
        18,
    ),
    (
        "The answer is 18.\n\nWait, she also eats 3 eggs. How many are left?\nThe answer is 13.",
        13,
    ),
    ("The answer is 18. Is that right? Let me check. The answer is 20.", 20),
    (
        "How many eggs does she sell? The answer is 9.\nHow much does she make? The answer is 18.",
        18,
    ),
    (
        "The answer is 18.\n\n"
        "Let me check: she has 16 eggs. How many does she sell? 9. The answer is 18.",
        18,
    ),
    (
        "Answer: Wendi needs to give 20 cups of feed in the last meal of the day to her 20 hens.",
        20,
    ),
    ("Answer: Kylar needs to pay $64 for the 16 glasses he wants to buy.", 64),
    ("Answer: Carla's download takes 160 minutes.", 160),
    ("Answer: John is 45 miles from home at the end of 4 hours.", 45),
    ("Answer: Eliza's earnings for this week are $460 for 45 hours.", 460),
    ("Answer: Toula paid a total of $694 for 3 kinds of pastries.", 694),
    ("Answer: It will take 13 years before he starts earning money on the 1 tree.", 13),
    ("Answer: Melanie started with 18 vacuum cleaners.", 18),
    ("Answer: 60% of the 20 students enrolled in hip-hop dance.", 60),
    ("Answer: Claire will eat 7 dozen eggs in 4 weeks.", 7),
    ("Answer: Marissa needs to walk 6 miles per hour for the remaining 6 miles.", 6),
    ("The answer is that Raymond and Samantha have 14 years between them.", 14),
    ("The answer is therefore 125 dollars for 5 days.", 125),
    ("The answer is that he must drive at 60 mph for 2 hours.", 60),
    ("So, in total, she spends $30 a week on 3 kids.", 30),
    ("So the distance is 230 miles after 2 days.", 230),
    ("Therefore, the farmer harvests 4 tons from 8 acres.", 4),
    ("Therefore there are 104 hours of footage in 2 weeks.", 104),
    ("After 3 hours, 12 cars remain.", 12),
    ("After 3 hours there are 12 cars in 2 lots.", 12),
    ("Thus she buys 8 packs for 4 parties.", 8),
    ("Thus 8 packs are needed for 4 parties.", 8),
    ("Thus 8 packs are needed.", 8),
    ("Hence 3 of the 12 balls are red.", 3),
    ("Hence, 25% of the 12 balls are red.", 25),
    ("In all 3 rooms there are 24 chairs.", 24),
    ("She'll have saved $120 by the end of 6 weeks.", 120),
    ("She has $120 left at the end of week 6.", 120),
    ("He is 12 years old now.", 12),
    ("He was 12 years old 4 years ago.", 12),
    ("He will be 12 years old in 4 years.", 12),
    ("He has 5 more apples than Ann.", 5),
    ("The ratio is 3:5, so there are 15 boys.", 15),
    ("They each get 5 slices out of 20.", 5),
    ("They need 5 buses, each with 40 seats.", 5),
    ("The answer is 5 buses with 40 seats each.", 5),
    ("The answer is 5 (rounded up from 4.5).", 5),
    ("The answer is about 4.5, which rounds up to 5.", 5),
    ("4.5 rounds up to 5.", 5),
    ("The answer is 4.5, rounded up to 5 buses.", 5),
    ("Final answer: 5 buses (200/40 = 5)", 5),
    ("Final answer: $1,200 per month, or $14,400 per year", 1200),
    ("The answer is $14,400 per year, or $1,200 per month.", 14400),
    ("It costs $3 per pound for 4 pounds, so $12.", 12),
    ("It costs $3 per pound x 4 pounds = $12 total for 4 pounds.", 12),
    ("She runs 3 sprints 3 times a week for a total of 540 meters.", 540),
    ("Total: 540 meters (3 x 3 x 60)", 540),
    ("Total = 540 meters in 1 week", 540),
    ("Answer: 540 m/week for 1 runner", 540),
    ("Answer: The total cost is 3 x $20 = $60 for 3 days.", 60),
    ("Answer: She has $60 - $20 = $40 left for 2 days.", 40),
    ("Answer: 10 apples and 5 pears = 15 fruits", 15),
    ("Answer: 10 apples and 5 pears, 15 fruits in total", 15),
    ("Answer: 10 red, 5 blue, so 15 in total.", 15),
    ("The answer is 10 + 5 = 15 fruits in 2 baskets.", 15),
    ("The answer is 15 fruits: 10 apples and 5 pears.", 15),
    ("**The answer is 15 fruits** (10 apples, 5 pears).", 15),
    ("The answer is 15 fruits\n\n10 apples and 5 pears.", 15),
    ("So the answer is $\\boxed{15}$ fruits in 2 baskets.", 15),
    ("Answer:\n15 fruits in 2 baskets", 15),
    ("Answer:\n\nShe has 15 fruits in 2 baskets.", 15),
    ("### Answer\nShe has 15 fruits in 2 baskets.", 15),
    ("Answer: Yes, she has 15 fruits in 2 baskets.", 15),
    ("The result is 15 fruits in 2 baskets.", 15),
    ("she gets 15 in 2020", 15),
]
# People differ in these, or need the question; not read as one of them would.
AMBIGUOUS = [
    ("John pays $18 for 2 people at $9 each.", 9),
    ("He sold 5 shirts for $45.", 45),
    ("She has 3 bags of 5 apples.", 5),
    ("Nine cheesecakes need 57 more eggs than 5 chocolate cakes.", 5),
    ("Tom has 5 apples and Ann has 8.", 8),
    ("Answer: Josh makes a profit of $70,000 on a house worth $200,000.", 200000),
    ("Answer: 1 lemon tree pays for itself after 13 years.", 1),
    ("The answer is 15 fruits - 10 apples and 5 pears.", 5),
]


@pytest.mark.parametrize(("text", "number"), [*ENDINGS, *AMBIGUOUS])
def test_a_person_reads(text, number):
    assert extract_number(text) == number


def _last_sentence(solution):
    lines = [line for line in solution.split("\n") if line.strip()]
    return re.split(r"(?<=[.!?])\s+", lines[-1].strip())[-1]


@pytest.mark.parametrize(
    ("frame", "right"), [("{}", 1303), ("Answer: {}", 1297), ("The answer is {}", 1287)]
)
def test_last_sentences_that_people_wrote(shared_dir, frame, right):
    """Of 1,319 (GSM8K's test set without its `####`); 1,283, 1,277 and 1,132 by the last number."""
    found = 0
    for record in read_records(shared_dir / "data/gsm8k_test.jsonl.gz"):
        solution = re.sub(r"<<[^>]*>>", "", record.rationale)
        text = frame.format(solution if frame == "{}" else _last_sentence(solution))
        number, gold = extract_number(text), evaluate(record.answer)
        found += number is not None and abs(number - gold) <= 1e-6 * max(1, abs(gold))
    assert found == right
