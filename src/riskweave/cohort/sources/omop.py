"""An OMOP common data model (versions 5.3 and 5.4): a DuckDB file, or a folder of CSV or Parquet tables.

=========================================  ========================================================================
``<DOMAIN>//<vocabulary>//<code>``         a record at its start: CONDITION, DRUG, PROCEDURE, DEVICE, MEASUREMENT,
                                           OBSERVATION, VISIT, VISIT_DETAIL, by its standard concept
``<DOMAIN>//OMOP//<concept_id>``           the same where the table concept lacks it or is not there
``<DOMAIN>//source//<source_value>``       the same without a standard concept (concept_id 0)
``INGREDIENT//RxNorm//<code>``             an ingredient of a drug, at the start of the exposure
``<DOMAIN>_SOURCE//<vocabulary>//<code>``  the source concept of a record, where it is asked for
``VISIT_END//...``, ``VISIT_DETAIL_END``   the end of a visit
``OBSERVATION_START``, ``OBSERVATION_END`` each observation period; periods that touch are one
``MEDS_BIRTH``                             birth_datetime, or the day, month or year of birth (the middle of what is
                                           not known: the 15th, the 1st of July)
``MEDS_DEATH``, ``DEATH_CAUSE//...``       death and its cause
=========================================  ========================================================================

Ends of drug exposures, conditions and devices are no events: they are planned or derived more often than observed, and
a feature made of them at the start would know the future. The end of the last observation period is `followup_end`.
"""

import logging
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from riskweave.cohort.manifests import relative
from riskweave.cohort.sources.base import CanonicalTables, EventQuery, empty_manifest
from riskweave.cohort.sources.omop_events import (
    DEATH,
    PERIOD,
    PERSON,
    RECORDS,
    check_records,
    event_sql,
    used_concepts_sql,
    view_sql,
)
from riskweave.cohort.sources.omop_people import birth_sql, check_periods, period_sql, read_people
from riskweave.cohort.sources.omop_tables import OmopTable, find_tables, run, run_rows
from riskweave.errors import DataError
from riskweave.study.sources import OmopSource

__all__ = ["read_omop"]

_LOG = logging.getLogger(__name__)
_CONCEPTS = pa.schema([("concept_id", pa.int64()), ("code", pa.string()), ("bare", pa.string()), ("name", pa.string())])
_INGREDIENTS = pa.schema([("concept_id", pa.int64()), ("code", pa.string())])
_WANTED = (PERSON, PERIOD, *RECORDS, "concept", "concept_ancestor", "cdm_source")


def _records_of(
    connection: duckdb.DuckDBPyConnection, tables: dict[str, OmopTable], where: str, *, born: bool
) -> list[str]:
    """Check each table of records; return the statements that make their views."""
    found = {name: table for name, table in tables.items() if name in RECORDS}
    if not found:
        problem = f"there is no table of records beside person; looked for: {', '.join(RECORDS)}"
        raise DataError(where, problem, "Add at least one, such as condition_occurrence")
    statements = []
    for name, table in found.items():
        rows = check_records(connection, RECORDS[name], table, born=born)
        _LOG.info("table %s: %d rows", name, rows)
        statements.append(view_sql(RECORDS[name], table, born=born))
        connection.execute(statements[-1])
    return statements


def _check_deaths(connection: duckdb.DuckDBPyConnection, table: OmopTable) -> None:
    sql = f"SELECT count(*), count(DISTINCT person_id) FROM {RECORDS[DEATH].view}"
    rows, people = run_rows(connection, sql, table.where)[0]
    if rows > people:
        problem = f"{rows - people} of {rows} rows are a second death of a person"
        raise DataError(table.column("person_id"), problem, "Give one row per person who died")


def _concepts(connection: duckdb.DuckDBPyConnection, tables: dict[str, OmopTable]) -> pa.Table:
    """Return the concepts that records name: only they are kept, not the whole vocabulary."""
    concept = tables.get("concept")
    if concept is None:
        return _CONCEPTS.empty_table()
    concept.require(["concept_id", "vocabulary_id", "concept_code", "concept_name"])
    used = " UNION ".join(used_concepts_sql(RECORDS[name]) for name in tables if name in RECORDS)
    vocabulary, code = concept.text("vocabulary_id"), concept.text("concept_code")
    sql = (
        f"SELECT {concept.whole('concept_id')} AS concept_id, {vocabulary} || '//' || {code} AS code, {code} AS bare, "
        f"{concept.text('concept_name')} AS name FROM {concept.sql} "
        f"WHERE {concept.whole('concept_id')} <> 0 AND {concept.whole('concept_id')} IN ({used}) ORDER BY concept_id"
    )
    found = run(connection, sql, concept.where).cast(_CONCEPTS)
    repeated = found.num_rows - len(found.column("concept_id").unique())
    if repeated:
        problem = f"{repeated} concepts that records name occur more than once"
        raise DataError(concept.column("concept_id"), problem, "Give one row per concept")
    return found


