"""Whom the files of a run belong to: its user alone, or a group where that is asked for."""

import os
import re
from collections.abc import Mapping

from riskweave.errors import StudyError

__all__ = ["UMASK", "keep_private"]

UMASK = "RISKWEAVE_UMASK"
"""Environment variable with the rights that are withheld, as `umask` writes them; 077 without it."""


def keep_private(environment: Mapping[str, str] = os.environ) -> int:
    """Withhold the rights to new files from others, for this process and those that it starts.

    Parameters
    ----------
    environment : mapping
        `UMASK` is looked up in it.

    Returns
    -------
    int
        The mask.

    Raises
    ------
    StudyError
        When the mask is none, would lock the user out, or lets everybody on the machine in.
    """
    text = environment.get(UMASK, "077")
    mask = int(text, 8) if re.fullmatch("0?[0-7]{3}", text) else None
    if mask is None or mask & 0o700 or mask & 0o007 != 0o007:
        raise StudyError(
            f"{UMASK}={text!r} is not allowed. Allowed: 077 (files are the user's alone), 027 (the group may read), "
            "007 (the group may change them); what a run makes is about people, and never for everybody on the machine"
        )
    os.umask(mask)
    return mask
