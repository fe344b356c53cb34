"""What each feature set of a study is worth: the concordance of experiments divided among them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.evaluation.groups import count_shown
from riskweave.evaluation.inputs import Comparison, read_comparison
from riskweave.evaluation.layout import write_table
from riskweave.explain.ablation import shapley_shares
from riskweave.explain.rows import Observed
from riskweave.study.cohort import Endpoint

__all__ = ["divide_concordance"]


def _of_family(
    comparison: Comparison, family: Mapping[str, Any], resampling: Mapping[str, Any], threads: int
) -> pd.DataFrame:
    """Return the shares of one family at every horizon."""
    observed = Observed(comparison.time, comparison.event, comparison.people)
    tables = []
    for horizon in comparison.horizons:
        at = int(np.flatnonzero(comparison.times == horizon)[0])
        risk = {name: comparison.risks[place, :, at] for place, name in enumerate(comparison.experiments)}
        subsets = {frozenset(subset.split("+")): risk[name] for subset, name in family["members"].items()}
        base = None if family["base"] is None else risk[family["base"]]
        found = shapley_shares(subsets, observed, family["players"], base=base, threads=threads, **resampling)
        found.insert(0, "horizon", horizon)
        tables.append(found)
    return pd.concat(tables, ignore_index=True)


def divide_concordance(
    *,
    families: Sequence[Mapping[str, Any]],
    modalities: Mapping[str, str],
    predictions: Sequence[Path],
    outcomes: Path,
    subjects: Path,
    endpoint_name: str,
    endpoint: Endpoint,
    shapley: Path,
    count: int,
    seed: int,
    confidence: float,
    threads: int = 1,
) -> None:
    """Divide the concordance of experiments among their feature sets, from the prediction tables of all subsets.

    See `riskweave.explain.ablation.shapley_shares`: every subset has a model of its own, trained without the rest, and
    all are judged on the same subjects by the predictions of the folds that tested them.

    Parameters
    ----------
    families : sequence of mapping
        `riskweave.study.subsets.Family` as mappings, complete.
    modalities : mapping of feature set to modality
    predictions : sequence of path
        Prediction tables of all members.
    outcomes, subjects : path
        Outcome table of the endpoint, and the table of the subjects, which knows the persons.
    endpoint_name, endpoint : str, Endpoint
        The study's block.
    shapley : path
        Table written: experiment, endpoint, horizon, name (feature set; ``all`` for the sum), modality, measure
        (share, alone, last), base (experiment that the shares start from; null: 0.5), n, events, estimate, lower,
        upper.
    count, seed, confidence
        Of the resamples of people.
    threads : int
        Any number gives the same digits.

    Raises
    ------
    DataError
        When a prediction table breaks its contract, or is of other subjects or folds than the others.
    """
    comparison = read_comparison(
        predictions=list(predictions), outcomes=outcomes, subjects=subjects, name=endpoint_name, endpoint=endpoint
    )
    n, events, _ = count_shown(comparison, np.ones(len(comparison.time), dtype=bool), everyone=True)
    resampling = {"count": count, "seed": seed, "confidence": confidence}
    tables = []
    for family in families:
        found = _of_family(comparison, family, resampling, threads)
        found.insert(0, "endpoint", endpoint_name)
        found.insert(0, "experiment", family["experiment"])
        found.insert(4, "modality", found["name"].map(dict(modalities)).astype("string"))
        found.insert(6, "base", pd.Series([family["base"]] * len(found), dtype="string"))
        found.insert(7, "n", n)
        found.insert(8, "events", events)
        tables.append(found)
    write_table(pd.concat(tables, ignore_index=True), Path(shapley))
