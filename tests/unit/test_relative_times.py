"""Times that count from the index, from the user's tables to features and outcomes: hours and minutes are instants."""

from pathlib import Path

import pandas as pd
import pytest

from riskweave.cohort.ingest import ingest
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.selection import select_cohort
from riskweave.modalities.base import read_features
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.cohort import CodesEndpoint
from riskweave.study.features import EhrFeatures
from riskweave.study.population import Population
from riskweave.study.sources import EventColumns, TableColumns, TablesSource


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def selected(unit: str, events: str, *, offset: float, ends: tuple[float, ...] | None = None) -> None:
    """Ingest events ("person,time,code" lines) of persons a and b, and select both."""
    rows = ["subject_id,sex", "a,f", "b,m"]
    if ends is not None:
        rows = [f"{row},{end}" for row, end in zip(rows, ("followup_end", *ends), strict=True)]
    Path("subjects.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    Path("events.csv").write_text("subject_id,time,code\n" + events.replace(" ", "\n") + "\n", encoding="utf-8")
    cohort = TablesSource(
        source="tables",
        subjects="subjects.csv",
        events="events.csv",
        columns=TableColumns(index_time=None, followup_end="followup_end" if ends is not None else None),
        event_columns=EventColumns(time_unit=unit),
    )
    ingest(cohort=cohort, output=Path("source"))
    select_cohort(
        subjects=Path("source/subjects.parquet"),
        events=Path("source/events.parquet"),
        population=Population.model_validate({"index": {"at": "column", "offset": offset}}),
        output=Path("subjects.parquet"),
        attrition=Path("selected.csv"),
    )


def counted() -> list[float]:
    features = EhrFeatures.model_validate({"modality": "ehr", "events": [{"codes": ["HR$"], "aggregates": ["count"]}]})
    arguments = {"subjects": Path("subjects.parquet"), "events": Path("source/events.parquet")}
    aggregate_events(**arguments, features=features, output=Path("features.parquet"))
    frame, _ = read_features(Path("features.parquet"))
    return frame.set_index("subject_id")["HR:count"].reindex(["a", "b"]).fillna(0).tolist()


@pytest.mark.parametrize(
    ("unit", "events", "offset", "expected"),
    [
        # Minute 0 lies in the day of the index time, and is no date.
        ("minutes", "a,0,HR a,720,HR a,721,HR b,-1,HR", 0.5, [2, 1]),
        ("minutes", "a,1440,HR a,1500,HR b,1440,HR b,2161,HR", 1.5, [2, 1]),
        ("hours", "a,24,HR b,25,HR b,36,HR", 1.5, [1, 2]),
        ("hours", "a,48,HR a,49,HR b,47,HR", 2, [1, 1]),
        # A whole number of days is a date: it may be any hour of the index day.
        ("days", "a,0,HR a,1,HR b,0,HR", 1.5, [1, 1]),
    ],
)
def test_what_lies_before_an_index_time_with_an_offset(unit, events, offset, expected):
    selected(unit, events, offset=offset)
    assert counted() == expected


@pytest.mark.parametrize(
    ("unit", "ends", "events", "expected"),
    [
        ("minutes", (1440, 4320), "a,2500,I21 b,2500,I21", {"a": (1, 0), "b": (2500 / 1440, 1)}),
        ("days", (1, 3), "a,1.5,I21 b,2,I21", {"a": (1.5, 1), "b": (2, 1)}),
    ],
)
def test_the_end_of_follow_up(unit, ends, events, expected):
    selected(unit, events, offset=0, ends=ends)
    define_outcomes(
        subjects=Path("subjects.parquet"),
        events=Path("source/events.parquet"),
        selected=Path("selected.csv"),
        name="mi",
        endpoint=CodesEndpoint(kind="codes", target=["I21"], horizons=[1]),
        outcomes=Path("outcomes.parquet"),
        attrition=Path("attrition.csv"),
    )
    made = pd.read_parquet("outcomes.parquet")
    found = {row.subject_id: (pytest.approx(row.time), row.event) for row in made.itertuples()}
    assert found == expected
