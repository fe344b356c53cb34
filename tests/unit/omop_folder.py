"""A small OMOP common data model, written by hand, in each form that is read."""

from pathlib import Path

import duckdb
import pandas as pd

__all__ = ["edited", "small_cdm", "write_cdm"]


def small_cdm() -> dict[str, pd.DataFrame]:
    """Return three people with a handful of records of every kind."""
    return {
        "person": pd.DataFrame({
            "person_id": [1, 2, 10],
            "gender_concept_id": [8507, 8532, 0],
            "year_of_birth": [1950, 1960, 1970],
            "month_of_birth": [3, 5, None],
            "day_of_birth": [4, None, None],
            "birth_datetime": ["1950-03-04 06:30:00", None, None],
            "race_concept_id": [8527, 0, 999],
            "ethnicity_concept_id": [0, 0, 0],
            "gender_source_value": ["M", "F", "x"],
            "race_source_value": ["w", "islander", "?"],
            "care_site_id": [7, 8, 7],
        }).astype({"month_of_birth": "Int64", "day_of_birth": "Int64"}),
        "observation_period": pd.DataFrame({
            "person_id": [1, 1, 1, 2, 77],
            "observation_period_start_date": ["2000-01-01", "2001-01-01", "2005-01-01", "2003-02-03", "2000-01-01"],
            "observation_period_end_date": ["2000-12-31", "2002-06-30", "2006-01-01", "2010-12-31", "2001-01-01"],
        }),
        "visit_occurrence": pd.DataFrame({
            "person_id": [1],
            "visit_concept_id": [9201],
            "visit_start_date": ["2001-05-01"],
            "visit_start_datetime": ["2001-05-01 08:00:00"],
            "visit_end_date": ["2001-05-04"],
            "visit_source_value": ["IP"],
        }),
        "condition_occurrence": pd.DataFrame({
            "person_id": [1, 1, 2, 2],
            "condition_concept_id": [312327, 0, 0, 555],
            "condition_start_date": ["2001-05-01", "2001-05-02", "2004-01-01", "2004-01-02"],
            "condition_start_datetime": ["2001-05-01 09:15:00", None, None, None],
            "condition_source_concept_id": [44, 0, 0, 0],
            "condition_source_value": ["I21.0", "local cough", None, "zzz"],
        }),
        "drug_exposure": pd.DataFrame({
            "person_id": [2, 2],
            "drug_concept_id": [1000, 1118084],
            "drug_exposure_start_date": ["2004-02-01", "2004-03-01"],
            "drug_exposure_end_date": ["2004-02-28", "2004-04-01"],
            "quantity": [28, None],
        }),
        "measurement": pd.DataFrame({
            "person_id": [1, 1, 2, 2],
            "measurement_concept_id": [3004249, 3004249, 3004249, 3004249],
            "measurement_date": ["2001-05-01"] * 2 + ["2004-01-01"] * 2,
            "value_as_number": [120.5, 3.0, None, None],
            "unit_concept_id": [8876, 0, 0, 8876],
            "unit_source_value": ["mm Hg", "kPa", None, None],
            "value_as_concept_id": [0, 0, 45884084, 0],
            "operator_concept_id": [4172703, 4171756, 0, 0],
            "value_source_value": ["120.5", "<3", "pos", "refused"],
        }),
        "observation": pd.DataFrame({
            "person_id": [2],
            "observation_concept_id": [4275495],
            "observation_date": ["2004-01-01"],
            "value_as_number": [None],
            "value_as_string": ["never smoked"],
        }).astype({"value_as_number": "float64"}),
        "death": pd.DataFrame({
            "person_id": [1],
            "death_date": ["2006-01-01"],
            "cause_concept_id": [312327],
        }),
        "concept": pd.DataFrame({
            "concept_id": [0, 8527, 312327, 44, 1118084, 1000, 3004249, 8876, 45884084, 4275495, 9201],
            "concept_name": ["No matching concept", "White", "Acute MI", "STEMI", "celecoxib", "celecoxib 200 MG",
                             "Systolic", "mmHg", "Positive", "Tobacco", "Inpatient Visit"],
            "vocabulary_id": ["None", "Race", "SNOMED", "ICD10CM", "RxNorm", "RxNorm", "LOINC", "UCUM", "LOINC",
                              "SNOMED", "Visit"],
            "concept_class_id": ["Undefined", "Race", "Finding", "Code", "Ingredient", "Clinical Drug", "Lab Test",
                                 "Unit", "Answer", "Finding", "Visit"],
            "concept_code": ["No matching concept", "5", "57054005", "I21.0", "140587", "205322", "8480-6", "mm[Hg]",
                             "LA6576-8", "365981007", "IP"],
        }),
        "concept_ancestor": pd.DataFrame({
            "ancestor_concept_id": [1118084],
            "descendant_concept_id": [1000],
        }),
        "cdm_source": pd.DataFrame({
            "cdm_version": ["5.4"],
            "vocabulary_version": ["v5.0 31-AUG-24"],
            "source_release_date": ["2024-09-01"],
        }),
    }  # fmt: skip


def edited(table: str, **columns) -> dict[str, pd.DataFrame]:
    """Return the small CDM with columns of a table replaced; None removes a column."""
    tables = small_cdm()
    for name, values in columns.items():
        tables[table] = tables[table].drop(columns=name) if values is None else tables[table].assign(**{name: values})
    return tables


def write_cdm(tables: dict[str, pd.DataFrame], folder: Path, form: str = "csv") -> Path:
    """Write the tables as csv, csv.gz (names in capitals, vocabularies separated by tabs), parquet or duckdb."""
    folder.mkdir(parents=True, exist_ok=True)
    if form == "duckdb":
        path = folder / "omop54.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("CREATE SCHEMA cdm")
            for name, frame in tables.items():
                typed = ", ".join(
                    f'CAST("{column}" AS DATE) AS {column}' if column.endswith("_date") else f'"{column}"'
                    for column in frame
                )
                connection.register("frame", frame)
                connection.execute(f"CREATE TABLE cdm.{name.upper()} AS SELECT {typed} FROM frame")
                connection.unregister("frame")
        return path
    for name, frame in tables.items():
        if form == "parquet":
            frame.to_parquet(folder / f"{name}.parquet", index=False)
        elif form == "csv.gz":
            capitals = frame.rename(columns=str.upper)
            mark = "\t" if name.startswith("concept") else ","
            capitals.to_csv(folder / f"{name.upper()}.csv.gz", index=False, sep=mark)
        else:
            frame.to_csv(folder / f"{name}.csv", index=False)
    return folder
