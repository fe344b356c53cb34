"""The cohort report: reads what the cohort and feature stages made, and writes one page with its tables and figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from riskweave.cohort.attrition import Step, read_attrition
from riskweave.cohort.version import read_data
from riskweave.files import replacing_in
from riskweave.page import SUPPRESSED, Page
from riskweave.report.curves import Curves, draw_curves, follow_up
from riskweave.report.figures import plot_availability, plot_curves, plot_flow, plot_missingness
from riskweave.report.inputs import EndpointData, describable, grouped, read_endpoint, read_ids
from riskweave.report.missingness import availability_table, lacking_shown, missingness_table
from riskweave.report.population import Population, count_population
from riskweave.report.table1 import make_tables
from riskweave.report.tables import (
    attrition_steps,
    curve_table,
    data_table,
    findings_table,
    follow_up_table,
    version_table,
    ways_table,
)
from riskweave.study.cohort import CohortReport, Endpoint

__all__ = ["OF_ENDPOINT", "OF_STUDY", "report_cohort"]

OF_STUDY = ("cohort.html", "missingness.csv", "missingness.svg", "availability.csv", "availability.svg", "data.csv")
"""Files of the report."""

OF_ENDPOINT = ("attrition.csv", "flow.svg", "outcomes.csv", "follow_up.csv", "curves.csv", "curves.svg", "table1.csv")
"""Files of each endpoint, in a folder of its name."""

NOT_TABLED = (
    "The number of subjects at risk is not shown: from it and the numbers of another endpoint or step a small count "
    "would follow. Table 1 and all other counts of this endpoint are left out with it."
)


@dataclass(frozen=True)
class _Report:
    """What is shown, before it is written."""

    attrition: Mapping[str, list[Step]]
    endpoints: Mapping[str, EndpointData]
    population: Population
    tables: Mapping[str, pd.DataFrame]
    curves: Mapping[str, Curves | None]
    missing: pd.DataFrame
    patterns: pd.DataFrame
    totals: Mapping[str, int | None]
    main: str
    data: Mapping[str, Any]
    findings: pd.DataFrame | None


def _curves(data: EndpointData, population: Population, threshold: int) -> Curves | None:
    causes = population.drawn(data)
    if not causes:
        return None
    return draw_curves(
        time=data.leaving,
        kind=data.kind,
        causes=causes,
        horizon=float(data.horizon),
        threshold=threshold,
        at_risk_shown=population.at_risk(data),
    )


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def _write_endpoint(report: _Report, name: str, folder: Path) -> None:
    """Write the tables and figures of an endpoint."""
    folder.mkdir(parents=True)
    data, population = report.endpoints[name], report.population
    steps, ways = attrition_steps(report.attrition, name, population), ways_table(data, population)
    times = follow_up(time=data.time, event=data.event, horizon=float(data.horizon), threshold=population.threshold)
    _write_csv(steps, folder / "attrition.csv")
    _write_csv(ways, folder / "outcomes.csv")
    _write_csv(follow_up_table(data, times, population), folder / "follow_up.csv")
    _write_csv(curve_table(data, report.curves[name]), folder / "curves.csv")
    table1 = report.tables.get(name, pd.DataFrame(columns=["variable", "level", "all"]))
    _write_csv(table1, folder / "table1.csv")
    leaves = list(ways[["outcome", "subjects"]].itertuples(index=False, name=None))
    plot_flow(steps=steps, ways=leaves, endpoint=name, output=folder / "flow.svg")
    plot_curves(curves=report.curves[name], data=data, output=folder / "curves.svg")


def _write_study(report: _Report, folder: Path) -> None:
    """Write the tables and figures that are not of one endpoint."""
    main = report.endpoints[report.main]
    _write_csv(report.missing, folder / "missingness.csv")
    _write_csv(report.patterns, folder / "availability.csv")
    _write_csv(data_table(report.data, report.population), folder / "data.csv")
    plot_missingness(table=report.missing, output=folder / "missingness.svg")
    n = report.population.get(("n", main.name))
    plot_availability(table=report.patterns, totals=dict(report.totals), n=n, output=folder / "availability.svg")


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _endpoint_section(page: Page, report: _Report, name: str, folder: Path) -> None:
    """Lay out the section of an endpoint from the files that were written."""
    data, population = report.endpoints[name], report.population
    section = page.section(f"Endpoint {name}", f"endpoint-{name}")
    if data.description:
        section.text(data.description)
    section.heading("Who is at risk")
    section.figure(
        folder / "flow.svg", "Subjects left out and remaining at each step, and outcomes by the last horizon."
    )
    section.table(_read(folder / "attrition.csv"), text=2, folded="The steps as a table")
    section.heading("Outcomes and follow-up")
    section.table(_read(folder / "outcomes.csv"), f"First event by day {data.horizon}, the last horizon")
    section.table(_read(folder / "follow_up.csv"), "Follow-up (median by the reverse Kaplan-Meier method)")
    section.figure(
        folder / "curves.svg",
        "Left: Aalen-Johansen cumulative incidence of each cause. Right: Kaplan-Meier estimate of being free of all of "
        "them, and reverse Kaplan-Meier estimate of not being censored. Given at times between which at least "
        f"{population.threshold} people, or nobody, leave in each way; drawn up to where as many are left. At risk: "
        "under observation and free of events after that time.",
    )
    section.heading("Table 1")
    if name not in report.tables:
        section.text(NOT_TABLED)
        return
    caption = "Subjects at risk" + (f", by {data.by}" if population.compared(data) else "")
    section.table(_read(folder / "table1.csv"), caption, text=2, grouped=True)
    note = "Counts are n (% of all subjects of the column). "
    if population.compared(data):
        two = data.groups[0] == "event" or len(data.groups) == 2
        note += (
            f"SMD: standardised mean difference{' of the first two groups' if two else ', the largest of all pairs'}."
        )
    elif data.groups or data.by.startswith("target"):
        note += "Groups are too small to be compared."
    section.text(note, note=True)


def _study_sections(page: Page, report: _Report, folder: Path) -> None:
    """Lay out what is not of one endpoint."""
    who = f"the subjects at risk for {report.main}"
    section = page.section("Modalities", "modalities")
    section.figure(folder / "availability.svg", f"Which modalities {who} have.")
    section.table(_read(folder / "availability.csv"), text=len(report.totals), folded="The patterns as a table")
    section = page.section("Missing values", "missing")
    section.text(f"Of {who}. A subject without a modality counts as without a value in its columns.")
    section.figure(folder / "missingness.svg", "Share without a value, overall (bars) and by group (markers).")
    section.table(_read(folder / "missingness.csv"), text=3, grouped=True, folded="All columns as a table")
    if report.findings is not None:
        section = page.section("Leak gates", "leaks")
        if report.findings.empty:
            section.text("The gates found nothing.")
        else:
            section.text("What the gates found. Training waits until each finding is mended or allowed by the study.")
            section.table(report.findings, text=len(report.findings.columns))
    section = page.section("Data version", "data")
    section.table(version_table(report.data), text=2)
    section.table(_read(folder / "data.csv"), "Tables of the source; changed: since the data were read before")


def _page(report: _Report, study: str, question: str, folder: Path) -> str:
    threshold = report.population.threshold
    note = (
        f"{SUPPRESSED}: not shown. Counts of 1 to {threshold - 1} are not shown, nor counts, shares and differences "
        "from which one would follow; the mark does not tell which of them is small."
    )
    page = Page(f"Cohort report: {study}", question, note)
    for name in report.endpoints:
        _endpoint_section(page, report, name, folder / name)
    _study_sections(page, report, folder)
    return page.render()


def report_cohort(
    *,
    study: str,
    question: str,
    subjects: Path,
    data: Path,
    endpoints: Mapping[str, Endpoint],
    outcomes: Mapping[str, Path],
    attrition: Mapping[str, Path],
    main: str,
    features: Mapping[str, Path],
    modalities: Mapping[str, str],
    report: CohortReport,
    columns: list[str],
    findings: Path | None,
    folder: Path,
) -> None:
    """Write the cohort report: a page, and its tables and figures as files of their own.

    Parameters
    ----------
    study, question : str
        Name and question of the study.
    subjects : Path
        The study's subjects.
    data : Path
        The data version (data.json).
    endpoints : dict of name to Endpoint
        Blocks of the study.
    outcomes, attrition : dict of endpoint to Path
        Outcome tables, and CSV files of the selection's steps.
    main : str
        Endpoint whose subjects at risk are described in availability and missingness; the next one where their number
        cannot be shown.
    features : dict of feature set to Path
        Feature tables.
    modalities : dict of feature set to str
        Their modalities; who has a row in some set of a modality has it.
    report : CohortReport
        The study's block.
    columns : list of str
        Columns of the subject table that feature sets use: described where `report` names none.
    findings : Path or None
        What the leak gates found; None, or a file that does not exist, where they did not run.
    folder : Path
        Where the report is written: the files :data:`OF_STUDY`, and :data:`OF_ENDPOINT` in a folder for each endpoint.
        They take their places when all of them are made.

    Raises
    ------
    DataError
        When a table is missing or breaks its contract, or a column that `report` names does not exist or is no use.
    """
    threshold = report.suppress_below
    ids, version = read_ids(subjects), read_data(data)
    found = {n: read_endpoint(n, endpoints[n], outcomes[n], ids, threshold=threshold) for n in sorted(endpoints)}
    found = grouped(found, subjects, report)
    steps = {name: read_attrition(attrition[name]) for name in found}
    people = {name: facts["subjects"] for name, facts in version.get("tables", {}).items()}
    population = count_population(steps, found, tables=people, total=len(ids), threshold=threshold)
    described = describable(subjects, list(report.columns) or list(dict.fromkeys(columns)))
    tables = make_tables(subjects=subjects, columns=described, endpoints=found, population=population, total=len(ids))
    # what is described are subjects whose number can be shown
    main = next((name for name in (main, *found) if population.tabled(found[name])), main)
    shown = population.tabled(found[main])
    patterns, totals, missing = _of_features(
        features, modalities, ids, found[main], compared=population.compared(found[main]), threshold=threshold
    )
    content = _Report(
        attrition=steps,
        endpoints=found,
        population=population,
        tables=tables,
        curves={name: _curves(one, population, threshold) for name, one in found.items()},
        missing=missing if shown else missing.iloc[:0],
        patterns=patterns if shown else patterns.iloc[:0],
        totals=totals if shown else dict.fromkeys(totals),
        main=main,
        data=version,
        findings=findings_table(findings, threshold),
    )
    with replacing_in(folder) as made:
        for name in found:
            _write_endpoint(content, name, made / name)
        _write_study(content, made)
        (made / "cohort.html").write_text(_page(content, study, question, made), encoding="utf-8")


def _of_features(
    features: Mapping[str, Path],
    modalities: Mapping[str, str],
    ids: object,
    data: EndpointData,
    *,
    compared: bool,
    threshold: int,
) -> tuple[pd.DataFrame, dict[str, int | None], pd.DataFrame]:
    """Return patterns of modalities, how many have each, and missing values."""
    sets: dict[str, dict[str, Path]] = {}
    for name, modality in modalities.items():
        sets.setdefault(modality, {})[name] = features[name]
    tables = {modality: list(paths.values()) for modality, paths in sets.items()}
    patterns, totals = availability_table(availability=tables, ids=ids, data=data, threshold=threshold)
    lacking = lacking_shown(availability=sets, totals=totals, ids=ids, data=data, threshold=threshold)
    missing = missingness_table(
        features=features, ids=ids, data=data, compared=compared, lacking_shown=lacking, threshold=threshold
    )
    return patterns, totals, missing
