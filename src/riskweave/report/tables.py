"""The smaller tables of the cohort report: steps of the selection, ways to leave, follow-up, data version, findings."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.cohort.attrition import Step
from riskweave.page import SUPPRESSED
from riskweave.report.curves import CENSORED, FREE, Curves, FollowUpTimes
from riskweave.report.inputs import EndpointData
from riskweave.report.population import Population, step_owner

__all__ = [
    "attrition_steps",
    "curve_table",
    "data_table",
    "findings_table",
    "follow_up_table",
    "version_table",
    "ways_table",
]

GATES_TELL_FROM = 10
"""Counts below it are not in the words of the leak gates."""


def _text(value: int | None) -> str:
    return SUPPRESSED if value is None else str(value)


def attrition_steps(attrition: Mapping[str, list[Step]], name: str, population: Population) -> pd.DataFrame:
    """Return the steps of an endpoint as text: step, description, excluded, remaining, and people where they differ."""
    steps = attrition[name]
    several = any(step.people != step.remaining for step in steps)
    rows = []
    for number, step in enumerate(steps):
        owner = step_owner(attrition, name, number)
        row = {"step": step.step, "description": step.description}
        for part in ("excluded", "remaining", *(["people"] if several else [])):
            row[part] = _text(population.get((part, owner, number)))
        rows.append(row)
    return pd.DataFrame(rows)


def ways_table(data: EndpointData, population: Population) -> pd.DataFrame:
    """Return how the subjects at risk leave by the last horizon: outcome, subjects and percent as text."""
    titles = dict(data.causes)
    titles |= {CENSORED: f"censored before day {data.horizon}", FREE: f"followed to day {data.horizon}, no event"}
    if data.rare:
        titles[CENSORED] += (
            f", or {', '.join(text.removeprefix('competing: ') for text in data.rare)} (too few to show)"
        )
    rows = []
    for way, title in titles.items():
        count = population.get(("way", data.name, way)) if population.tabled(data) else None
        percent = SUPPRESSED if count is None else f"{100 * count / len(data.rows):.1f}"
        rows.append({"outcome": title, "subjects": _text(count), "percent": percent})
    return pd.DataFrame(rows)


def _days(value: float) -> str:
    return "not reached" if np.isinf(value) else f"{value:.0f}"


def follow_up_table(data: EndpointData, times: FollowUpTimes, population: Population) -> pd.DataFrame:
    """Return the length of follow-up and the rate of each event, as text: what, value."""
    tabled = population.tabled(data)
    share = round(100 * times.share)
    rows = [
        ("subjects at risk", _text(population.get(("n", data.name)))),
        ("median follow-up [quartiles], days", f"{_days(times.median)} [{_days(times.lower)}, {_days(times.upper)}]"),
        (f"time observed, {share}th to {100 - share}th percentile, days", f"{times.low:.0f} to {times.high:.0f}"),
    ]
    if tabled:
        rows.append((f"person-years to day {data.horizon}", f"{times.person_years:.0f}"))
        for cause, title in data.causes.items():
            count = population.get(("way", data.name, cause))
            rate = SUPPRESSED if count is None else f"{100 * count / times.person_years:.2f}"
            rows.append((f"{title}, per 100 person-years", rate))
    return pd.DataFrame(rows, columns=["what", "value"])


def curve_table(data: EndpointData, curves: Curves | None) -> pd.DataFrame:
    """Return the curves as numbers: curve, day, estimate, lower, upper, at_risk."""
    columns = ["curve", "day", "estimate", "lower", "upper", "at_risk"]
    if curves is None:
        return pd.DataFrame(columns=columns)
    named = {data.causes[cause]: values for cause, values in curves.incidence.items()} | {"free": curves.event_free}
    if curves.observed is not None:
        blank = np.full(len(curves.times), np.nan)
        named["not censored"] = np.stack([curves.observed, blank, blank], axis=1)
    frames = [
        pd.DataFrame(values, columns=columns[2:5]).assign(curve=title, day=curves.times, at_risk=curves.at_risk)
        for title, values in named.items()
    ]
    return pd.concat(frames, ignore_index=True)[columns]


def data_table(data: Mapping[str, Any], population: Population) -> pd.DataFrame:
    """Return the tables of the source: table, rows, people, sha256 (first digits), changed; numbers as text.

    Rows are left out with the people, from whom they may differ by few.
    """
    changed = data.get("changed") or {}
    rows = []
    for name, facts in data.get("tables", {}).items():
        people = population.get(("table", name))
        shown = people is not None and facts["rows"] - facts["subjects"] not in range(1, population.threshold)
        rows.append(
            {
                "table": name,
                "rows": f"{facts['rows']}" if shown else SUPPRESSED,
                "people": _text(people),
                "sha256": facts["sha256"][:12],
                "changed": "yes" if name in changed else "no",
            }
        )
    return pd.DataFrame(rows, columns=["table", "rows", "people", "sha256", "changed"])


def version_table(data: Mapping[str, Any]) -> pd.DataFrame:
    """Return what is known of the data version as a whole, as text: what, value."""
    facts = {"source": data.get("source"), "version": data.get("version"), "date": data.get("date")}
    facts |= {"date of": data.get("date_of"), "fingerprint": data.get("fingerprint")}
    return pd.DataFrame([(key, str(value)) for key, value in facts.items() if value], columns=["what", "value"])


def findings_table(path: Path | None, threshold: int) -> pd.DataFrame | None:
    """Return what the leak gates found: gate, place, problem, remedy, allowed, why; None where they did not run.

    The gates write no count below 10 in words; where the study wants more than that, their words are left out.
    """
    if path is None or not Path(path).is_file():
        return None
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["gate", "place", "problem", "remedy", "allowed", "why"]
    if threshold > GATES_TELL_FROM:
        columns.remove("problem")
    return pd.DataFrame([{column: row[column] for column in columns} for row in rows], columns=columns)
