"""Outcomes of an endpoint: who is at risk, for how long, and what happened first.

Endpoints from codes
--------------------
- The target event is the first event after the index time whose code starts with one of the target codes.
- A subject with a target code at or before the index time is a prevalent case and not at risk.
- The observation ends at ``followup_end``, and at death (code ``MEDS_DEATH``) where that comes earlier or
  ``followup_end`` is empty, whether or not the study counts death as a competing event: nobody is at risk after death.
- What comes first of target and competing events counts. Ties go to the target, and among competing events to the one
  the study names first.
- A midnight is a date and covers its whole day where it ends something: an event at ``2020-05-01 10:00`` is within a
  follow-up that ends on ``2020-05-01``, and an infarction at any hour of the day of death comes before a
  death that has a date and no hour.

Endpoints from columns are taken as the table gives them; their codes are 0 to the number of causes, without gaps.
"""

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from riskweave.cohort.attrition import Step, attrition_table, write_attrition
from riskweave.cohort.tables import EVENTS, OUTCOMES, SUBJECTS, read_metadata, read_table, write_table
from riskweave.cohort.times import DAY, end_of
from riskweave.errors import DataError, nearest
from riskweave.study.cohort import CodesEndpoint, ColumnsEndpoint, Endpoint

__all__ = ["DEATH", "define_outcomes"]

DEATH = "MEDS_DEATH"
_LOG = logging.getLogger(__name__)
_MOST_CODES = 127
_SHOWN = 10


def _query(connection: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[str]) -> pd.DataFrame:
    return connection.execute(statement, list(parameters)).fetch_df()


def _starts(prefixes: Sequence[str]) -> str:
    """Return the SQL condition that a code starts with one of the prefixes, which are its parameters."""
    return "(" + " OR ".join("starts_with(e.code, ?)" for _ in prefixes) + ")"


def _check_codes(connection: duckdb.DuckDBPyConnection, name: str, endpoint: CodesEndpoint) -> None:
    """Refuse target and competing codes that match no event; tell of single target codes that do not."""
    codes = _query(connection, "SELECT DISTINCT code FROM events ORDER BY code", [])["code"].tolist()

    def problem(prefix: str) -> str:
        near = difflib.get_close_matches(prefix, codes, n=3, cutoff=0.5) or codes[:3]
        return f"{prefix!r} matches no event among the {len(codes)} codes of the cohort; nearest: {', '.join(near)}"

    without = [prefix for prefix in endpoint.target if not any(code.startswith(prefix) for code in codes)]
    if len(without) == len(endpoint.target):
        remedy = "Correct the code: an event counts when its code starts with it (upper and lower case differ)"
        raise DataError(f"endpoints.{name}.target", problem(without[0]), remedy)
    for prefix in without:
        _LOG.warning("endpoints.%s.target: %s", name, problem(prefix))
    for prefix in endpoint.competing:
        if not any(code.startswith(prefix) for code in codes):
            remedy = "Correct the code, or remove it: without it the subjects who have the event count as censored"
            raise DataError(f"endpoints.{name}.competing", problem(prefix), remedy)


def _first(connection: duckdb.DuckDBPyConnection, prefixes: Sequence[str], where: str) -> pd.DataFrame:
    """Return for each subject with such codes the first time of all and the first after the index time."""
    found = _query(
        connection,
        "SELECT e.subject_id, min(e.time) AS first, min(e.time) FILTER (e.time > s.index_time) AS later, "
        "count(*) FILTER (e.time IS NULL) AS undated "
        f"FROM events e JOIN subjects s USING (subject_id) WHERE {_starts(prefixes)} GROUP BY e.subject_id",
        prefixes,
    ).set_index("subject_id")
    undated = int(found["undated"].sum())
    if undated:
        problem = f"{undated} events of {int((found['undated'] > 0).sum())} subjects have no time"
        raise DataError(f"{where} (events, column time)", problem, "Date these events, or remove them")
    return found[["first", "later"]].astype("datetime64[us]")


def _deaths(subjects: pd.DataFrame, dates: pd.DataFrame, where: str) -> pd.Series:
    """Return the date of death; refuse deaths before the index time."""
    death = dates["first"].reindex(subjects.index).astype("datetime64[us]")
    early = int((end_of(death) < subjects["index_time"]).sum())
    if early:
        remedy = "Correct the dates of death or the index times, or remove these subjects"
        raise DataError(where, f"{early} of {len(subjects)} subjects died before their index time", remedy)
    return death


