"""The number that a sentence of several states, by how it is built."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tlm_jax.evaluation.quantities import Quantity, quantities


def stated(sentence: str) -> Quantity | None:
    """Returns the number that a plain text states last, without what tells time, place or share.

    `Janet makes 18 dollars in 1 day` states 18: where a verb, `=` or `:` has an object, the numbers
    behind it that a preposition brings (`in 1 day`, `for 2 people`, `out of 50`) are adjuncts. So
    is an infinitive behind `takes 3 hours` (`to walk 12 miles`), and `18 is what she makes ...`
    states its subject. A price behind a preposition (`3 shirts for $45`) is as likely the answer as
    what it buys, and stays the last number.
    """
    found = list(quantities(sentence))
    if not found:
        return None
    identified = _IDENTIFIED.match(sentence[found[0].end :])
    if identified and not _WORD.search(sentence[: found[0].start]):
        return found[0]
    last = len(found) - 1
    while last and (earlier := _object_of_adjunct(sentence, found, last)) is not None:
        last = earlier
    return found[last]


def main_clause(sentence: str) -> str:
    """Returns a sentence that does not begin with a number from where its statement begins.

    What comes before is left out: an adjunct (`In 5 years, Tom will be 30`; `in 3 hours` alone is
    all there is), a clause of condition or reason (`Since ..., `), and with `=` in what follows
    also the premises of `..., so he needs 40 / 10 = 4 days`. Behind `because` nothing is stated.
    """
    if begins_with_number(sentence):
        return sentence
    start = _behind_front(sentence)
    sentence = sentence[start:]
    reason = _BEGINS_REASON.search(sentence)
    clause = sentence[: reason.start()] if reason else sentence
    premises = [m.end() for m in _BEFORE_RESULT.finditer(clause, 0, max(clause.rfind("="), 0))]
    return sentence[premises[-1] :] if premises else sentence


def begins_with_number(text: str) -> bool:
    """Whether a plain text begins with a number, its sign or currency, or with `x =`."""
    return _NUMBER_FIRST.match(text) is not None


def _behind_front(sentence: str) -> int:
    """Returns where a sentence goes on behind what is put in front of it; 0 where nothing is."""
    if _FRONT.match(sentence) is None:
        return 0
    for comma in _COMMA.finditer(sentence):
        if DIGIT.search(sentence[: comma.start()]) and _has_object(sentence[comma.end() :]):
            return comma.end()
    found = [q for _, q in zip(range(2), quantities(sentence))]
    if len(found) < 2 or not _FRONTED_NUMBER.fullmatch(sentence[: found[0].start]):
        return 0
    between = sentence[found[0].end : found[1].start]
    long_enough = len(_WORD.findall(between)) >= _UNIT_SUBJECT_VERB
    if long_enough and not _JOINED.search(between) and _is_object(sentence[: found[1].start]):
        return found[0].end
    return 0


def _has_object(clause: str) -> bool:
    return any(_is_object(clause[: found.start]) for found in quantities(clause))


def result_of_subjects(clause: str, found: Sequence[Quantity]) -> int | None:
    """Returns which number of `3 pens and 4 pens make 7 pens` is what the others make, or None."""
    if len(found) < 3 or not _COMBINED.fullmatch(clause[found[0].end : found[1].start]):
        return None
    for place in range(2, len(found)):
        between = clause[found[place - 1].end : found[place].start]
        if _MAKES.fullmatch(between):
            return place
        if not _COMBINED.fullmatch(between):
            return None
    return None


def _object_of_adjunct(sentence: str, found: Sequence[Quantity], last: int) -> int | None:
    """Returns which earlier number a number's phrase belongs to, or None where it is no adjunct."""
    for place in reversed(range(max(0, last - _MOST_BETWEEN), last)):
        between = sentence[found[place].end : found[last].start]
        before = sentence[: found[place].start]
        if _INFINITIVE.fullmatch(between) and _TAKES.search(before[-_LONGEST_LEFT:]):
            return place
        if _REASON.fullmatch(between) and _is_object(before):
            return place
        if not place and _NEEDED.fullmatch(between):
            return place
        if _CLAUSE.search(between):
            return None
        if _AWAY.match(sentence[found[last].end :]) and _is_object(before):
            return place
        if _EQUALS.search(before) and len(between) < _LONGEST_LEFT:
            return place
        if _SHARE.fullmatch(between):
            return place
        if _ADJUNCT.fullmatch(between) and not _is_price(sentence, found[last]):
            if _is_object(before):
                return place
            if not _WORD.search(before) and _UNIT_AT_ONCE.match(between):
                return place
    return None


