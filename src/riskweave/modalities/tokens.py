"""From a note to its words and numbers."""

import re

__all__ = ["is_number", "tokens_of"]

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def tokens_of(note: str) -> list[str]:
    """Return the words, in lower case, and the numbers of a note, in order; punctuation is left out.

    A word is letters of any script, joined by apostrophes or hyphens (``follow-up``); a number is digits with points
    or commas among them (``1.5``). ``S3`` is a word and a number.
    """
    return _TOKEN.findall(note.lower())


def is_number(token: str) -> bool:
    """Tell whether a token is a number."""
    return token[0].isdigit()
