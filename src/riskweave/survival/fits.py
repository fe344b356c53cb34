"""On whose rows something was fitted: a digest that is stored with it, and checked where it is used.

An encoder, an imputer or a model that has seen a test row makes every comparison worthless, and nothing in its output
tells. The digest tells: it is that of the training rows of the fold, or of others.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from riskweave.errors import DataError
from riskweave.files import replacing

__all__ = ["check_fits", "digest_of", "read_fits", "stamp_fits"]

_KEY = b"riskweave.fitted_on"
_SEPARATOR = b"\x00"


def digest_of(subjects: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted identifiers of subjects: the same for the same people in any order."""
    made = hashlib.sha256()
    for subject in sorted(subjects):
        made.update(subject.encode() + _SEPARATOR)
    return made.hexdigest()


def stamp_fits(path: Path, fitted_on: Mapping[int, str]) -> None:
    """Store in a table of embeddings, for each fold, on whose rows its encoder was fitted.

    Parameters
    ----------
    path : Path
        Parquet file; its content stays as it is.
    fitted_on : mapping of fold to str
        Digests of `digest_of`.
    """
    table = pq.read_table(path)
    told = json.dumps({str(fold): digest for fold, digest in sorted(fitted_on.items())})
    with replacing(Path(path)) as (partial,):
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: told.encode()}), partial)


def read_fits(path: Path) -> dict[int, str]:
    """Return what `stamp_fits` stored; an empty mapping where there is nothing."""
    told = (pq.read_schema(path).metadata or {}).get(_KEY)
    return {} if told is None else {int(fold): digest for fold, digest in json.loads(told).items()}


def check_fits(
    *, embeddings: Path, feature_set: str, present: Mapping[int, pd.Index], train: Mapping[int, pd.Index]
) -> None:
    """Refuse embeddings whose encoder was fitted on other rows than the training rows of its fold.

    Parameters
    ----------
    embeddings : Path
        Table of embeddings.
    feature_set : str
        Its name in the study.
    present : mapping of fold to Index of subject_id
        Subjects who have embeddings: an encoder is fitted on those of the training rows who have the modality.
    train : mapping of fold to Index of subject_id
        Training rows of each fold, at risk.

    Raises
    ------
    DataError
        When the digest of a fold differs from that of its training rows, or there is none.
    """
    stored = read_fits(embeddings)
    wrong = [
        fold for fold, rows in train.items() if stored.get(fold) != digest_of(rows.intersection(present.get(fold, [])))
    ]
    if wrong:
        problem = (
            f"in {len(wrong)} of {len(train)} folds the encoder was fitted on rows outside the training fold, or does "
            "not tell on which"
        )
        remedy = "Its embeddings are no features of this division: remove the file and let the pipeline train it again"
        raise DataError(f"feature set {feature_set}, {Path(embeddings).name}", problem, remedy)
