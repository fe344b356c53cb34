"""What makes two runs of a job write the same bytes, beyond their seeds."""

import os
from collections.abc import MutableMapping

__all__ = ["HASHES", "fix_hashes"]

HASHES = "PYTHONHASHSEED"


def fix_hashes(environment: MutableMapping[str, str] = os.environ) -> None:
    """Give the processes that this one starts the same hashes of texts, unless the user has chosen others.

    Python draws them anew in each process. The order of a set of names hangs on them, and with it what is written in
    that order.
    """
    environment.setdefault(HASHES, "0")
