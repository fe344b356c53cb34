"""Findings as a table, with what a study allows, and the refusal of those that it does not."""

import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from riskweave.errors import DataError, nearest
from riskweave.files import replacing
from riskweave.leaks.finding import Finding, count
from riskweave.study.cohort import Allowed

__all__ = ["FINDINGS_COLUMNS", "check_findings", "collect_findings", "write_findings"]

logger = logging.getLogger(__name__)

_FOUND = ("gate", "name", "place", "problem", "subjects", "remedy")
FINDINGS_COLUMNS = (*_FOUND, "allowed", "why")


def _write(rows: Iterable[Sequence[str]], columns: Sequence[str], path: Path) -> None:
    with replacing(Path(path)) as (partial,), partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _read(path: Path) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_findings(findings: Iterable[Finding], path: Path) -> None:
    """Write findings as CSV: gate, name, place, problem, subjects, remedy.

    `subjects` is empty where it cannot be told, and small counts are suppressed.
    """
    rows = [
        [
            one.gate,
            one.name,
            one.place,
            one.problem,
            "" if one.subjects is None else count(int(one.subjects)),
            one.remedy,
        ]
        for one in findings
    ]
    _write(rows, _FOUND, path)
    logger.info("%d findings", len(rows))


def collect_findings(*, paths: Iterable[Path], allow: Sequence[Allowed], output: Path) -> None:
    """Write all findings of a study in one table, with what the study allows.

    Entries of `allow` that match no finding, and findings that are not allowed, are told in the log.

    Parameters
    ----------
    paths : iterable of Path
        Tables of `write_findings`; a finding about the whole cohort stands in several, and is written once.
    allow : sequence of Allowed
        The study's entries.
    output : Path
        CSV to write: the columns of `write_findings`, then allowed (yes or no) and why.
    """
    why = {entry.finding: entry.why for entry in allow}
    found = {row["name"]: row for path in paths for row in _read(path)}
    for name in why:
        if name not in found:
            logger.warning("allow: %r was not found; the data may be mended: remove it.%s", name, nearest(name, found))
    rows = [
        [*(row[key] for key in _FOUND), "yes" if name in why else "no", why.get(name, "")]
        for name, row in found.items()
    ]
    _write(rows, FINDINGS_COLUMNS, output)
    refused = [name for name in found if name not in why]
    if refused:
        logger.warning("%d findings that the study does not allow: %s", len(refused), ", ".join(refused))
    else:
        logger.info("%d findings, all of them allowed", len(found))


def check_findings(path: Path, allow: Sequence[Allowed]) -> None:
    """Refuse findings that the study does not allow.

    Parameters
    ----------
    path : Path
        Table of `write_findings`.
    allow : sequence of Allowed
        The study's entries.

    Raises
    ------
    DataError
        Naming all of them, each with its problem and remedy, and how a finding is allowed.
    """
    why = {entry.finding: entry.why for entry in allow}
    rows = _read(path)
    for row in rows:
        if row["name"] in why:
            logger.warning("allowed: %s: %s (%s)", row["name"], row["problem"], why[row["name"]])
    refused = [row for row in rows if row["name"] not in why]
    if refused:
        told = "".join(f"\n  {row['name']}: {row['problem']}. {row['remedy']}" for row in refused)
        remedy = (
            "Mend the data or the study. What is no leak may pass: add it to the study's `allow` as `- {finding: "
            f"{refused[0]['name']}, why: ...}}`"
        )
        raise DataError("leak gates", f"{len(refused)} findings that the study does not allow:{told}\n ", remedy)
