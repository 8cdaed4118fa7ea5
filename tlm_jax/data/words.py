"""The words of a text, by which texts are compared whatever was done to their punctuation."""

from __future__ import annotations

import re
import unicodedata


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case; punctuation and white space divide them.

    Unicode's compatibility forms are made the same (`½` is `1⁄2`), so that a text is found again
    whatever has been done to its quotes, spaces and letter case. Letters, digits and nothing else
    are words: `don't` is two.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


_WORD = re.compile(r"[^\W_]+")
