"""Exam questions of two kinds, a fact to be known and a sum to be done, in English and Chinese.

Each has all that TeacherLM's texts are made of: fundamentals, reasoning, a common mistake.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

from tlm_jax.data.generators.draws import SPLITS, Draws, split_of
from tlm_jax.data.records import LETTERS, Record
from tlm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ExamItems:
    """Which questions to make.

    Attributes:
      languages: of the questions, each equally often.
      kinds: "fact" (the capital of a country) and "sum" (of two numbers below 50), each equally
        often.
      num_options: of each question.
    """

    languages: Sequence[str] = ("en", "zh")
    kinds: Sequence[str] = ("fact", "sum")
    num_options: int = 4

    def __post_init__(self) -> None:
        if not self.languages or not set(self.languages) <= {"en", "zh"}:
            raise UserError(f"ExamItems.languages is {self.languages!r}, expected 'en' or 'zh'")
        if not self.kinds or not set(self.kinds) <= {"fact", "sum"}:
            raise UserError(f"ExamItems.kinds is {self.kinds!r}, expected 'fact' or 'sum'")
        if not 2 <= self.num_options <= 6:
            raise UserError(f"ExamItems.num_options is {self.num_options}, expected 2 to 6")


def exam_item(items: ExamItems, split: str, index: int) -> Record:
    """Returns item `index` of a split ('train', 'validation' or 'test'), the same one always.

    What decides the split is the kind, the question and its options in their order: held-out
    questions ask known facts among other options, and other sums.
    """
    if split not in SPLITS:
        raise UserError(f"ExamItems has the splits {', '.join(SPLITS)}, not {split!r}.")
    draws = Draws("exam item", split, index)
    language, kind = draws.choice(items.languages), draws.choice(items.kinds)
    make = _fact if kind == "fact" else _sum
    while True:
        item = make(draws, language, items.num_options)
        if split_of((kind, item.asks, item.options)) == split:
            break
    subject = _SUBJECTS[language][kind]
    return Record(
        id=f"exam-{split}-{index}",
        dataset="exam",
        split=split,
        kind="choice",
        question=item.question,
        options=item.options,
        answer=item.answer,
        rationale=item.manual,
        meta={"type": kind, "language": language, "subject": subject},
        generated={"cot": item.cot, "error": item.error, "fundamental": item.fundamental},
    )


def field_of(text: str) -> str | None:
    """Returns the field in whose form a text is written ("cot", ...), or None where it is in none.

    Tells whether a teacher writes what it has specialised in; whether it is true, it does not.
    """
    for field, pattern in _FORMS.items():
        if pattern.fullmatch(text.strip()):
            return field
    return None


class _Item(NamedTuple):
    """A question; `asks` is the same in both languages."""

    asks: object
    question: str
    options: tuple[str, ...]
    answer: str
    manual: str
    cot: str
    error: str
    fundamental: str


def _fact(draws: Draws, language: str, num_options: int) -> _Item:
    places = _different(draws, len(_COUNTRIES), num_options)
    right = draws.below(num_options)
    column = 0 if language == "en" else 2
    options = tuple(_COUNTRIES[place][column + 1] for place in places)
    country, capital = _COUNTRIES[places[right]][column : column + 2]
    other, wrong = _COUNTRIES[places[right - 1]][column : column + 2]
    letter = LETTERS[right]
    if language == "en":
        return _Item(
            places[right],
            f"Which city is the capital of {country}?",
            options,
            letter,
            f"{capital} is the capital of {country}.",
            f"The capital of {country} is {capital}. {capital} is option {letter}.",
            f"To take {wrong}, which is the capital of {other}.",
            f"Each country has a capital. That of {country} is {capital}.",
        )
    return _Item(
        places[right],
        f"{country}的首都是哪座城市？",
        options,
        letter,
        f"{capital}是{country}的首都。",
        f"{country}的首都是{capital}。{capital}是选项{letter}。",
        f"误选{wrong}，它是{other}的首都。",
        f"每个国家有一个首都。{country}的首都是{capital}。",
    )


def _sum(draws: Draws, language: str, num_options: int) -> _Item:
    first, second = draws.between(5, 49), draws.between(5, 49)
    ones, tens = first % 10 + second % 10, first // 10 * 10 + second // 10 * 10
    total = first + second
    carries = ones >= 10
    mistaken = total - 10 if carries else total + 10
    values = [mistaken, total + 1, total - 1, total + 2, total - 2][: num_options - 1]
    values = [values[place] for place in _different(draws, len(values), len(values))]
    right = draws.below(num_options)
    values.insert(right, total)
    letter = LETTERS[right]
    if language == "en":
        return _Item(
            (first, second),
            f"What is {first} + {second}?",
            tuple(str(value) for value in values),
            letter,
            f"{first} + {second} = {total}.",
            f"{first % 10} + {second % 10} = {ones}. {first // 10 * 10} + {second // 10 * 10} = "
            f"{tens}. {tens} + {ones} = {total}. {total} is option {letter}.",
            f"To {'forget' if carries else 'add'} a ten that is carried: {mistaken}.",
            "Add ones to ones and tens to tens. Ten ones make a ten.",
        )
    wide = [_wide(value) for value in (first, second, total, ones, tens, mistaken)]
    parts = [_wide(v) for v in (first % 10, second % 10, first // 10 * 10, second // 10 * 10)]
    return _Item(
        (first, second),
        f"{wide[0]}加{wide[1]}等于多少？",
        tuple(_wide(value) for value in values),
        letter,
        f"{wide[0]}＋{wide[1]}＝{wide[2]}。",
        f"{parts[0]}＋{parts[1]}＝{wide[3]}。{parts[2]}＋{parts[3]}＝{wide[4]}。"
        f"{wide[4]}＋{wide[3]}＝{wide[2]}。{wide[2]}是选项{letter}。",
        f"误{'忘' if carries else '加'}进位的十，得{wide[5]}。",
        "个位加个位，十位加十位。十个一是一个十。",
    )


def _different(draws: Draws, below: int, count: int) -> list[int]:
    """Returns different numbers in a random order."""
    left = list(range(below))
    return [left.pop(draws.below(len(left))) for _ in range(count)]


def _wide(value: int) -> str:
    """Returns a number in full-width digits, as Chinese exams print it."""
    return "".join(chr(ord("０") + int(digit)) for digit in str(value))


_SUBJECTS = {
    "en": {"fact": "geography", "sum": "arithmetic"},
    "zh": {"fact": "地理", "sum": "算术"},
}
_COUNTRIES = (
    ("France", "Paris", "法国", "巴黎"),
    ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"),
    ("Greece", "Athens", "希腊", "雅典"),
    ("Norway", "Oslo", "挪威", "奥斯陆"),
    ("Poland", "Warsaw", "波兰", "华沙"),
    ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Hungary", "Budapest", "匈牙利", "布达佩斯"),
    ("Egypt", "Cairo", "埃及", "开罗"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"),
    ("Cuba", "Havana", "古巴", "哈瓦那"),
    ("Peru", "Lima", "秘鲁", "利马"),
    ("Canada", "Ottawa", "加拿大", "渥太华"),
    ("China", "Beijing", "中国", "北京"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("Iran", "Tehran", "伊朗", "德黑兰"),
    ("Nepal", "Kathmandu", "尼泊尔", "加德满都"),
    ("Thailand", "Bangkok", "泰国", "曼谷"),
    ("Iceland", "Reykjavik", "冰岛", "雷克雅未克"),
    ("Ireland", "Dublin", "爱尔兰", "都柏林"),
    ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("Denmark", "Copenhagen", "丹麦", "哥本哈根"),
    ("Chile", "Santiago", "智利", "圣地亚哥"),
    ("Vietnam", "Hanoi", "越南", "河内"),
)
_FORMS = {
    "cot": re.compile(
        r"The capital of \w+ is \w+\. \w+ is option [A-F]\.|.+的首都是.+。.+是选项[A-F]。"
        r"|\d+ \+ \d+ = \d+\. .+\. \d+ is option [A-F]\.|\d+＋\d+＝\d+。.+。\d+是选项[A-F]。"
    ),
    "error": re.compile(
        r"To take \w+, which is the capital of \w+\.|误选.+，它是.+的首都。"
        r"|To (?:forget|add) a ten that is carried: \d+\.|误[忘加]进位的十，得\d+。"
    ),
    "fundamental": re.compile(
        r"Each country has a capital\. That of \w+ is \w+\.|每个国家有一个首都。.+的首都是.+。"
        r"|Add ones to ones and tens to tens\. Ten ones make a ten\."
        r"|个位加个位，十位加十位。十个一是一个十。"
    ),
}
