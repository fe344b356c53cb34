"""From the tables of an OMOP common data model to events: views, checks, and the query that is streamed.

Each table of records becomes a view with columns of one name and type. The check of a table reads it once.
"""

import logging
from dataclasses import dataclass

import duckdb

from riskweave.cohort.convert import YEARS
from riskweave.cohort.sources.base import float_sql
from riskweave.cohort.sources.omop_tables import OmopTable, run_rows
from riskweave.errors import DataError

__all__ = [
    "DEATH",
    "PERIOD",
    "PERSON",
    "RECORDS",
    "Records",
    "check_records",
    "event_sql",
    "used_concepts_sql",
    "view_sql",
]

_LOG = logging.getLogger(__name__)
PERSON, PERIOD, DEATH = "person", "observation_period", "death"


@dataclass(frozen=True)
class Records:
    """A table of records.

    Attributes
    ----------
    name : str
        Name of the table.
    domain : str
        What its codes start with.
    stem : str
        What the columns of its concept start with: `<stem>_concept_id`, `<stem>_source_value`, ...
    date, time : str
        Columns of the date, and of date and time where that is known.
    ended : tuple of str
        The same of the end, where the end is an event too.
    number, unit : str
        Columns of a measured value, and of its unit as the source spells it.
    """

    name: str
    domain: str
    stem: str
    date: str
    time: str
    ended: tuple[str, ...] = ()
    number: str = ""
    unit: str = ""

    @property
    def view(self) -> str:
        """Name of its view."""
        return f"omop_{self.name}"

    @property
    def required(self) -> tuple[str, ...]:
        """Columns without which it cannot be read."""
        return ("person_id", f"{self.stem}_concept_id", self.date, *([self.number] if self._valued else ()))

    @property
    def _valued(self) -> bool:
        return self.number == "value_as_number"


RECORDS = {
    records.name: records
    for records in (
        Records(
            "visit_occurrence", "VISIT", "visit", "visit_start_date", "visit_start_datetime",
            ended=("visit_end_date", "visit_end_datetime"),
        ),
        Records(
            "visit_detail", "VISIT_DETAIL", "visit_detail", "visit_detail_start_date", "visit_detail_start_datetime",
            ended=("visit_detail_end_date", "visit_detail_end_datetime"),
        ),
        Records(
            "condition_occurrence", "CONDITION", "condition", "condition_start_date", "condition_start_datetime"
        ),
        Records(
            "drug_exposure", "DRUG", "drug", "drug_exposure_start_date", "drug_exposure_start_datetime",
            number="quantity", unit="dose_unit_source_value",
        ),
        Records("procedure_occurrence", "PROCEDURE", "procedure", "procedure_date", "procedure_datetime"),
        Records(
            "device_exposure", "DEVICE", "device", "device_exposure_start_date", "device_exposure_start_datetime"
        ),
        Records(
            "measurement", "MEASUREMENT", "measurement", "measurement_date", "measurement_datetime",
            number="value_as_number", unit="unit_source_value",
        ),
        Records(
            "observation", "OBSERVATION", "observation", "observation_date", "observation_datetime",
            number="value_as_number", unit="unit_source_value",
        ),
        Records(DEATH, "DEATH_CAUSE", "cause", "death_date", "death_datetime"),
    )
}  # fmt: skip
"""The tables of records that are read. Eras are derived from them, and are not."""

_BEFORE_BIRTH = "lie before the birth of their person"

# Concepts of the operator of a measurement; = (4172703) says nothing.
_OPERATORS = {4171756: "<", 4172704: ">", 4171754: "<=", 4171755: ">="}


