"""The people of an OMOP common data model: births, static columns, and how long they were observed."""

import logging
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from riskweave.cohort.convert import YEARS
from riskweave.cohort.sources.base import text_sql
from riskweave.cohort.sources.omop_tables import OmopTable, run, run_rows
from riskweave.errors import DataError

__all__ = ["People", "birth_sql", "check_periods", "period_sql", "read_people"]

_LOG = logging.getLogger(__name__)
_NAMES = {
    8507: "MALE",
    8532: "FEMALE",
    8515: "Asian",
    8516: "Black or African American",
    8527: "White",
    8557: "Native Hawaiian or Other Pacific Islander",
    8657: "American Indian or Alaska Native",
    38003563: "Hispanic or Latino",
    38003564: "Not Hispanic or Latino",
}
"""Names of common concepts, for databases whose vocabulary lacks them."""

_COLUMNS = ("gender", "race", "ethnicity")


@dataclass(frozen=True)
class People:
    """The people of the table person.

    Attributes
    ----------
    subjects : pyarrow.Table
        subject_id, gender, race, ethnicity, care_site (where anybody has a value) and followup_end (where the data
        have an observation_period).
    known : pyarrow.Table
        known (identifier), birth (timestamp, null where unknown) and earliest (date: the first possible day of birth).
    """

    subjects: pa.Table
    known: pa.Table


def _static_sql(name: str, person: OmopTable, concept: OmopTable | None) -> tuple[str, str]:
    """Return the SQL of a static column, and the join that it needs."""
    number, source = person.whole(f"{name}_concept_id"), person.text(f"{name}_source_value")
    if f"{name}_concept_id" not in person.types:
        return source, ""
    names = " ".join(f"WHEN {key} THEN {text_sql(value)}" for key, value in _NAMES.items())
    own, join = "", ""
    if concept is not None:
        own = f"{name}.name, "
        join = (
            f"LEFT JOIN (SELECT {concept.whole('concept_id')} AS id, {concept.text('concept_name')} AS name "
            f"FROM {concept.sql}) {name} ON {name}.id = {number}"
        )
    known = f"coalesce({own}CASE {number} {names} END, 'OMOP//' || {number})"
    return f"CASE WHEN {number} <> 0 THEN {known} ELSE {source} END", join


def _birth(person: OmopTable) -> tuple[str, str]:
    """Return the SQL of the birth, and of the first day that it may have been."""
    year, month, day = (person.whole(f"{part}_of_birth") for part in ("year", "month", "day"))
    exact = person.time("birth_datetime")

    def date(of_month: str, of_day: str) -> str:
        return f"TRY_CAST(format('{{:04d}}-{{:02d}}-{{:02d}}', {year}, {of_month}, {of_day}) AS TIMESTAMP)"

    middle = f"CASE WHEN {month} IS NULL THEN {date('7', '1')} ELSE {date(month, f'coalesce({day}, 15)')} END"
    first = date(f"coalesce({month}, 1)", f"CASE WHEN {month} IS NULL THEN 1 ELSE coalesce({day}, 1) END")
    return f"coalesce({exact}, {middle})", f"CAST(coalesce({exact}, {first}) AS DATE)"


def _check_people(connection: duckdb.DuckDBPyConnection, person: OmopTable) -> None:
    person.require(["person_id", *(["year_of_birth"] if "birth_datetime" not in person.types else [])])
    low, high = YEARS
    checked = {
        "id": person.text("person_id"),
        "given_exact": person.raw("birth_datetime"),
        "exact": person.time("birth_datetime"),
        "given_year": person.raw("year_of_birth"),
        "born": person.whole("year_of_birth"),
        "birth": _birth(person)[0],
    }
    findings = [
        ("id IS NULL", "person_id", "have no identifier", "Give each person an identifier"),
        ("given_exact IS NOT NULL AND exact IS NULL", "birth_datetime", "are no date or time",
         "Write dates as 2020-05-01, without a time zone"),
        ("given_year IS NOT NULL AND born IS NULL", "year_of_birth", "are no whole number",
         "Write the year with four digits"),
        ("(born IS NOT NULL OR exact IS NOT NULL) AND birth IS NULL", "year_of_birth", "make no date of birth",
         "Correct year_of_birth, month_of_birth and day_of_birth; leave empty what is not known"),
        (f"year(birth) NOT BETWEEN {low} AND {high}", "year_of_birth", f"have a year outside {low} to {high}",
         "Leave the year empty where it is unknown"),
        ("year(exact) <> born", "birth_datetime", "have another year than year_of_birth", "Correct one of them"),
    ]  # fmt: skip
    counts = ", ".join(f"count(*) FILTER ({wrong})" for wrong, *_ in findings)
    inner = ", ".join(f"{sql} AS {name}" for name, sql in checked.items())
    sql = f"SELECT count(*), count(DISTINCT id), {counts} FROM (SELECT {inner} FROM {person.sql})"
    rows, people, *counted = run_rows(connection, sql, person.where)[0]
    if rows == 0:
        raise DataError(person.where, "the table has 0 rows", "Give a database with people")
    for count, (_, name, problem, remedy) in zip(counted, findings, strict=True):
        if count:
            raise DataError(person.column(name), f"{count} of {rows} rows {problem}", remedy)
    if rows > people:
        problem = f"{rows - people} of {rows} rows are a second row of a person"
        raise DataError(person.column("person_id"), problem, "Give one row per person")


