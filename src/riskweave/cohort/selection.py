"""Who is in the study: from the people of the source to its subjects, each a person at one index time.

Index times come first, then the steps below, each over those whom the step before left. The attrition table counts
subjects and people after each.

============  =========================================================================================
subjects      the people of the source
index_time    those with an index time
index_times   with `every_event`: the index times of these people
alive         not dead before the index time (a death dated to the day covers that day)
followup      the observation does not end before the index time (unknown ends stay; endpoints look at them)
entry         with `at: date` and `at: age`: observed by then, as an event (birth and death aside) shows
history       `minimum_history`
observation   `minimum_followup`
<criterion>   each of `include` in order, then each of `exclude`
============  =========================================================================================

What is selected does not depend on the order of any table's rows.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from riskweave.cohort.attrition import Step, next_step, write_attrition
from riskweave.cohort.criteria import derive_column, meets_by_codes, meets_by_column, with_suffix
from riskweave.cohort.history import BIRTH, DEATH, History, open_history
from riskweave.cohort.index_times import find_index_times, time_column
from riskweave.cohort.tables import SOURCE_SUBJECTS, SUBJECTS, read_arrow, read_metadata, write_table
from riskweave.cohort.times import DAY, TICK, age_at, end_of
from riskweave.errors import DataError, nearest
from riskweave.study.population import Criterion, FollowUp, Population

__all__ = ["select_cohort"]

_LOG = logging.getLogger(__name__)
# Ages outside are slips: a birth in the wrong century, or the 300 years by which some sources hide ages above 89.
_OLDEST = 130
_FIXED = tuple(SUBJECTS.columns.names)


@dataclass
class _Selection:
    """The subjects on their way: arrays of one row per index time found, and who is still in.

    Attributes
    ----------
    people : pyarrow.Table
        The source's subject table.
    where : str
        What messages call it.
    frame : pandas.DataFrame
        row (of `people`), person_id, index_time, followup_end, death, age (years, missing where the birth is unknown).
    keep : pandas.Series of bool
        Who is still in.
    derived : dict of str to pyarrow.Array
        Columns made from events.
    """

    people: pa.Table
    where: str
    frame: pd.DataFrame
    keep: pd.Series
    steps: list[Step]
    derived: dict[str, tuple[pa.Array, dict[bytes, bytes]]] = field(default_factory=dict)

    def step(self, name: str, description: str, meets: pd.Series | np.ndarray, *, key: str) -> None:
        """Keep those who meet a condition, and count; refuse a condition that leaves nobody."""
        meets = pd.Series(np.asarray(meets, dtype=bool), index=self.keep.index)
        before = self.keep
        step = next_step(name, description, self.frame["person_id"][before], meets[before])
        if step.remaining == 0:
            problem = f"step {name} of the selection leaves none of the {step.excluded} subjects that were left before"
            raise DataError(key, problem, f"It asks for: {description}. Correct or loosen it")
        self.keep = before & meets
        self.steps.append(step)

    def column(self, name: str) -> pa.ChunkedArray | None:
        """Return a column of the subject table, one value per index time."""
        if name in self.derived:
            return pa.chunked_array([self.derived[name][0]])
        if name in self.people.column_names and name not in _FIXED:
            return self.people.column(name).take(pa.array(self.frame["row"].to_numpy()))
        if name == "age" and self.frame["age"].notna().any():
            return pa.chunked_array([pa.array(self.frame["age"], from_pandas=True)])
        return None

    def columns(self) -> list[str]:
        """Return the names that `column` knows."""
        further = [name for name in self.people.column_names if name not in _FIXED]
        return list(dict.fromkeys([*further, *self.derived, *(["age"] if self.column("age") is not None else [])]))


def _codes_of_study(population: Population, history: History) -> dict[str, list[int]]:
    """Return for each key of the study that names codes the numbers of these codes."""
    keys = {f"population.columns.{name}.codes": column.codes for name, column in population.columns.items()}
    if population.index is not None and population.index.at in ("first_event", "every_event"):
        keys["population.index.codes"] = population.index.codes
    for kind in ("include", "exclude"):
        for criterion in getattr(population, kind):
            if criterion.codes is not None:
                keys[f"population.{kind}.{criterion.name}.codes"] = criterion.codes
    return {key: history.find(codes, key) for key, codes in keys.items()}


def _first_of(history: History, numbers: list[int], count: int) -> pd.Series:
    """Return the first time of events with these codes, for each person."""
    found = history.query(
        "SELECT person, min(time) AS time FROM hits WHERE code IN (SELECT unnest(?)) AND time IS NOT NULL "
        "GROUP BY person",
        [numbers],
    )
    times = pd.Series(found["time"].to_numpy("datetime64[us]"), index=found["person"].to_numpy(np.int64))
    return times.reindex(range(count)).astype("datetime64[us]")


def _span(history: History, people: pd.Series) -> pd.DataFrame:
    """Return the first time of each person's dated events, birth and death aside, and the last one, birth aside."""
    births, deaths = (history.codes.loc[history.numbers([code])].tolist() or [""] for code in (BIRTH, DEATH))
    found = history.query(
        "SELECT subject_id, min(time) FILTER (code NOT IN (SELECT unnest(?))) AS first, max(time) AS last "
        "FROM events WHERE time IS NOT NULL AND code NOT IN (SELECT unnest(?)) GROUP BY subject_id",
        [deaths, births],
    ).set_index("subject_id")
    return found.reindex(people).astype("datetime64[us]").reset_index(drop=True)