def view_sql(records: Records, table: OmopTable, *, born: bool = False) -> str:
    """Return the statement that makes the view of a table of records; `born` leaves out those dated before birth.

    Its columns: person_id, source_value, words, value_source, unit (VARCHAR), concept, source_concept, value_concept,
    unit_concept, operator (BIGINT), time, ended (TIMESTAMP), number (FLOAT).
    """
    stem = records.stem
    ended = f"coalesce({', '.join(table.time(name) for name in reversed(records.ended))})" if records.ended else "NULL"
    columns = {
        "person_id": table.text("person_id"),
        "time": f"coalesce({table.time(records.time)}, {table.time(records.date)})",
        "ended": f"CAST({ended} AS TIMESTAMP)",
        "concept": table.whole(f"{stem}_concept_id"),
        "source_concept": table.whole(f"{stem}_source_concept_id"),
        "source_value": table.text(f"{stem}_source_value"),
        "number": float_sql(table.number(records.number)) if records.number else "CAST(NULL AS FLOAT)",
        "unit": table.text(records.unit) if records.unit else "CAST(NULL AS VARCHAR)",
        "unit_concept": table.whole("unit_concept_id"),
        "words": table.text("value_as_string"),
        "value_concept": table.whole("value_as_concept_id"),
        "value_source": table.text("value_source_value"),
        "operator": table.whole("operator_concept_id"),
    }
    selected = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    sql = f"SELECT {selected} FROM {table.sql}"
    if born:
        kept = "p.earliest IS NULL OR CAST(x.time AS DATE) >= p.earliest"
        sql = f"SELECT x.* FROM ({sql}) x LEFT JOIN omop_people p ON p.known = x.person_id WHERE {kept}"
    return f"CREATE TEMP VIEW {records.view} AS {sql}"


def used_concepts_sql(records: Records) -> str:
    """Return the SQL of the distinct concepts that a view names."""
    columns = "concept, source_concept, unit_concept, value_concept"
    return f"SELECT DISTINCT unnest([{columns}]) AS concept_id FROM {records.view}"


def event_sql(records: Records, *, source_concepts: bool, ingredients: bool) -> list[str]:
    """Return the SELECTs of the events of a table of records.

    They read its view, `omop_concepts` (concept_id, code, bare, name) and `omop_ingredients` (concept_id, code).
    """
    operators = " ".join(f"WHEN {concept} THEN '{sign}'" for concept, sign in _OPERATORS.items())
    text = (
        "coalesce(x.words, v.name, 'OMOP//' || nullif(x.value_concept, 0), "
        f"CASE x.operator {operators} END, CASE WHEN x.number IS NULL THEN x.value_source END)"
    )
    unit = "coalesce(u.bare, x.unit, 'OMOP//' || nullif(x.unit_concept, 0))"
    joins = (
        f"FROM {records.view} x "
        "LEFT JOIN omop_concepts c ON c.concept_id = x.concept "
        "LEFT JOIN omop_concepts v ON v.concept_id = x.value_concept "
        "LEFT JOIN omop_concepts u ON u.concept_id = x.unit_concept"
    )
    first = f"SELECT x.person_id AS subject_id, x.time AS time, {_code(records.domain)} AS code"
    if records.name == DEATH:
        # The death itself is an event of every row; its cause only where there is one.
        return [
            f"SELECT person_id, time, 'MEDS_DEATH', CAST(NULL AS FLOAT), NULL, NULL FROM {records.view}",
            f"{first}, CAST(NULL AS FLOAT), NULL, NULL {joins} WHERE x.concept <> 0 OR x.source_value IS NOT NULL",
        ]
    selects = [f"{first}, x.number, {text}, {unit} {joins}"]
    plain = "CAST(NULL AS FLOAT), NULL, NULL"
    if records.ended:
        code = _code(f"{records.domain}_END")
        selects.append(f"SELECT x.person_id, x.ended, {code}, {plain} {joins} WHERE x.ended IS NOT NULL")
    if source_concepts:
        code = f"'{records.domain}_SOURCE//' || coalesce(s.code, 'OMOP//' || x.source_concept)"
        selects.append(
            f"SELECT x.person_id, x.time, {code}, {plain} FROM {records.view} x "
            "LEFT JOIN omop_concepts s ON s.concept_id = x.source_concept WHERE x.source_concept <> 0"
        )
    if ingredients and records.name == "drug_exposure":
        selects.append(
            f"SELECT x.person_id, x.time, 'INGREDIENT//' || i.code, {plain} FROM {records.view} x "
            "JOIN omop_ingredients i ON i.concept_id = x.concept"
        )
    return selects


def _code(domain: str) -> str:
    """Return the SQL of a record's code: by concept, by the concept's number, or as the source spells it."""
    return (
        f"CASE WHEN x.concept <> 0 THEN '{domain}//' || coalesce(c.code, 'OMOP//' || x.concept) "
        f"WHEN x.source_value IS NOT NULL THEN '{domain}//source//' || x.source_value "
        f"ELSE '{domain}//unmapped' END"
    )


