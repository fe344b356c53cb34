"""Outcomes of endpoints from codes: the first event after each subject's index time, and what ends its observation.

A death with a date and no hour on the day of an index time that has one comes after it, as nobody has an index event
after death: it counts as the end of that day, for the target, competing events and the end of observation alike.
"""

import logging
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.history import DEATH, History, open_history
from riskweave.cohort.times import DAY, end_of
from riskweave.errors import DataError
from riskweave.study.cohort import CodesEndpoint

__all__ = ["outcomes_from_codes"]

_LOG = logging.getLogger(__name__)


def _numbers(history: History, name: str, endpoint: CodesEndpoint) -> tuple[list[int], dict[int, list[int]]]:
    """Return the numbers of the target codes, and those of each competing cause."""
    where = f"endpoints.{name}"
    target = history.find(endpoint.target, f"{where}.target")
    remedy = "Correct the code, or remove it: without it the subjects who have the event count as censored"
    competing = {}
    for cause, patterns in enumerate(endpoint.competing, start=2):
        own = [patterns] if isinstance(patterns, str) else patterns
        competing[cause] = history.find(own, f"{where}.competing", remedy)
        # Some codes may be both (death of the heart, and any death): ties go to the target. All of them may not.
        if set(competing[cause]) <= set(target):
            problem = f"all {len(competing[cause])} codes of competing event {cause} are codes of the target too"
            raise DataError(f"{where}.competing", problem, "Remove them from one")
    return target, competing


