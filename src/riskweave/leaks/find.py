"""All gates over a study, in one pass over the columns of its feature tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from riskweave.errors import DataError
from riskweave.leaks.association import ColumnGates, check_availability
from riskweave.leaks.dates import check_companions, check_files, check_index, check_since
from riskweave.leaks.division import check_folds
from riskweave.leaks.evidence import Evidence, FeatureColumn, SetRows, columns_of
from riskweave.leaks.finding import Finding
from riskweave.leaks.fits import check_fit
from riskweave.leaks.histories import check_histories
from riskweave.leaks.identity import (
    DuplicateRows,
    check_identifier_column,
    check_identifiers,
    check_people,
    check_shared_files,
)
from riskweave.leaks.names import check_name
from riskweave.leaks.pairs import PairGate
from riskweave.leaks.selection import check_selection, check_target_codes
from riskweave.leaks.statistics import Ranked
from riskweave.study.cohort import Endpoint, Folds
from riskweave.study.features import FeatureSet
from riskweave.study.gates import GATES
from riskweave.study.population import Population

__all__ = ["find_leaks"]

_ORDER = list(GATES)


def find_leaks(
    *,
    subjects: Path,
    outcomes: Mapping[str, Path],
    folds: Path,
    tables: Mapping[str, Path],
    used: Mapping[str, Sequence[str]],
    features: Mapping[str, FeatureSet],
    endpoints: Mapping[str, Endpoint],
    population: Population,
    division: Folds,
    recordings: Path | None = None,
    images: Path | None = None,
    sounds: Path | None = None,
    indices: Mapping[str, Path] | None = None,
    attrition: Path | None = None,
) -> list[Finding]:
    """Look for leaks in a study.

    Feature tables are read a few columns at a time, each column is sorted once, and everything further is linear.

    Parameters
    ----------
    subjects : path
        The study's subjects (`riskweave.cohort.tables.SUBJECTS`).
    outcomes : mapping of endpoint to path
        Tables of outcomes, in days.
    folds : path
        Table of the division.
    tables : mapping of feature set to path
        Feature tables.
    used : mapping of endpoint to feature sets
        Which sets some experiment of the endpoint uses: what is not used cannot leak.
    features, endpoints : mapping of name to block
        Feature sets and endpoints of the study.
    population, division : blocks
        Who is in the study, and how the subjects are divided.
    recordings, images, sounds : path, optional
        Manifests, by person.
    indices : mapping of feature set to path, optional
        Tables of what encoders read (subject_id, row).
    attrition : path, optional
        CSV with the steps of the selection: step, excluded.

    Returns
    -------
    list of Finding
        Sorted by gate and place, one for each name.

    Raises
    ------
    DataError
        When a table cannot be read.
    """
    manifests = {"recordings": recordings, "images": images, "sounds": sounds}
    evidence = Evidence.read(
        subjects=subjects,
        outcomes=outcomes,
        folds=folds,
        tables=tables,
        used=used,
        features=features,
        endpoints=endpoints,
        population=population,
        division=division,
        manifests={kind: path for kind, path in manifests.items() if path is not None},
        indices=indices or {},
        attrition=attrition,
    )
    sets = evidence.sets()
    findings = [
        *check_selection(evidence),
        *check_people(evidence),
        *check_shared_files(evidence),
        *check_identifiers(evidence),
        *check_index(evidence),
        *check_companions(evidence),
        *check_files(evidence, sets),
        *check_folds(evidence),
        *_of_columns(evidence, sets),
    ]
    first = {finding.name: finding for finding in reversed(findings)}
    return sorted(first.values(), key=lambda finding: (_ORDER.index(finding.gate), finding.place))


def _of_columns(evidence: Evidence, sets: Mapping[str, SetRows]) -> Iterator[Finding]:
    """Run the gates that look at feature tables."""
    index = pd.Index(evidence.subjects["subject_id"])
    everyone = {endpoint: evidence.at_risk(endpoint, evidence.subjects["subject_id"]) for endpoint in evidence.outcomes}
    duplicates = DuplicateRows(evidence.subjects)
    for name, rows in sets.items():
        position = index.get_indexer(rows.ids)
        unknown = int((position < 0).sum())
        if unknown:
            problem = f"{unknown} of {len(rows.ids)} rows are of subjects that the study does not have"
            raise DataError(str(evidence.tables[name]), problem, "Remove the file and run snakemake again")
        yield from check_availability(rows, [everyone[one.endpoint] for one in rows.at_risk], position)
        gates, pairs = ColumnGates(rows), PairGate(rows)
        ids = evidence.subjects["person_id"].iloc[position].reset_index(drop=True)
        for column in columns_of(evidence, name):
            ranked = Ranked.of(column.numbers)
            found = [*gates.check(column, ranked), *_of_column(evidence, rows, column, ranked, ids)]
            pairs.add(column, told=bool(found))
            if evidence.features[name].modality == "ehr":
                duplicates.add(column, ranked, position)
            yield from found
        yield from check_histories(evidence, rows)
        yield from pairs.findings()
    yield from duplicates.findings(evidence)


def _of_column(
    evidence: Evidence, rows: SetRows, column: FeatureColumn, ranked: Ranked, ids: pd.Series
) -> list[Finding]:
    return [
        *check_name(column),
        *check_since(column),
        *check_fit(column, ranked),
        *check_identifier_column(column, ranked, ids),
        *check_target_codes(evidence, rows, column, ranked),
    ]