def _observed_until(
    *,
    followup: FollowUp,
    people: pa.Table,
    span: pd.DataFrame | None,
    rows: pd.Series,
    index_time: pd.Series,
    where: str,
) -> pd.Series:
    """Return the end of each subject's observation, death aside; missing where the source does not know."""
    missing = pd.Series(pd.NaT, index=range(people.num_rows), dtype="datetime64[us]")
    unknown = False
    if followup.last_contact == "last_event":
        end = span["last"]
    elif "followup_end" in people.column_names and people.column("followup_end").null_count < people.num_rows:
        end = time_column(people, "followup_end", "cohort.columns.followup_end", where)
    else:
        # The source knows of no last contact: what the study gives is all there is.
        end, unknown = missing, True
    end = end.take(rows).set_axis(index_time.index)
    known = end.notna() | unknown
    if followup.date is not None:
        limit = pd.Timestamp(followup.date)
        end = end.where(end_of(end) < limit, limit)
    if followup.days is not None:
        limits = index_time + followup.days * DAY
        # The limit is an instant: a midnight would cover its day, the microsecond after it covers that midnight alone.
        limits = limits.mask(limits == limits.dt.normalize(), limits + TICK)
        end = end.where(end_of(end) < limits, limits)
    return end.where(known)


def _by_calendar(population: Population) -> bool:
    """Tell whether index times come from the calendar, whether or not the person was observed then."""
    return population.index is not None and population.index.at in ("age", "date")


def _check_order(population: Population, people: pa.Table, where: str) -> None:
    """Refuse ends of follow-up before the source's own index times, where the study takes both as they are."""
    own = population.index is None or (population.index.at == "column" and population.index.column == "index_time")
    asked = own and population.followup.last_contact == "column"
    if not asked or not {"index_time", "followup_end"} <= set(people.column_names):
        return
    index, end = (people.column(name).to_pandas() for name in ("index_time", "followup_end"))
    if early := int((end_of(end) < index).sum()):
        problem = f"for {early} of {len(index)} subjects the follow-up ends before the index time (negative follow-up)"
        raise DataError(f"{where}, column followup_end", problem, "Correct the dates, or remove these subjects")


def _start(
    population: Population, people: pa.Table, history: History, numbers: dict[str, list[int]], where: str
) -> tuple[_Selection, pd.DataFrame | None]:
    """Return the subjects with their index times, ends of observation and ages, nobody left out."""
    ids, count = people.column("subject_id").to_pandas(), people.num_rows
    births = _first_of(history, history.numbers([BIRTH]), count)
    deaths = _first_of(history, history.numbers([DEATH]), count)
    found, steps = find_index_times(
        index=population.index,
        people=people,
        births=births,
        history=history,
        numbers=numbers.get("population.index.codes", []),
        where=where,
    )
    needs_span = population.minimum_history is not None or population.followup.last_contact == "last_event"
    span = _span(history, ids) if needs_span or _by_calendar(population) else None
    rows, index_time = found["row"], found["time"]
    death = deaths.take(rows).set_axis(found.index)
    if population.index is None and "index_time" not in people.column_names:
        # Without dates the one index time is a stand-in, from which nothing can be counted.
        births = births.mask(births.notna())
    end = _observed_until(
        followup=population.followup, people=people, span=span, rows=rows, index_time=index_time, where=where
    )
    frame = pd.DataFrame({
        "row": rows,
        "person_id": ids.take(rows).set_axis(found.index),
        "index_time": index_time,
        "followup_end": end.mask(death < end, death),
        "death": death,
        "age": age_at(births.take(rows).set_axis(found.index), index_time),
    })  # fmt: skip
    return _Selection(people, where, frame, pd.Series(True, index=frame.index), steps), span


