"""Outcomes of an endpoint: who is at risk, for how long, and what happened first.

Endpoints from codes
--------------------
- The target event is the first event after the index time that has one of the target codes.
- A subject with a target code at or before the index time is a prevalent case and not at risk.
- The observation ends at ``followup_end``, and at death (code ``MEDS_DEATH``) where that comes earlier or
  ``followup_end`` is empty, whether or not the study counts death as a competing event: nobody is at risk after death.
- What comes first of target and competing events counts. Ties go to the target, and among competing events to the one
  the study names first.
- A midnight is a date and covers its whole day where it ends something: an event at ``2020-05-01 10:00`` is within a
  follow-up that ends on ``2020-05-01``, and an infarction at any hour of the day of death comes before a
  death that has a date and no hour. Among competing events too: a stroke at 10:00 comes before a death dated to that
  day.
- A death dated to the day of an index time that has an hour comes after it (nobody has an index event after death) and
  counts as the end of that day.

`until` ends the time at risk of every kind of endpoint: an event at `until` counts, one after it does not. With
`recurrent` prevalent cases stay at risk of their next event. Each subject is a person at one index time: what happened
before and after is told apart by its own.

Endpoints from columns are taken as the table gives them; their codes are 0 to the number of causes, without gaps.
"""

from pathlib import Path

import pandas as pd

from riskweave.cohort.attrition import Step, next_step, read_attrition, write_attrition
from riskweave.cohort.history import DEATH
from riskweave.cohort.outcomes_codes import outcomes_from_codes
from riskweave.cohort.outcomes_columns import outcomes_from_columns, outcomes_from_days
from riskweave.cohort.tables import OUTCOMES, SUBJECTS, read_metadata, read_table, write_table
from riskweave.errors import DataError
from riskweave.study.cohort import CodesEndpoint, DaysEndpoint, Endpoint

__all__ = ["DEATH", "define_outcomes"]


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


def _until(outcome: pd.DataFrame, until: int | None) -> pd.DataFrame:
    """Censor at `until` those who are free of events then."""
    if until is None:
        return outcome
    late = outcome["time"] > until
    return outcome.assign(time=outcome["time"].mask(late, until), event=outcome["event"].mask(late, 0))


def _at_risk(
    outcome: pd.DataFrame, people: pd.Series, conditions: dict[str, tuple[str, pd.Series]]
) -> tuple[pd.DataFrame, list[Step]]:
    """Return the outcomes of those who meet all conditions, and the steps that led to them."""
    steps = []
    for name, (description, meets) in conditions.items():
        steps.append(next_step(name, description, people, meets[people.index]))
        people = people[meets[people.index]]
    steps.append(next_step("at_risk", "At risk", people, pd.Series(True, index=people.index)))
    return outcome.loc[people.index], steps


def define_outcomes(
    *,
    subjects: Path,
    events: Path,
    selected: Path,
    name: str,
    endpoint: Endpoint,
    outcomes: Path,
    attrition: Path,
    threads: int = 2,
) -> None:
    """Write the outcomes of an endpoint and its attrition table.

    Parameters
    ----------
    subjects : Path
        The study's subjects.
    events : Path
        The source's events, read for endpoints from codes only.
    selected : Path
        CSV: the attrition of the selection, to which the endpoint's steps are added.
    name : str
        Name of the endpoint in the study.
    endpoint : Endpoint
        The study's block.
    outcomes : Path
        Parquet: subject_id, endpoint, time (days, > 0), event (0 censored, 1 target, 2 and up competing), one row per
        subject at risk.
    attrition : Path
        CSV: step, description, excluded, remaining, people.
    threads : int
        Threads of DuckDB.

    Raises
    ------
    DataError
        When codes or columns are missing or wrong, nobody has the event, or no observation reaches a horizon.
    """
    table = read_table(subjects, SUBJECTS).set_index("subject_id")
    before = read_attrition(selected)
    where = read_metadata(subjects).get("where", str(subjects))
    if isinstance(endpoint, CodesEndpoint):
        scratch = Path(outcomes).with_name(f".{Path(outcomes).name}.duckdb")
        outcome, conditions = outcomes_from_codes(table, events, name, endpoint, scratch, threads=threads)
    elif isinstance(endpoint, DaysEndpoint):
        outcome, conditions = outcomes_from_days(table, where, name, endpoint)
    else:
        outcome, conditions = outcomes_from_columns(table, where, name, endpoint)
    outcome, steps = _at_risk(_until(outcome, endpoint.until), table["person_id"], conditions)
    _check_outcome(outcome, name, endpoint)
    frame = outcome.reset_index().assign(endpoint=name)
    frame = frame.astype({"time": "float64", "event": "int8"})[OUTCOMES.columns.names]
    write_table(frame, outcomes, OUTCOMES)
    write_attrition([*before, *steps], attrition)
