"""The counts that the whole report shares: steps of the selection, people at risk, their groups, and how they leave.

They are protected together, since each follows from others: the subjects of the table less those left out are the
subjects at risk, who are the sum of the groups of Table 1 and of the ways to leave. Two endpoints share most subjects,
so the difference of their numbers tells on the few who are at risk for one alone.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from riskweave.cohort.attrition import Step
from riskweave.report.curves import CENSORED, FREE
from riskweave.report.disclosure import Counts, protect
from riskweave.report.inputs import EndpointData

__all__ = ["Population", "count_population", "pairs", "step_owner"]


@dataclass(frozen=True)
class Population:
    """The shared counts and which of them can be shown.

    Attributes
    ----------
    counts : Counts
        Keys: ("excluded" or "remaining" or "people", endpoint or "", number of the step); ("n", endpoint);
        ("group", endpoint, number); ("way", endpoint, kind); ("table", name): people in a table of the source.
    shown : set of key
    threshold : int
        Counts from 1 to below it are small.
    """

    counts: Counts
    shown: set[Hashable]
    threshold: int

    def get(self, key: Hashable) -> int | None:
        """Return a count, or None where it is not shown."""
        return self.counts.cells[key] if key in self.shown else None

    def tabled(self, data: EndpointData) -> bool:
        """Tell whether tables of an endpoint can be shown: the number of its subjects is."""
        return ("n", data.name) in self.shown

    def compared(self, data: EndpointData) -> bool:
        """Tell whether its groups can be compared: the number of people in each is shown."""
        return bool(data.groups) and all(("group", data.name, g) in self.shown for g in range(len(data.groups)))

    def drawn(self, data: EndpointData) -> list[int]:
        """Return the causes whose curves can be shown: the target and those whose number is shown; or none."""
        if not self.tabled(data):
            return []
        causes = [cause for cause in data.causes if self.get(("way", data.name, cause))]
        return causes if 1 in causes else []

    def at_risk(self, data: EndpointData) -> bool:
        """Tell whether numbers at risk can be shown: with the curves they tell how many leave in each way."""
        return all(("way", data.name, way) in self.shown for way in (*data.causes, CENSORED, FREE))


def step_owner(attrition: Mapping[str, list[Step]], name: str, number: int) -> str:
    """Return "" for a step that all endpoints begin with, else the endpoint."""
    steps = [table[: number + 1] for table in attrition.values()]
    return "" if len(steps) > 1 and all(table == steps[0] for table in steps) else name


def _add_steps(counts: Counts, attrition: Mapping[str, list[Step]], name: str) -> None:
    """Add the steps of an endpoint; a step that gives people several index times begins anew."""
    steps = attrition[name]
    several = any(step.people != step.remaining for step in steps)
    previous = None
    for number, step in enumerate(steps):
        owner = step_owner(attrition, name, number)
        last = number == len(steps) - 1
        fresh = ("remaining", owner, number) not in counts.cells
        remaining = counts.add(("remaining", owner, number), step.remaining, weight=50 if last else 2)
        excluded = counts.add(("excluded", owner, number), step.excluded)
        if fresh and previous and counts.cells[previous[0]] - step.excluded == step.remaining:
            counts.total(previous[0], [excluded, remaining])
        if several and fresh:
            people = counts.add(("people", owner, number), step.people)
            again = counts.add(("again", owner, number), step.remaining - step.people, hidden=True)
            counts.total(remaining, [people, again])
            if previous and previous[1] is not None and counts.cells[previous[1]] >= step.people:
                gone = counts.cells[previous[1]] - step.people
                counts.total(previous[1], [people, counts.add(("gone", owner, number), gone, hidden=True)])
        previous = (remaining, ("people", owner, number) if several else None)
    n = counts.add(("n", name), steps[-1].remaining, weight=100)
    counts.total(n, [previous[0]])


def _add_outcomes(counts: Counts, data: EndpointData) -> None:
    """Add groups and ways to leave."""
    n, kind = ("n", data.name), data.kind
    ways = {way: int((kind == way).sum()) for way in (*data.causes, CENSORED, FREE)}
    keys = {
        way: counts.add(("way", data.name, way), value, weight=20 if way == 1 else 3 if way == FREE else 1)
        for way, value in ways.items()
    }
    counts.total(n, list(keys.values()))
    sizes = np.bincount(data.group, minlength=max(1, len(data.groups)))
    groups = [counts.add(("group", data.name, g), sizes[g], weight=30) for g in range(len(data.groups))]
    if groups:
        counts.total(n, groups)
    if data.groups and data.by.startswith("target event by day"):
        counts.total(groups[0], [keys[1]])
        if len(groups) == 3:
            counts.total(groups[2], [keys[CENSORED]])


def _common_ways(first: EndpointData, second: EndpointData) -> list[tuple[int, int]]:
    """Return the ways to leave that two endpoints share: events of one name, censoring, the end."""
    named = {title: cause for cause, title in second.causes.items() if cause > 1}
    shared = [(cause, named[title]) for cause, title in first.causes.items() if cause > 1 and title in named]
    return [*shared, (CENSORED, CENSORED), *([(FREE, FREE)] if first.horizon == second.horizon else [])]


def pairs(endpoints: Mapping[str, EndpointData], total: int) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Return each pair of endpoints with the rows (in either's order) of the subjects that both have.

    Parameters
    ----------
    endpoints : dict of name to EndpointData
    total : int
        Rows of the subject table.

    Returns
    -------
    list of (name, name, int64 array, int64 array)
        Positions of the common subjects within the first and within the second.
    """
    found = []
    for one, other in combinations(endpoints, 2):
        place = np.full(total, -1)
        place[endpoints[other].rows] = np.arange(len(endpoints[other].rows))
        there = place[endpoints[one].rows]
        found.append((one, other, np.flatnonzero(there >= 0), there[there >= 0]))
    return found