def _from_codes(
    subjects: pd.DataFrame, events: Path, name: str, endpoint: CodesEndpoint
) -> tuple[pd.DataFrame, list[Step]]:
    """Return time and event of the subjects at risk, and the steps that led to them."""
    where = f"endpoints.{name}"
    with duckdb.connect() as connection:
        connection.register("subjects", subjects.reset_index()[["subject_id", "index_time"]])
        connection.read_parquet(str(events)).create_view("events")
        _check_codes(connection, name, endpoint)
        target = _first(connection, endpoint.target, f"{where}.target").reindex(subjects.index)
        competing = {
            cause: _first(connection, [prefix], f"{where}.competing")["later"].reindex(subjects.index)
            for cause, prefix in enumerate(endpoint.competing, start=2)
        }
        death = _deaths(subjects, _first(connection, [DEATH], where), f"{events}, code {DEATH}")
    index, end = subjects["index_time"], _end_of_observation(subjects, death, where)
    observed = end > index
    prevalent = target["first"] <= index
    first_time, first_event = _earliest(target["later"], competing)
    happened = first_time <= end_of(end)
    time = (first_time.where(happened, end) - index) / DAY
    outcome = pd.DataFrame({"time": time, "event": np.where(happened, first_event, 0)}, index=subjects.index)
    outcome = outcome[observed & ~prevalent]
    _tell_of_censored_deaths(outcome, death <= end_of(end), where)
    steps = [
        Step("observed", "Observed after the index time (end of follow-up known and later)", int((~observed).sum())),
        Step(
            "free", "Free of the endpoint at the index time (no target code so far)", int((observed & prevalent).sum())
        ),
    ]
    return outcome, steps


def _end_of_observation(subjects: pd.DataFrame, death: pd.Series, where: str) -> pd.Series:
    """Return the end of follow-up, or the death that comes before it or stands in for it."""
    followup = subjects["followup_end"]
    # Where death is the end, it is also the last moment at which something counts.
    end = followup.where(~(death < followup), death).fillna(death)
    unknown, dead = int(end.isna().sum()), int((followup.isna() & death.notna()).sum())
    place = f"{where} (subjects, column followup_end)"
    if unknown and followup.isna().all():
        problem = f"all {len(subjects)} subjects lack an end of follow-up"
        raise DataError(place, problem, "Give the column: cohort.columns.followup_end")
    if unknown and dead:
        _LOG.warning(
            "%s: of %d subjects without a value %d are excluded and the %d who died are kept, which overstates risks; "
            "fill the column for those alive",
            place,
            unknown + dead,
            unknown,
            dead,
        )
    return end


def _tell_of_censored_deaths(outcome: pd.DataFrame, died: pd.Series, where: str) -> None:
    """Tell how many subjects at risk die without an event that the endpoint counts."""
    censored = int((died.loc[outcome.index] & (outcome["event"] == 0)).sum())
    if censored:
        _LOG.warning(
            "%s.competing: %d of %d subjects at risk die without an event and count as censored, which overstates "
            "the risk of the target; add %s to competing",
            where,
            censored,
            len(outcome),
            DEATH,
        )


def _earliest(target: pd.Series, competing: dict[int, pd.Series]) -> tuple[pd.Series, np.ndarray]:
    """Return time and number of the earliest event; see the module for ties."""
    time, event = target.copy(), np.where(target.notna(), 1, 0)
    rival = pd.Series(pd.NaT, index=target.index, dtype="datetime64[us]")
    cause = np.zeros(len(target), dtype=np.int64)
    for number, when in competing.items():
        sooner = (when < rival) | (when.notna() & rival.isna())
        rival, cause = rival.mask(sooner, when), np.where(sooner, number, cause)
    rival_first = rival.notna() & ~(target <= end_of(rival))
    return time.mask(rival_first, rival), np.where(rival_first, cause, event)


def _column(subjects: pd.DataFrame, column: str, key: str, where: str) -> pd.Series:
    """Return a numeric column without missing values."""
    if column not in subjects.columns:
        problem = f"there is no column {column!r}, which {key} names; the table has: {', '.join(subjects.columns)}"
        raise DataError(where, problem, f"Correct {key} or add the column.{nearest(column, subjects.columns)}")
    place = f"{where}, column {column}"
    values = pd.to_numeric(subjects[column], errors="coerce")
    if not pd.api.types.is_numeric_dtype(subjects[column]):
        wrong = int((values.isna() & subjects[column].notna()).sum())
        problem = f"{wrong} of {len(values)} rows are no number ({key} names the column)"
        raise DataError(place, problem, "Allowed: numbers; times in days from the index time, events 0, 1, 2, ...")
    missing = int((~np.isfinite(values)).sum())
    if missing:
        problem = f"{missing} of {len(values)} subjects have no finite value ({key} names the column)"
        raise DataError(place, problem, "Every subject needs one: for those without an event the time last observed")
    return values.astype("float64")


