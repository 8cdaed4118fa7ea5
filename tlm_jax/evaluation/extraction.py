"""The answer in a model's output, by the strict rules: one for each kind of question."""

from __future__ import annotations

import re
from collections import deque

from tlm_jax.data.official.math import last_boxed
from tlm_jax.evaluation.answer_regions import regions
from tlm_jax.evaluation.declarations import declarations


def extract_boolean(text: str) -> str | None:
    """Returns 'yes' or 'no'; `true` and `correct` mean yes, `false`, `incorrect` and `not ...` no.

    So do `正确`, and `错误` and `不正确`, behind a declaration such as `答案是`.

    Behind a declaration the first such word counts; without one, the text must begin or end with
    it. Of a text that goes on with other questions the first part with an answer counts.
    """
    for part in regions(text):
        region = part.text
        found = declarations(region)
        for declared in found:
            plain = _CHINESE_TRUTH.sub(_in_english, _set_plainly(declared.tail[:_LONGEST_TAIL]))
            match = _TRUTH.search(_BOTH.sub(" ", plain))
            if match is not None:
                return _truth_value(match)
        if any(declared.kind in ("marker", "hashes") for declared in found):
            return None
        match = _first_or_last_truth(_BOTH.sub(" ... ", region).strip())
        if match is not None:
            return _truth_value(match)
    return None


def extract_text(text: str) -> str | None:
    """Returns the line after the last marker, else the last box, else the last line.

    White space at both ends and one final full stop are dropped. Thoughts are left out, and of a
    text that goes on with other questions the first part counts.
    """
    for part in regions(text):
        region = part.text
        found = declarations(region)
        marked = next((d for d in found if d.kind in ("marker", "hashes", "tag")), None)
        boxed = last_boxed(region)
        if marked is not None:
            answer = _BOLD.sub(r"\1", marked.tail.strip().split("\n")[0].strip())
            whole = answer.strip(" .$").removesuffix("\\)").removeprefix("\\(").strip()
            if whole.startswith("\\boxed{") and whole.endswith("}"):
                answer = last_boxed(whole) or answer
        elif boxed is not None:
            answer = boxed
        else:
            label = next((d for d in found if d.kind == "label"), None)
            lines = [line for line in region.split("\n") if line.strip()]
            answer = label.line if label is not None else lines[-1]
            answer = answer.removesuffix("**") if answer.count("**") == 1 else answer
        whole = _WHOLE_TEXT.fullmatch(answer.strip())
        answer = whole[1] if whole else answer
        return answer.strip().removesuffix(".").strip() or None
    return None


def after_marker(text: str) -> str | None:
    """Returns what follows the last `the answer is` or `####`, or None where there is neither."""
    parts = _MARKER.split(text)
    return parts[-1] if len(parts) > 1 else None


def _truth_value(match: re.Match[str]) -> str:
    affirmed = match["word"].lower() in ("yes", "true", "correct")
    return "yes" if affirmed != bool(match["negated"]) else "no"


def _first_or_last_truth(text: str) -> re.Match[str] | None:
    """Returns the word of truth that ends or begins a text."""
    last = deque(_TRUTH.finditer(text), maxlen=1)
    match = last[0] if last else None
    if match is not None and _WORD_CHARACTER.search(_LATEX_END.sub("", text[match.end() :][-99:])):
        first = _WORD_CHARACTER.search(text)
        assert first is not None
        match = _TRUTH.match(text, first.start())
    return match


def _in_english(match: re.Match[str]) -> str:
    return " correct " if match[0] == "正确" else " incorrect "


def _set_plainly(text: str) -> str:
    return _TEXT_COMMAND.sub(r" \1 ", text)


_LONGEST_TAIL = 2_000
_MARKER = re.compile(r"the answer is[ \t]*:?|####", re.IGNORECASE)
_WHOLE_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}")
_BOLD = re.compile(r"^\*\*(.+?)\*\*\.?$")
_WORD_CHARACTER = re.compile(r"\w")
_LATEX_END = re.compile(r"[{}$\\]")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|boxed)\s*\{([^{}]{0,200})\}")
_CHINESE_TRUTH = re.compile("不?正确|错误")
_BOTH = re.compile(
    r"\b(?:(?:yes|true|correct)\W{1,3}(?:or|and|nor)\W{1,3}(?:no|false|incorrect)"
    r"|(?:no|false|incorrect)\W{1,3}(?:or|and|nor)\W{1,3}(?:yes|true|correct))\b",
    re.IGNORECASE,
)
_TRUTH = re.compile(
    r"(?P<negated>(?:\bnot|\b(?:is|are|was|were|ca|could|wo|would|does)n['’]t|\bcannot|\bnever)\s+"
    r"(?:(?:be|necessarily|really|always|quite|entirely)\s+)?)?\b(?P<word>yes|no|true|false|correct|incorrect|untrue)\b",
    re.IGNORECASE,
)
