"""Gates of what the study file asks for: selection by the future, and features made from the endpoint's own codes."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from riskweave.cohort.codes import matches
from riskweave.leaks.evidence import Evidence, FeatureColumn, SetRows
from riskweave.leaks.finding import Finding, count
from riskweave.leaks.names import suspicious
from riskweave.leaks.statistics import Ranked
from riskweave.study.cohort import Endpoint

__all__ = ["check_selection", "check_target_codes", "own_codes"]

_DEATH = ("MEDS_DEATH",)
_FEWEST = 1


def check_selection(evidence: Evidence) -> list[Finding]:
    """Find conditions of the population that only the time after the index time decides."""
    excluded = {}
    if evidence.attrition is not None:
        steps = pd.read_csv(evidence.attrition)
        excluded = dict(zip(steps["step"], steps["excluded"].astype(int), strict=True))
    findings = []
    for place, step, problem, remedy in _conditions(evidence):
        left_out = excluded.get(step)
        told = "" if left_out is None else f"; it leaves out {count(left_out) if left_out else 'no'} subjects"
        findings.append(Finding("selection_after_index", place, problem + told, left_out, remedy))
    return findings


def _conditions(evidence: Evidence) -> Iterator[tuple[str, str, str, str]]:
    population = evidence.population
    own = {
        column: f"endpoints.{name}"
        for name, endpoint in evidence.endpoints.items()
        for column in (getattr(endpoint, "time", None), getattr(endpoint, "event", None))
        if column
    }
    for kind in ("include", "exclude"):
        for criterion in getattr(population, kind):
            place = f"population.{kind}.{criterion.name}"
            end = "End the window at the index time (0), or let the endpoint decide who is at risk"
            if criterion.codes is not None and (criterion.window[1] is None or criterion.window[1] > 0):
                until = "without an end" if criterion.window[1] is None else "that ends after the index time"
                yield place, criterion.name, f"it selects subjects by events in a window {until}", end
            elif criterion.column in own:
                problem = (
                    f"it selects subjects by column {criterion.column}, which is the outcome of {own[criterion.column]}"
                )
                yield place, criterion.name, problem, "Select by what is known at the index time"
            elif criterion.column is not None and (says := suspicious(criterion.column)):
                problem = f"it selects subjects by column {criterion.column}, whose name says {says}"
                yield place, criterion.name, problem, "Select by what is known at the index time"
    if population.minimum_followup is not None:
        problem = "it leaves out subjects by how long they are observed after the index time"
        remedy = "Leave it out: subjects who are lost early are censored, not removed"
        yield "population.minimum_followup", "minimum_followup", problem, remedy
    if population.index is not None and getattr(population.index, "offset", 0) < 0:
        problem = (
            "the index time is set before the event or date that defines it: who gets one is decided by the future"
        )
        yield "population.index.offset", "index", problem, "Use an offset of 0 or more"


def check_target_codes(evidence: Evidence, rows: SetRows, column: FeatureColumn, ranked: Ranked) -> list[Finding]:
    """Find columns made from the endpoint's own codes, or from death, that differ among the subjects at risk.

    People at risk of a first event had none by the index time, so such a column can only come from after it. Endpoints
    that recur, and other competing events (a stroke before), may well have happened before: they are not asked.
    """
    if column.aggregate is None:
        return []
    patterns = _codes_of(evidence, column)
    findings = []
    for at_risk in rows.at_risk:
        endpoint = evidence.endpoints[at_risk.endpoint]
        own = own_codes(endpoint)
        if not all(_within(pattern, own) for pattern in patterns):
            continue
        known = ranked.place[at_risk.rows]
        differ = int((known != np.bincount(known - known.min()).argmax() + known.min()).sum()) if len(known) else 0
        if differ >= _FEWEST:
            problem = f"it is made from the endpoint's own codes, and differs in {count(differ)} subjects at risk"
            remedy = "Take these codes out of the feature set, or make the feature table again"
            findings.append(
                Finding("target_code_feature", f"{at_risk.endpoint}/{column.place}", problem, differ, remedy)
            )
    return findings


def own_codes(endpoint: Endpoint) -> list[str]:
    """Return the codes that nobody at risk of an endpoint has by the index time: its target's, and death's."""
    target = [] if getattr(endpoint, "recurrent", False) else getattr(endpoint, "target", [])
    return [*(pattern for pattern in target if pattern), *_DEATH]


def _codes_of(evidence: Evidence, column: FeatureColumn) -> list[str]:
    """Return the codes that a column is made from, as patterns."""
    for block in getattr(evidence.features[column.feature_set], "events", ()):
        if not block.by_code and column.stem == (block.name or block.codes[0]):
            return list(block.codes)
    return [f"{column.stem}$"]


def _within(pattern: str, own: list[str]) -> bool:
    """Tell whether all codes of a pattern are among the endpoint's."""
    if pattern.endswith("$"):
        return bool(matches(pd.Series([pattern[:-1]]), own).iloc[0])
    return pattern.startswith(tuple(one for one in own if not one.endswith("$")))