def _checked_sql(records: Records, table: OmopTable) -> str:
    """Return the SELECT of what is checked: columns as they are (`given_...`) and as they are read."""
    columns = {"person": table.text("person_id")}
    concept = f"{records.stem}_concept_id"
    columns |= {"given_concept": table.raw(concept), "concept": table.whole(concept)}
    names = {"day": records.date, "moment": records.time}
    names |= dict(zip(("end_day", "end_moment"), records.ended, strict=False))
    for key, name in names.items():
        columns |= {f"given_{key}": table.raw(name), key: table.time(name)}
    if records.number:
        columns |= {"given_number": table.raw(records.number), "number": table.number(records.number)}
    return f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in columns.items())} FROM {table.sql}"


def _findings(records: Records) -> list[tuple[str, str, str, str]]:
    """Return what is counted: SQL of what is wrong in a row, the column, the words for it, and the remedy."""
    low, high = YEARS
    time, end = "coalesce(moment, day)", "coalesce(end_moment, end_day)"
    iso = "Write dates as 2020-05-01, and times as 2020-05-01 13:30:00 without a time zone"
    absent = "concept IS NULL" + (" AND given_concept IS NOT NULL" if records.name == DEATH else "")
    found = [
        ("person IS NULL", "person_id", "have no identifier", "Give each row its person, or remove it"),
        ("person IS NOT NULL AND p.known IS NULL", "person_id", "belong to people who are not in person",
         "Add these people to person, or remove their rows; identifiers are compared as text"),
        (absent, f"{records.stem}_concept_id", "have no concept",
         "Concepts are whole numbers; OMOP writes 0 where there is none"),
    ]  # fmt: skip
    names = {"day": records.date, "moment": records.time}
    names |= dict(zip(("end_day", "end_moment"), records.ended, strict=False))
    found += [
        (f"given_{key} IS NOT NULL AND {key} IS NULL", name, "are no date or time", iso) for key, name in names.items()
    ]
    found += [
        (f"{time} IS NULL", records.date, "have no date", "Give each row its date, or remove it"),
        (f"year({time}) NOT BETWEEN {low} AND {high}", records.date, f"have a year outside {low} to {high}",
         "Placeholders such as 9999-12-31 are no dates: remove these rows"),
        (f"CAST({time} AS DATE) < p.earliest", records.date, _BEFORE_BIRTH,
         "Correct these dates or the births in person, or read without them: cohort.before_birth: leave_out"),
        ("CAST(moment AS DATE) <> CAST(day AS DATE)", records.time, f"are on another day than {records.date}",
         f"Correct {records.time}: it may have been moved to another time zone"),
    ]  # fmt: skip
    if records.ended:
        found += [
            (f"CAST({end} AS DATE) < CAST({time} AS DATE)", records.ended[0], "end before they start",
             "Correct the dates"),
            (f"year({end}) NOT BETWEEN {low} AND {high}", records.ended[0], f"have a year outside {low} to {high}",
             "Leave the end empty where it is still to come"),
        ]  # fmt: skip
    if records.number:
        remedy = "Numbers have a decimal point; leave the cell empty where there is none"
        found += [
            ("given_number IS NOT NULL AND number IS NULL", records.number, "are no number", remedy),
            ("isinf(number)", records.number, "are infinite", "Leave the cell empty where unknown"),
        ]
    return found


def check_records(
    connection: duckdb.DuckDBPyConnection, records: Records, table: OmopTable, *, born: bool = False
) -> int:
    """Read a table of records once and refuse what cannot be used.

    Parameters
    ----------
    connection : DuckDBPyConnection
        With the table `omop_people` (known: identifier, earliest: first possible day of birth).
    born : bool
        Whether records before birth are told and not refused.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    DataError
        For a column that is missing, people who are not in person, and concepts, dates and numbers that are none.
    """
    required = ("person_id", "death_date") if records.name == DEATH else records.required
    table.require(required)
    findings = _findings(records)
    counts = ", ".join(f"count(*) FILTER ({wrong})" for wrong, *_ in findings)
    joined = f"({_checked_sql(records, table)}) LEFT JOIN omop_people p ON p.known = person"
    rows, *counted = run_rows(connection, f"SELECT count(*), {counts} FROM {joined}", table.where)[0]
    for count, (_, name, problem, remedy) in zip(counted, findings, strict=True):
        if count and born and problem == _BEFORE_BIRTH:
            _LOG.warning("table %s: %d of %d rows %s, and are left out", records.name, count, rows, problem)
        elif count:
            raise DataError(table.column(name), f"{count} of {rows} rows {problem}", remedy)
    return rows