def _add_tables(counts: Counts, tables: Mapping[str, int], first: Hashable) -> None:
    """Add how many people each table of the source has, who are some of those that the selection began with."""
    people = tables.get("subjects", 0)
    if not people or people < counts.cells[first]:
        return
    source = counts.add(("table", "subjects"), people)
    began = counts.cells[first]
    counts.total(source, [first, counts.add(("table", "not begun"), people - began, hidden=True)])
    for name, some in tables.items():
        if name != "subjects" and some <= people:
            without = counts.add(("table", name, "without"), people - some, hidden=True)
            counts.total(source, [counts.add(("table", name), some), without])


def count_population(
    attrition: Mapping[str, list[Step]],
    endpoints: Mapping[str, EndpointData],
    *,
    tables: Mapping[str, int],
    total: int,
    threshold: int,
) -> Population:
    """Count what the whole report shares and choose what can be shown.

    Parameters
    ----------
    attrition : dict of endpoint to list of Step
    endpoints : dict of endpoint to EndpointData
    tables : dict of table to int
        People in each table of the source.
    total : int
        Rows of the subject table.
    threshold : int
        Counts from 1 to below it are not shown, nor counts from which they would follow.
    """
    counts = Counts()
    for name, data in endpoints.items():
        _add_steps(counts, attrition, name)
        _add_outcomes(counts, data)
        _add_tables(counts, tables, ("remaining", step_owner(attrition, name, 0), 0))
    for one, other, here, there in pairs(endpoints, total):
        first, second = endpoints[one], endpoints[other]
        counts.difference(("n", one, other), ("n", one), ("n", other), both=len(here))
        for way, same in _common_ways(first, second):
            both = int(((first.kind[here] == way) & (second.kind[there] == same)).sum())
            counts.difference(("way", one, other, way), ("way", one, way), ("way", other, same), both=both)
        for name in [name for name in first.groups if name in second.groups]:
            g, h = first.groups.index(name), second.groups.index(name)
            both = int(((first.group[here] == g) & (second.group[there] == h)).sum())
            counts.difference(("group", one, other, name), ("group", one, g), ("group", other, h), both=both)
    return Population(counts, protect(counts, threshold), threshold)