def _apply_history(selection: _Selection, population: Population, span: pd.DataFrame | None) -> None:
    """Keep who is alive, observed, and known for long enough."""
    frame, key = selection.frame, "population"
    index_time, end = frame["index_time"], frame["followup_end"]
    if frame["death"].notna().any():
        alive = ~(end_of(frame["death"]) < index_time)
        selection.step("alive", "Alive at the index time", alive, key=f"{key}.index")
    if end.notna().any():
        observed = ~(end_of(end) < index_time)
        selection.step("followup", "Observed up to the index time or longer", observed, key=f"{key}.followup")
    if _by_calendar(population) and span["first"].notna().any():
        # Who came later was not there to have an event: until then nobody would have known of it (immortal time).
        seen = span["first"].take(frame["row"]).set_axis(frame.index) <= index_time
        selection.step("entry", "Observed by the index time (an event at or before it)", seen, key=f"{key}.index")
    if (days := population.minimum_history) is not None:
        known = index_time - span["first"].take(frame["row"]).set_axis(frame.index)
        selection.step("history", f"At least {days} days of history", known >= days * DAY, key=f"{key}.minimum_history")
    if (days := population.minimum_followup) is not None:
        dies = frame["death"].notna() & ~(end_of(end) < frame["death"])
        long = (end - index_time >= days * DAY) | dies
        what = f"Observed for at least {days} days, or until death"
        selection.step("observation", what, long, key=f"{key}.minimum_followup")


def _apply_criteria(
    selection: _Selection, population: Population, history: History, numbers: dict[str, list[int]]
) -> None:
    """Apply the study's conditions in order."""
    for kind in ("include", "exclude"):
        for criterion in getattr(population, kind):
            key = f"population.{kind}.{criterion.name}"
            if criterion.codes is not None:
                meets = meets_by_codes(criterion, numbers[f"{key}.codes"], history, len(selection.frame))
            else:
                meets = _by_column(selection, criterion, key)
            meets = meets if kind == "include" else ~meets
            what = criterion.description or criterion.name
            # The attrition table tells who is left.
            what = ("With: " if kind == "include" else "Without: ") + what
            before = int(selection.keep.sum())
            selection.step(criterion.name, what, meets, key=key)
            if int(selection.keep.sum()) == before:
                _LOG.warning("%s: leaves out nobody of %d subjects; is it what you mean?", key, before)


def _by_column(selection: _Selection, criterion: Criterion, key: str) -> np.ndarray:
    column = selection.column(criterion.column)
    if column is None:
        known = selection.columns()
        problem = f"there is no column {criterion.column!r}; the table has: {', '.join(known) or 'none'}"
        if criterion.column == "age":
            problem += "; `age` needs births (events of code MEDS_BIRTH)"
        remedy = f"Correct the column, or derive it in population.columns.{nearest(criterion.column, known)}"
        raise DataError(f"{key}.column ({selection.where})", problem, remedy)
    place = f"{key} ({selection.where}, column {criterion.column})"
    return meets_by_column(column, criterion.values, place, selection.frame["person_id"])


def _check_ages(selection: _Selection) -> None:
    """Refuse ages that nobody has: births after the index time or long before."""
    age = selection.frame["age"][selection.keep]
    remedy = "Correct the births (code MEDS_BIRTH), or leave these people out: population.include with column: age"
    for wrong, what in ((age < 0, "are born after their index time"), (age > _OLDEST, f"are older than {_OLDEST}")):
        if count := int(wrong.sum()):
            problem = f"{count} of {len(age)} subjects {what} (impossible age)"
            raise DataError(f"{selection.where}, births", problem, remedy)