def read_people(connection: duckdb.DuckDBPyConnection, tables: dict[str, OmopTable]) -> People:
    """Read and check the people; register them as `omop_people`.

    Raises
    ------
    DataError
        When identifiers are missing or repeated, or births are no dates.
    """
    person = tables["person"]
    _check_people(connection, person)
    birth, earliest = _birth(person)
    people = f"SELECT {person.text('person_id')} AS known, {birth} AS birth, {earliest} AS earliest FROM {person.sql}"
    known = run(connection, f"{people} ORDER BY known", person.where)
    connection.register("omop_people", known)
    static = {name: _static_sql(name, person, tables.get("concept")) for name in _COLUMNS}
    static["care_site"] = (person.text("care_site_id"), "")
    selected = ", ".join(f"{sql} AS {name}" for name, (sql, _) in static.items())
    joins = " ".join(join for _, join in static.values())
    columns = (
        f"SELECT {person.text('person_id')} AS subject_id, {selected} FROM {person.sql} {joins} ORDER BY subject_id"
    )
    subjects = run(connection, columns, person.where)
    if subjects.num_rows > known.num_rows:
        where = tables["concept"].column("concept_id")
        raise DataError(where, "at least 1 concept that person names occurs more than once", "Give one row per concept")
    empty = [name for name in static if subjects.column(name).null_count == subjects.num_rows]
    subjects = subjects.drop_columns(empty)
    period = tables.get("observation_period")
    if period is not None:
        period.require(["person_id", "observation_period_start_date", "observation_period_end_date"])
        subjects = subjects.append_column("followup_end", _followup_end(connection, period))
    return People(subjects, known)


def _followup_end(connection: duckdb.DuckDBPyConnection, period: OmopTable) -> pa.ChunkedArray:
    """Return the end of everybody's last observation period, in the order of their identifiers."""
    end = period.time("observation_period_end_date")
    sql = (
        f"WITH last AS (SELECT {period.text('person_id')} AS id, max({end}) AS ended "
        f"FROM {period.sql} GROUP BY id) "
        "SELECT CAST(ended AS TIMESTAMP) AS ended FROM omop_people LEFT JOIN last ON known = id ORDER BY known"
    )
    return run(connection, sql, period.where).column("ended").cast(pa.timestamp("us"))


def birth_sql() -> str:
    """Return the SELECT of the births."""
    return "SELECT known, birth, 'MEDS_BIRTH', CAST(NULL AS FLOAT), NULL, NULL FROM omop_people WHERE birth IS NOT NULL"


def check_periods(connection: duckdb.DuckDBPyConnection, period: OmopTable) -> str:
    """Check the observation periods, and make and return the statement of the view `omop_periods`.

    Periods of people who are not in person are left out and told: extracts keep them often.

    Raises
    ------
    DataError
        When a period has no dates, ends before it starts, starts before the birth of its person, or none belongs to a
        person.
    """
    names = ("observation_period_start_date", "observation_period_end_date")
    low, high = YEARS
    findings = [
        *((f"{key} IS NULL", name, "have no date", "Write dates as 2020-05-01")
          for key, name in zip(("started", "ended"), names, strict=True)),
        *((f"year({key}) NOT BETWEEN {low} AND {high}", name, f"have a year outside {low} to {high}",
           "Give the day until which the person was observed, not a placeholder")
          for key, name in zip(("started", "ended"), names, strict=True)),
        ("ended < started", names[1], "end before they start", "Correct the dates"),
        ("CAST(started AS DATE) < p.earliest", names[0], "start before the birth of their person",
         "Correct the dates, or the births in person"),
    ]  # fmt: skip
    statement = (
        f"CREATE TEMP VIEW omop_periods AS SELECT {period.text('person_id')} AS person_id, "
        f"{period.time(names[0])} AS started, {period.time(names[1])} AS ended FROM {period.sql}"
    )
    connection.execute(statement)
    counts = ", ".join(f"count(*) FILTER (p.known IS NOT NULL AND {wrong})" for wrong, *_ in findings)
    joined = "omop_periods LEFT JOIN omop_people p ON p.known = person_id"
    rows, known, *counted = run_rows(
        connection, f"SELECT count(*), count(p.known), {counts} FROM {joined}", period.where
    )[0]
    if not known:
        problem = f"{rows} of {rows} rows belong to people who are not in person"
        remedy = "Give observation periods of these people; identifiers are compared as text"
        raise DataError(period.column("person_id"), problem, remedy)
    for count, (_, name, problem, remedy) in zip(counted, findings, strict=True):
        if count:
            raise DataError(period.column(name), f"{count} of {rows} rows {problem}", remedy)
    if rows > known:
        _LOG.warning("table observation_period: %d of %d rows are of people who are not in person", rows - known, rows)
    return statement


def period_sql() -> str:
    """Return the SELECT of the starts and ends of the observation; periods that overlap or touch are one."""
    return """
        SELECT person_id, time, code, CAST(NULL AS FLOAT), NULL, NULL FROM (
            WITH ordered AS (
                SELECT person_id, started, ended,
                       max(ended) OVER (PARTITION BY person_id ORDER BY started, ended
                                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                FROM omop_periods JOIN omop_people ON known = person_id
            ), numbered AS (
                SELECT *, count(*) FILTER (before IS NULL OR started > before + INTERVAL 1 DAY)
                          OVER (PARTITION BY person_id ORDER BY started, ended) AS number FROM ordered
            ), merged AS (
                SELECT person_id, min(started) AS started, max(ended) AS ended FROM numbered GROUP BY person_id, number
            )
            SELECT person_id, started AS time, 'OBSERVATION_START' AS code FROM merged
            UNION ALL SELECT person_id, ended, 'OBSERVATION_END' FROM merged
        )
    """
