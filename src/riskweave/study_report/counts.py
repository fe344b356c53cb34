"""Which numbers of subjects and events the study report writes.

The cohort report decides on the number at risk and on the events up to the last horizon, and leaves out what a small
count would follow from. The evaluation counts the same people again: in subgroups, and with the events of the whole
follow-up. Such a count is written only where it adds nothing small to what is known already: no part of a subgroup is
small, and neither is any difference to a number that is shown elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from riskweave.report.disclosure import is_small

__all__ = ["ShownCounts", "shown_counts"]

Parts = dict[str, int]
"""Number of each value of a subgroup."""


@dataclass(frozen=True)
class ShownCounts:
    """Numbers of an endpoint that may be written; None and missing keys stand for those that may not.

    Attributes
    ----------
    at_risk : int or None
        Subjects.
    events : int or None
        Target events by the last horizon.
    events_followed : int or None
        Target events of the whole follow-up.
    subjects_in, events_in : dict of (group, value) to int
        Subjects of a subgroup, and its target events of the whole follow-up.
    """

    at_risk: int | None
    events: int | None
    events_followed: int | None
    subjects_in: Mapping[tuple[str, str], int] = field(default_factory=dict)
    events_in: Mapping[tuple[str, str], int] = field(default_factory=dict)


def _number(text: str) -> int | None:
    """Return the whole number that a cell such as ``227 (43.2)`` begins with, or None."""
    first = text.split(" ", maxsplit=1)[0]
    return int(first) if first.isdigit() else None


def _parts(metrics: pd.DataFrame, group: str, column: str) -> Parts | None:
    """Return the count of each value of a subgroup; None where one is not in the table."""
    own = metrics[metrics["group"] == group].drop_duplicates("group_value")
    if own[column].isna().any():
        return None
    return {str(value): int(count) for value, count in zip(own["group_value"], own[column], strict=True)}


def _complete(parts: Parts | None, total: int | None, threshold: int) -> bool:
    """Tell whether all parts are known, none is small, and they add up to a total that is shown."""
    if parts is None or total is None or sum(parts.values()) != total:
        return False
    return not any(is_small(count, threshold) for count in parts.values())


def _apart(one: Parts, other: Parts, threshold: int) -> bool:
    """Tell whether no count differs by few from that of the same value."""
    return not any(is_small(abs(count - other[value]), threshold) for value, count in one.items() if value in other)


def _table1_events(table1: pd.DataFrame, group: str, values: list[str], events: int) -> Parts | None:
    """Return the events by the last horizon of each value, as Table 1 shows them.

    Empty where Table 1 does not tell events of this column; None where it hides some of them.
    """
    own = table1[table1["variable"] == group] if "event" in table1 else table1.iloc[:0]
    if own.empty or own["level"].str.startswith("mean").any():
        return {}
    labels = dict(zip(own["level"], own["event"], strict=True))
    found = {v: labels.get("no value, n (%)" if v == "missing" else f"{v}, n (%)") for v in values}
    numbers = {value: _number(text) for value, text in found.items() if text is not None}
    if None in numbers.values():
        return None
    absent = [value for value in values if value not in numbers]
    if len(absent) == 1:  # of a column of 0 and 1 the table shows those with 1
        numbers[absent[0]] = events - sum(numbers.values())
    return numbers if len(absent) < 2 else None


def _of_endpoint(
    metrics: pd.DataFrame, follow_up: pd.DataFrame, outcomes: pd.DataFrame, table1: pd.DataFrame, threshold: int
) -> ShownCounts:
    """Return what may be written of an endpoint on its own."""
    at_risk = _number(dict(zip(follow_up["what"], follow_up["value"], strict=True)).get("subjects at risk", ""))
    if at_risk is None:
        return ShownCounts(None, None, None)
    reached = dict(zip(outcomes["outcome"], outcomes["subjects"], strict=True))
    events = _number(reached.get("target event", ""))
    everyone = metrics[metrics["group"] == "all"]["events"]
    followed = None if everyone.empty or pd.isna(everyone.iloc[0]) else int(everyone.iloc[0])
    if events is None or followed is None or is_small(followed - events, threshold):
        followed = None
    subjects_in, events_in = {}, {}
    for group in metrics.loc[metrics["group"] != "all", "group"].drop_duplicates():
        subjects, with_event = _parts(metrics, group, "n"), _parts(metrics, group, "events")
        if not _complete(subjects, at_risk, threshold):
            continue
        subjects_in |= {(group, value): count for value, count in subjects.items()}
        if not _complete(with_event, followed, threshold):
            continue
        known = _table1_events(table1, group, list(with_event), events)
        if known is not None and _apart(with_event, known, threshold):
            events_in |= {(group, value): count for value, count in with_event.items()}
    return ShownCounts(at_risk, events, followed, subjects_in, events_in)


def _without_few_apart(counts: dict[str, ShownCounts], threshold: int) -> dict[str, ShownCounts]:
    """Leave out subgroups whose counts differ by few from those of an earlier endpoint: who is in one alone is few."""
    result: dict[str, ShownCounts] = {}
    for name, own in counts.items():
        kept = {"subjects_in": dict(own.subjects_in), "events_in": dict(own.events_in)}
        for table, shown in kept.items():
            for group in sorted({key[0] for key in shown}):
                mine = {value: count for (g, value), count in shown.items() if g == group}
                others = [
                    {value: count for (g, value), count in getattr(one, table).items() if g == group}
                    for one in result.values()
                ]
                if not all(_apart(mine, other, threshold) for other in others):
                    kept[table] = {key: count for key, count in kept[table].items() if key[0] != group}
        result[name] = ShownCounts(own.at_risk, own.events, own.events_followed, **kept)
    return result


def shown_counts(
    *,
    metrics: Mapping[str, pd.DataFrame],
    follow_up: Mapping[str, pd.DataFrame],
    outcomes: Mapping[str, pd.DataFrame],
    table1: Mapping[str, pd.DataFrame],
    threshold: int,
) -> dict[str, ShownCounts]:
    """Decide which numbers of subjects and events are written.

    Parameters
    ----------
    metrics : dict of endpoint to DataFrame
        Metrics of the evaluation, with the counts of all groups.
    follow_up, outcomes, table1 : dict of endpoint to DataFrame
        Tables of the cohort report, as text.
    threshold : int
        Counts from 1 to below it are small.

    Returns
    -------
    dict of endpoint to ShownCounts
    """
    found = {
        name: _of_endpoint(metrics[name], follow_up[name], outcomes[name], table1[name], threshold)
        for name in sorted(metrics)
    }
    return _without_few_apart(found, threshold)