def _subject_table(selection: _Selection, *, several: bool) -> pa.Table:
    """Return the canonical subjects: those kept, with the source's columns, the derived ones and the age."""
    number = selection.frame.groupby("row").cumcount() + 1
    person = selection.frame["person_id"]
    identifiers = person + "@" + number.astype(str) if several else person
    keep = pa.array(selection.keep.to_numpy())
    columns = {
        "subject_id": pa.array(identifiers, pa.string()),
        "person_id": pa.array(person, pa.string()),
        "index_time": pa.array(selection.frame["index_time"], pa.timestamp("us")),
        "followup_end": pa.array(selection.frame["followup_end"], pa.timestamp("us"), from_pandas=True),
    }
    fields = list(SUBJECTS.columns)
    for name in selection.columns():
        column = selection.column(name)
        metadata = selection.derived[name][1] if name in selection.derived else None
        if name == "age" and name not in selection.people.column_names and metadata is None:
            metadata = {b"unit": b"years", b"description": b"Age at the index time"}
        fields.append(pa.field(name, column.type, metadata=metadata))
        columns[name] = column
    return pa.table(list(columns.values()), schema=pa.schema(fields)).filter(keep)


def _derive(selection: _Selection, population: Population, history: History, numbers: dict[str, list[int]]) -> None:
    for name, column in population.columns.items():
        key = f"population.columns.{name}"
        if name in selection.people.column_names or name in SUBJECTS.columns.names:
            problem = f"the subject table has a column {name!r} of its own ({selection.people.num_rows} people)"
            raise DataError(key, problem, "Give the derived column another name")
        told = with_suffix(column, numbers[f"{key}.codes"], history)
        if not told:
            problem = f"no such event has a suffix: all {len(numbers[f'{key}.codes'])} codes are the whole pattern"
            raise DataError(key, problem, "Take code, number or text, or name the beginning of the codes alone")
        made = derive_column(column, told, history, len(selection.frame))
        if made[0].null_count == len(made[0]):
            problem = f"none of {len(made[0])} subjects has such an event at or before the index time"
            raise DataError(key, problem, "Correct the codes or `take`, or remove the column")
        selection.derived[name] = made


def select_cohort(
    *,
    subjects: Path,
    events: Path,
    population: Population,
    output: Path,
    attrition: Path,
    memory: str = "2GB",
    threads: int = 2,
) -> None:
    """Select the subjects of a study and write them with the attrition table.

    Parameters
    ----------
    subjects, events : Path
        The source's canonical tables.
    population : Population
        The study's block.
    output : Path
        Parquet, see `riskweave.cohort.tables.SUBJECTS`: subject_id (the person's, or with `every_event`
        `<person>@<n>`, n from 1 in the order of the person's index times), person_id, index_time, followup_end
        (death included, where the end is known), the source's columns, the derived ones, and `age` in years where
        births are known and the source has no such column.
    attrition : Path
        CSV: step, description, excluded, remaining, people.
    memory : str
        Most memory that DuckDB takes; the rest goes to a folder beside the output.
    threads : int
        Threads of DuckDB.

    Raises
    ------
    DataError
        When a code finds no event, a column is missing, a step leaves nobody, ages are impossible, or a follow-up ends
        before the index time, both as the source has them.
    """
    people = read_arrow(subjects, SOURCE_SUBJECTS)
    facts = read_metadata(subjects)
    where = facts.get("where", str(subjects))
    _check_order(population, people, where)
    output = Path(output)
    with open_history(events, output.with_name(f".{output.name}.duckdb"), memory, threads) as history:
        numbers = _codes_of_study(population, history)
        wanted = {number for found in numbers.values() for number in found}
        history.gather(people.column("subject_id").to_pandas(), wanted | set(history.numbers([BIRTH, DEATH])))
        selection, span = _start(population, people, history, numbers, where)
        history.look_from(selection.frame[["row", "index_time"]].set_axis(["person", "index_time"], axis=1))
        _derive(selection, population, history, numbers)
        _apply_history(selection, population, span)
        _apply_criteria(selection, population, history, numbers)
    _check_ages(selection)
    several = population.index is not None and population.index.at == "every_event"
    kept = {key: value for key, value in facts.items() if key == "where"}
    write_table(_subject_table(selection, several=several), output, SUBJECTS, kept)
    write_attrition(selection.steps, attrition)
