"""What makes two runs of a job write the same bytes, beyond their seeds."""

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

__all__ = ["HASHES", "alike", "fix_hashes"]

HASHES = "PYTHONHASHSEED"


def fix_hashes(environment: MutableMapping[str, str] = os.environ) -> None:
    """Give the processes that this one starts the same hashes of texts, unless the user has chosen others.

    Python draws them anew in each process. The order of a set of names hangs on them, and with it the bytes of a stored
    model whose settings hold one, though not what it predicts.
    """
    environment.setdefault(HASHES, "0")


def alike(content: Any) -> Any:
    """Return the same dictionaries, lists and tuples, in which equal texts are one object and nothing else is shared.

    A pickle tells which parts are the very same object, and that hangs on where they came from: what a killed job had
    kept, and its successor has read again, is no longer the same as what is made beside it.
    """
    return _copied(content, {})


def _copied(content: Any, texts: dict[str, str]) -> Any:
    if type(content) is str:
        return texts.setdefault(content, content)
    if isinstance(content, Mapping):
        return {_copied(key, texts): _copied(value, texts) for key, value in content.items()}
    if type(content) in {list, tuple}:
        return type(content)(_copied(value, texts) for value in content)
    return content
