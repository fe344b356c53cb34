"""The TRIPOD+AI checklist, filled from what a run left behind, or marked as the authors' to write."""

from collections.abc import Callable, Mapping

import pandas as pd

from riskweave.study_report import tripod_methods as methods
from riskweave.study_report import tripod_results as results
from riskweave.study_report.filled import Filled
from riskweave.study_report.inputs import Content
from riskweave.study_report.tripod_items import ITEMS

__all__ = ["AUTHOR", "FILLED", "FILLERS", "IN_PART", "checklist"]

FILLED, IN_PART, AUTHOR = "filled", "filled in part", "authors write"
"""States of an item: told by the run, told but for what is left to the authors, theirs altogether."""

FILLERS: Mapping[str, Callable[[Content], Filled | None]] = {
    "4": methods.objectives,
    "5a": methods.sources,
    "5b": methods.dates,
    "6a": methods.centres,
    "6b": methods.eligibility,
    "7": methods.preparation,
    "8a": methods.outcomes,
    "9a": methods.predictors,
    "9b": methods.definitions,
    "10": methods.sample_size,
    "11": methods.missing_values,
    "12a": methods.division,
    "12b": methods.scaling,
    "12c": methods.models,
    "12d": methods.clusters,
    "12e": methods.measures,
    "12f": methods.updating,
    "12g": methods.predictions,
    "13": methods.imbalance,
    "14": methods.fairness,
    "15": methods.output,
    "16": methods.two_data_sets,
    "18c": methods.protocol,
    "18f": methods.code,
    "20a": results.flow,
    "20b": results.characteristics,
    "20c": results.against_development,
    "21": results.analysed,
    "22": results.specification,
    "23a": results.performance,
    "23b": results.between_clusters,
    "24": results.updated,
    "27a": results.missing_input,
}
"""What fills an item; None from one of them: this run does not tell it. Items that are not here are the authors'."""


def checklist(content: Content) -> pd.DataFrame:
    """Fill the checklist.

    Parameters
    ----------
    content : Content

    Returns
    -------
    DataFrame
        One row for each item, in the checklist's order, as text: item, section, topic, wanted, applies, state (one of
        `FILLED`, `IN_PART`, `AUTHOR`), text (from the run), source (where it is from), authors (what they write).
    """
    rows = []
    for item in ITEMS:
        filler = FILLERS.get(item.number)
        found = filler(content) if filler else None
        state = AUTHOR if found is None else IN_PART if item.author else FILLED
        rows.append(
            {
                "item": item.number,
                "section": item.section,
                "topic": item.topic,
                "wanted": item.wanted,
                "applies": item.applies,
                "state": state,
                "text": found.text if found else "",
                "source": found.source if found else "",
                # Where this run does not tell what others do, nothing of the item is told.
                "authors": item.author if found or not filler else "All of it.",
            }
        )
    return pd.DataFrame(rows)