def _refuse_gaps(event: pd.Series, place: str) -> None:
    """Refuse codes with a gap, such as 0, 1 and 99: the number for "unknown" would become a cause."""
    counts = event.astype("int64").value_counts().sort_index()
    gaps = sorted(set(range(1, int(counts.index.max()) + 1)) - set(counts.index))
    if gaps:
        found = ", ".join(f"{code} ({number} subjects)" for code, number in counts.head(_SHOWN).items())
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        problem = f"the event codes leave out {gaps[0]}; found: {found}{more}"
        remedy = (
            "Allowed: 0 censored, 1 target, 2 and up competing, without gaps. Censor (0) subjects of unknown status at "
            "the time last known without the event, or remove them"
        )
        raise DataError(place, problem, remedy)


def _from_columns(
    subjects: pd.DataFrame, where: str, name: str, endpoint: ColumnsEndpoint
) -> tuple[pd.DataFrame, list[Step]]:
    """Return time and event of the subjects at risk, and the steps that led to them."""
    time = _column(subjects, endpoint.time, f"endpoints.{name}.time", where)
    event = _column(subjects, endpoint.event, f"endpoints.{name}.event", where)
    negative = int((time < 0).sum())
    if negative:
        problem = f"{negative} of {len(time)} subjects have a negative time: the event lies before the index time"
        raise DataError(f"{where}, column {endpoint.time}", problem, "Allowed: days from the index time, 0 and up")
    odd = int((~event.isin(range(_MOST_CODES + 1))).sum())
    if odd:
        problem = f"{odd} of {len(event)} subjects have an event that is no whole number from 0 to {_MOST_CODES}"
        raise DataError(
            f"{where}, column {endpoint.event}", problem, "Allowed: 0 censored, 1 target, 2 and up competing"
        )
    _refuse_gaps(event, f"{where}, column {endpoint.event}")
    if set(event.unique()) == {1, 2}:
        _LOG.warning("%s, column %s: holds 1 and 2 and no 0; 1 is read as the target event", where, endpoint.event)
    observed = time > 0
    steps = [
        Step("observed", "Observed after the index time (time above 0)", int((~observed).sum())),
        Step("free", "Free of the endpoint at the index time (the table's columns are taken as they are)", 0),
    ]
    return pd.DataFrame({"time": time, "event": event}, index=subjects.index)[observed], steps


def _check_outcome(outcome: pd.DataFrame, name: str, endpoint: Endpoint) -> None:
    """Refuse an endpoint without a target event, and horizons that nobody's observation reaches."""
    where = f"endpoints.{name}"
    if not (outcome["event"] == 1).any():
        problem = f"0 of the {len(outcome)} subjects at risk have the target event within their follow-up"
        raise DataError(where, problem, "Check the codes or the event column, the index times and the end of follow-up")
    longest, last = outcome["time"].max(), max(endpoint.horizons)
    if last > longest:
        problem = f"horizon {last} days lies beyond the longest of {len(outcome)} observations, {longest:.1f} days"
        raise DataError(
            f"{where}.horizons", problem, "Shorten the horizons; if the times are not in days, convert them"
        )


def define_outcomes(
    *, subjects: Path, events: Path, name: str, endpoint: Endpoint, outcomes: Path, attrition: Path
) -> None:
    """Write the outcomes of an endpoint and its attrition table.

    Parameters
    ----------
    subjects, events : Path
        Canonical tables; events are read for endpoints from codes only.
    name : str
        Name of the endpoint in the study.
    endpoint : Endpoint
        The study's block.
    outcomes : Path
        Parquet: subject_id, endpoint, time (days, > 0), event (0 censored, 1 target, 2 and up competing), one row per
        subject at risk.
    attrition : Path
        CSV: step, description, excluded, remaining.

    Raises
    ------
    DataError
        When codes or columns are missing or wrong, nobody has the event, or no observation reaches a horizon.
    """
    table = read_table(subjects, SUBJECTS).set_index("subject_id")
    if isinstance(endpoint, CodesEndpoint):
        if not Path(events).is_file():
            raise DataError(str(events), f"there is no such file (table {EVENTS.name})", "Run the rule that makes it")
        outcome, steps = _from_codes(table, events, name, endpoint)
    else:
        outcome, steps = _from_columns(table, str(subjects), name, endpoint)
    _check_outcome(outcome, name, endpoint)
    facts = read_metadata(subjects)
    total, undated = int(facts.get("source_rows", len(table))), int(facts.get("without_index_time", 0))
    steps = [
        Step("subjects", "Subjects in the table", 0),
        Step("index_time", "With an index time", undated),
        *steps,
        Step("at_risk", "At risk", 0),
    ]
    frame = outcome.reset_index().assign(endpoint=name)
    frame = frame.astype({"time": "float64", "event": "int8"})[OUTCOMES.columns.names]
    write_table(frame, outcomes, OUTCOMES)
    write_attrition(attrition_table(total=total, steps=steps), attrition)