def _is_object(before: str) -> bool:
    """Whether what stands before a number ends in a verb, `=` or `:`, as before an object."""
    before = _FILLER.sub("", before[-_LONGEST_LEFT:].rstrip(" $£€¥*_("))
    if before.endswith(("=", ":", "≈")):
        return True
    word = _LAST_WORD.search(before)
    return word is not None and word[0] not in _NO_VERBS and not word[0].endswith("ing")


def _is_price(sentence: str, number: Quantity) -> bool:
    written = sentence[number.start : number.end]
    return bool(_CURRENCY.search(written) or _CURRENCY_WORD.match(sentence[number.end :]))


_UNIT_SUBJECT_VERB = 3
_LONGEST_LEFT = 80
_MOST_BETWEEN = 4
_WORD = re.compile(r"[A-Za-z]+")
_LAST_WORD = re.compile(r"(?<![A-Za-z'])[a-z]+(?=[ ]*$)")
_NO_VERBS = frozenset(
    word
    for words in (
        "a an the all each every both these those this that his her their its my our your no any",
        "some of in on at by for from to with into onto over after before within during per among",
        "between across about and or but so then thus hence therefore since because if when as",
        "while than first other another next last previous remaining extra additional total out",
        "under above until through without only",
    )
    for word in words.split()
)
_FILLER = re.compile(
    r"(?:(?<=\s)|^)(?:(?:an?[ ])?(?:grand[ ])?(?:[a-z]{1,20}[ ])?(?:total|sum|profit|average|cost"
    r"|amount|distance|minimum|maximum|mean)[ ]of|about|approximately|approx\.?|around|roughly"
    r"|nearly|almost|exactly|precisely|only|just|at[ ](?:least|most)|up[ ]to"
    r"|(?:an[ ])?(?:additional|extra)|another|still|now|also)[ ]*$"
)
_PREPOSITION = (
    r"(?:in|for|per|every|each|over|within|during|after|out[ ]of|among|across|on|from"
    r"|(?:at|by)[ ]the[ ](?:end|start|beginning)[ ]of(?:[ ](?:day|week|month|year))?)"
)
_DETERMINERS = (
    r"(?:(?:the|each|every|all|just|only|another|next|last|first|these|those|about)[ ]){0,2}"
)
_ADJUNCT = re.compile(
    r"[^\s]{0,20}(?:[ ][A-Za-z0-9$£€%°²³'./*_-]{1,30}){0,7}?"
    rf"[ *_]{{1,3}}{_PREPOSITION}[ ]{_DETERMINERS}[*_]{{0,2}}"
)
_SHARE = re.compile(
    r"%?(?:[ ][a-z]+)?[ ](?:out[ ]of|of[ ](?:the|his|her|their|its|these|those|all))"
    r"(?:[ ][a-z]+)?[ ]"
)
_TAKES = re.compile(
    r"\b(?:takes?|took|taken|needs?|needed|requires?|required)\b(?:[ ][A-Za-z]+){0,3}[ ]*$"
)
_INFINITIVE = re.compile(r"(?:[ ][a-z]+){0,3}[ ]to[ ][a-z]+(?:[ ][A-Za-z0-9-]+){0,8}[ ][$£€]?")
_EQUALS = re.compile(r"[=≈][ *_$£€]*$")
_REASON = re.compile(
    r"[^,;.=]{0,40},?[ ](?:after|before|because|since|if|when|each[ ]with)[ ]"
    r"(?:[^;=]{0,80}[ ])?[$£€]?",
    re.IGNORECASE,
)
_NEEDED = re.compile(
    r"(?:[ ][a-z]+){1,4}[ ](?:is|are|was|were)[ ](?:needed|required|left|remaining)[ ]"
    rf"{_PREPOSITION}[ ]{_DETERMINERS}"
)
_AWAY = re.compile(
    r"[ ](?:second|minute|hour|day|week|month|year)s?[ ](?:ago|from[ ]now|later|earlier)\b"
)
_UNIT = (
    r"(?:dollars?|euros?|pounds?|cents?|miles?|km|kilomet(?:er|re)s?|met(?:er|re)s?|feet|inches"
    r"|hours?|minutes?|seconds?|days?|weeks?|months?|years?|percent|%)"
)
_UNIT_AT_ONCE = re.compile(rf"[ ]?{_UNIT}[ ]{_PREPOSITION}\b", re.IGNORECASE)
# Words that begin another clause, and the ends of sentences.
_CLAUSE = re.compile(
    r"[,;:=!?()]|\.[ ]|\b(?:and|or|but|so|then|which|that|who|where|when|because|since|if|while"
    r"|i|we|you|he|she|it|they|is|are|was|were|be|been|has|have|had|will|would|can|could|should"
    r"|does|did|do|makes?|gives?|leaves?|equals?|leaving|giving|making|means?)\b",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"[;:=()]|\b(?:and|or|because|since|as|which|that|where|while|when|if|with|to|after|before)\b",
    re.IGNORECASE,
)
_FRONT = re.compile(
    r"[\s*_$:]{0,8}(?:(?:that|so|thus|hence|therefore|then|and)\b,?[ ]){0,2}"
    r"(?:since|if|as|after|before|in|at|on|for|to|by|because|when|while|with|out[ ]of|of|given|over"
    r"|from|during|within|using|[a-z]{2,12}ing)[ ]",
    re.IGNORECASE,
)
_FRONTED_NUMBER = re.compile(
    r"[\s*_$:]{0,8}(?:(?:that|so|thus|hence|therefore|then|and)\b,?[ ]){0,2}"
    rf"(?:in|for|after|over|within|during|on|with|from|at|of|by)[ ]{_DETERMINERS}[$£€]?",
    re.IGNORECASE,
)
_COMMA = re.compile(r",[ ](?!(?:and|or)[ ])")
_BEFORE_RESULT = re.compile(
    r"[,:][ ](?=[^,:=]{0,200}=)|,?[ ](?:so|therefore|thus|hence|then|leaving|which|for)[ ]",
    re.IGNORECASE,
)
_BEGINS_REASON = re.compile(r"[ ](?:because|since|as)[ ]", re.IGNORECASE)
DIGIT = re.compile(r"[0-9\uff10-\uff19¼-¾⅐-⅞]")
_IDENTIFIED = re.compile(
    r"(?:[ ][a-z]+){0,2}[ ](?:is|are|was|were)[ ](?:what|how[ ](?:much|many|long|far|old|fast)"
    r"|the[ ](?:[a-z]+[ ]){0,2}(?:answer|number|amount|total|money|cost|price|distance|time)\b)",
    re.IGNORECASE,
)
_COMBINED = re.compile(
    r"[^,;.=:]{0,30}?[ ](?:and|plus|of|from|times|minus|less)[ ](?:the[ ]|another[ ])?[$£€]?"
)
_MAKES = re.compile(
    r"[^,;.=:]{0,30}?[ ](?:makes?|is|are|equals?|gives?|leaves?|totals?|yields?|becomes?)[ ]"
    r"(?:(?:a[ ]total[ ]of|about|exactly|only)[ ])?[$£€]?"
)
_NUMBER_FIRST = re.compile(
    r"[\s*_$:\[(≈~]*(?:about |approximately )?(?:(?:us)?[$£€¥₹]|rs\.?|minus |negative )?"
    r"[ ]?[-+(]?[ ]?[$£€¥]?[.]?[0-9]|[\s*_$:]*[A-Za-z](?:[ ]?[-+*/][ ]?[A-Za-z0-9]){0,4}[ ]?=",
    re.IGNORECASE,
)
_CURRENCY = re.compile(r"[$£€¥₹]")
_CURRENCY_WORD = re.compile(r"[ ]?(?:dollars?|cents?|euros?|pounds?|bucks|rupees)\b", re.IGNORECASE)