def _first(history: History, numbers: list[int], subjects: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return for each subject the first time of all such events and the first after the index time."""
    undated = history.query(
        "SELECT count(*) AS events, count(DISTINCT person) AS people FROM hits "
        "WHERE time IS NULL AND code IN (SELECT unnest(?))",
        [numbers],
    ).iloc[0]
    if undated["events"]:
        problem = f"{int(undated['events'])} events of {int(undated['people'])} subjects have no time"
        raise DataError(f"{where} (events, column time)", problem, "Date these events, or remove them")
    found = history.query(
        "WITH h AS MATERIALIZED (SELECT DISTINCT person, time FROM hits WHERE code IN (SELECT unnest(?))) "
        "SELECT f.subject, p.first, l.time AS later FROM frame f "
        "JOIN (SELECT person, min(time) AS first FROM h GROUP BY person) p ON f.person = p.person "
        "ASOF LEFT JOIN h l ON f.person = l.person AND f.index_time < l.time",
        [numbers],
    ).set_index("subject")
    return found.reindex(range(len(subjects))).set_axis(subjects.index).astype("datetime64[us]")


def _of_deaths(found: pd.DataFrame, index_time: pd.Series) -> pd.DataFrame:
    """Put deaths dated to the day of an index time with an hour at the end of that day."""
    first, later, latest = found["first"], found["later"], end_of(found["first"])
    today = (first < index_time) & (latest >= index_time)
    later = later.mask(today, later.where(later < latest, latest))
    return pd.DataFrame({"first": first.mask(today, later), "later": later})


def _found(history: History, numbers: list[int], dead: set[int], subjects: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return first and next time of events of some codes (see `_first`); some of the codes may be deaths."""
    deaths, others = [n for n in numbers if n in dead], [n for n in numbers if n not in dead]
    found = _first(history, others, subjects, where)
    if not deaths:
        return found
    died = _of_deaths(_first(history, deaths, subjects, where), subjects["index_time"])
    return pd.DataFrame(
        {name: found[name].where(~(died[name] < found[name]), died[name]).fillna(died[name]) for name in found}
    )


def _deaths(subjects: pd.DataFrame, dates: pd.DataFrame, where: str) -> tuple[pd.Series, pd.Series]:
    """Return the date of death as it is given and as it counts; refuse deaths before the index time."""
    given = dates["first"]
    early = int((end_of(given) < subjects["index_time"]).sum())
    if early:
        remedy = "Correct the dates of death or the index times, or remove these subjects"
        raise DataError(where, f"{early} of {len(subjects)} subjects died before their index time", remedy)
    return given, _of_deaths(dates, subjects["index_time"])["first"]


def outcomes_from_codes(
    subjects: pd.DataFrame, events: Path, name: str, endpoint: CodesEndpoint, scratch: Path, *, threads: int = 2
) -> tuple[pd.DataFrame, dict[str, tuple[str, pd.Series]]]:
    """Find time and event of each subject.

    Parameters
    ----------
    subjects : pandas.DataFrame
        Canonical subjects, subject_id as index.
    events : Path
        The source's canonical events.
    name, endpoint : str, CodesEndpoint
        The study's block.
    scratch : Path
        Folder for what exceeds DuckDB's memory.
    threads : int
        Threads of DuckDB.

    Returns
    -------
    outcome : pandas.DataFrame
        Columns time (days) and event of all subjects; meaningless for those not at risk.
    steps : dict of str to (str, pandas.Series of bool)
        Steps of the attrition: description, and who meets it.

    Raises
    ------
    DataError
        When codes find no event, events have no time, or deaths come before index times.
    """
    where = f"endpoints.{name}"
    people = pd.Series(subjects["person_id"].unique())
    person = pd.Index(people).get_indexer(subjects["person_id"])
    with open_history(events, scratch, threads=threads) as history:
        target_numbers, competing_numbers = _numbers(history, name, endpoint)
        dead = history.numbers([DEATH])
        history.gather(people, [*target_numbers, *chain(*competing_numbers.values()), *dead])
        history.look_from(pd.DataFrame({"person": person, "index_time": subjects["index_time"].to_numpy()}))
        target = _found(history, target_numbers, set(dead), subjects, f"{where}.target")
        competing = {
            cause: _found(history, numbers, set(dead), subjects, f"{where}.competing")["later"]
            for cause, numbers in competing_numbers.items()
        }
        given, death = _deaths(subjects, _first(history, dead, subjects, where), f"{events}, code {DEATH}")
    index, end = subjects["index_time"], _end_of_observation(subjects, given, death, where)
    observed, free = end > index, ~(target["first"] <= index)
    first_time, first_event = _earliest(target["later"], competing)
    happened = first_time <= end_of(end)
    time = (first_time.where(happened, end) - index) / DAY
    outcome = pd.DataFrame({"time": time, "event": np.where(happened, first_event, 0)}, index=subjects.index)
    last = end_of(end) if endpoint.until is None else end_of(end).clip(upper=index + endpoint.until * DAY)
    at_risk = observed & (free | endpoint.recurrent)
    _tell_of_censored_deaths(outcome[at_risk], death <= last, where)
    steps = {"observed": ("Observed after the index time (end of follow-up known and later)", observed)}
    if endpoint.recurrent:
        steps["free"] = ("Free of the endpoint or not (recurrent: the next event counts)", observed | True)
    else:
        steps["free"] = ("Free of the endpoint at the index time (no target code so far)", free)
    return outcome, steps


def _end_of_observation(subjects: pd.DataFrame, given: pd.Series, death: pd.Series, where: str) -> pd.Series:
    """Return the end of follow-up, or the death that comes before it or stands in for it."""
    followup = subjects["followup_end"]
    # Where death is the end, it is also the last moment at which something counts. The selection ends the follow-up
    # at the date of death as it is given.
    end = followup.where(~(given <= followup), death).fillna(death)
    unknown, dead = int(end.isna().sum()), int((followup.isna() & death.notna()).sum())
    place = f"{where} (subjects, column followup_end)"
    if unknown and followup.isna().all():
        problem = f"all {len(subjects)} subjects lack an end of follow-up"
        remedy = "Give the column: cohort.columns.followup_end, or say in population.followup when observation ends"
        raise DataError(place, problem, remedy)
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
        # A date without an hour covers its day: what has an hour comes first. Ties stay with the cause named first.
        sooner = (end_of(when) < end_of(rival)) | (when.notna() & rival.isna())
        rival, cause = rival.mask(sooner, when), np.where(sooner, number, cause)
    rival_first = rival.notna() & ~(target <= end_of(rival))
    return time.mask(rival_first, rival), np.where(rival_first, cause, event)
