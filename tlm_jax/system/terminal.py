"""What a terminal may be shown of texts that somebody else wrote."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    r"""Returns a text without what a terminal would obey or could not encode.

    Escape sequences, controls and halves of surrogate pairs become `\x1b` and its like.

    Args:
      text: of a server's or a model's.
      keep: characters that are left as they are, such as a line feed.
    """
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