def _ingredients(connection: duckdb.DuckDBPyConnection, tables: dict[str, OmopTable]) -> pa.Table:
    """Return the ingredients of the drugs that records name."""
    concept, ancestor = tables.get("concept"), tables.get("concept_ancestor")
    if concept is None or ancestor is None or "drug_exposure" not in tables:
        return _INGREDIENTS.empty_table()
    concept.require(["concept_class_id"])
    ancestor.require(["ancestor_concept_id", "descendant_concept_id"])
    drugs = f"SELECT DISTINCT concept FROM {RECORDS['drug_exposure'].view} WHERE concept <> 0"
    sql = f"""
        WITH ingredient AS (
            SELECT {concept.whole("concept_id")} AS id,
                   {concept.text("vocabulary_id")} || '//' || {concept.text("concept_code")} AS code
            FROM {concept.sql} WHERE {concept.text("concept_class_id")} = 'Ingredient'
        ), link AS (
            SELECT {ancestor.whole("ancestor_concept_id")} AS id,
                   {ancestor.whole("descendant_concept_id")} AS concept_id
            FROM {ancestor.sql}
            UNION SELECT id, id FROM ingredient
        )
        SELECT DISTINCT link.concept_id, ingredient.code FROM link JOIN ingredient USING (id)
        WHERE link.concept_id IN ({drugs}) ORDER BY ALL
    """
    return run(connection, sql, ancestor.where).cast(_INGREDIENTS)


def _version(connection: duckdb.DuckDBPyConnection, tables: dict[str, OmopTable]) -> dict[str, str | None]:
    """Return version and date of the data as the table cdm_source tells them."""
    table = tables.get("cdm_source")
    if table is None:
        return {}
    columns = ("cdm_version", "vocabulary_version", "source_release_date")
    sql = f"SELECT {', '.join(table.text(name) for name in columns)} FROM {table.sql} LIMIT 1"
    cdm, vocabulary, date = next(iter(run_rows(connection, sql, table.where)), (None, None, None))
    named = (f"OMOP CDM {cdm}" if cdm else None, f"vocabulary {vocabulary}" if vocabulary else None)
    facts = {"version": ", ".join(filter(None, named)) or None}
    return facts | ({"date": date[:10], "date_of": "source_release_date of the table cdm_source"} if date else {})


def read_omop(block: OmopSource) -> CanonicalTables:
    """Read a cohort from an OMOP common data model.

    Parameters
    ----------
    block : OmopSource
        The study's block `cohort`.

    Returns
    -------
    CanonicalTables
        Subjects: gender, race, ethnicity and care_site where they are known, and followup_end where there is an
        observation_period. Events: a query that is streamed.

    Raises
    ------
    DataError
        For a table or column that is missing or misspelt, people who are not in person, and identifiers, concepts,
        dates, numbers and units that cannot be used; counts the rows.
    """
    path = Path(block.path)
    where = f"cohort.path ({path.as_posix()})"
    with duckdb.connect(config={"memory_limit": "2GB"}) as connection:
        tables, setup = find_tables(connection, path, block.schema_name, _WANTED)
        if PERSON not in tables:
            problem = f"the table person is missing; tables of OMOP that are there: {', '.join(tables) or 'none'}"
            raise DataError(where, problem, "Give the DuckDB file or folder that holds it, or correct schema_name")
        people = read_people(connection, tables)
        views = _records_of(connection, tables, where, born=block.before_birth == "leave_out")
        if DEATH in tables:
            _check_deaths(connection, tables[DEATH])
        selects = [birth_sql()]
        if PERIOD in tables:
            views.append(check_periods(connection, tables[PERIOD]))
            selects.append(period_sql())
        for name in tables:
            if name in RECORDS:
                more = {"source_concepts": block.source_concepts, "ingredients": block.ingredients}
                selects += event_sql(RECORDS[name], **more)
        concepts = _concepts(connection, tables)
        ingredients = _ingredients(connection, tables) if block.ingredients else _INGREDIENTS.empty_table()
        facts = _version(connection, tables)
    query = EventQuery(
        sql="SELECT * FROM ("
        + " UNION ALL ".join(selects)
        + ") AS t(subject_id, time, code, numeric_value, text_value, unit)",
        setup=(*setup, *views),
        tables={"omop_people": people.known, "omop_concepts": concepts, "omop_ingredients": ingredients},
    )
    return replace(
        CanonicalTables(
            subjects=people.subjects,
            events=query,
            recordings=empty_manifest(),
            images=empty_manifest(),
            where=f"{where}, table person",
            events_where=where,
            files=(relative(path).as_posix(),),
        ),
        **facts,
    )
