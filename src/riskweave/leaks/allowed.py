"""Findings as a table, with what a study allows, and the refusal of those that it does not."""

import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from riskweave.errors import DataError, nearest
from riskweave.leaks.finding import Finding, count
from riskweave.modalities.base import replacing
from riskweave.study.cohort import Allowed

__all__ = ["FINDINGS_COLUMNS", "check_findings", "write_findings"]

logger = logging.getLogger(__name__)

FINDINGS_COLUMNS = ("gate", "name", "place", "problem", "subjects", "remedy", "allowed", "why")


def write_findings(findings: Iterable[Finding], allow: Sequence[Allowed], path: Path) -> None:
    """Write the findings with what the study allows; entries of `allow` that match none are told in the log.

    Parameters
    ----------
    findings : iterable of Finding
        What the gates found.
    allow : sequence of Allowed
        The study's entries.
    path : Path
        CSV to write: gate, name, place, problem, subjects (empty where it cannot be told, small counts suppressed),
        remedy, allowed (yes or no), why.
    """
    findings = list(findings)
    why = {entry.finding: entry.why for entry in allow}
    names = [finding.name for finding in findings]
    for name in why:
        if name not in names:
            logger.warning("allow: %r was not found; the data may be mended: remove it.%s", name, nearest(name, names))
    with replacing(Path(path)) as (partial,), partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FINDINGS_COLUMNS)
        for one in findings:
            shown = "" if one.subjects is None else count(int(one.subjects))
            told = ["yes", why[one.name]] if one.name in why else ["no", ""]
            writer.writerow([one.gate, one.name, one.place, one.problem, shown, one.remedy, *told])
    logger.info("%d findings, %d of them allowed", len(findings), sum(name in why for name in names))


def check_findings(path: Path) -> None:
    """Refuse findings that the study does not allow.

    Parameters
    ----------
    path : Path
        CSV of `write_findings`.

    Raises
    ------
    DataError
        Naming all of them, each with its problem and remedy, and how a finding is allowed.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["allowed"] == "yes":
            logger.warning("allowed: %s: %s (%s)", row["name"], row["problem"], row["why"])
    refused = [row for row in rows if row["allowed"] != "yes"]
    if refused:
        told = "".join(f"\n  {row['name']}: {row['problem']}. {row['remedy']}" for row in refused)
        remedy = (
            "Mend the data or the study. What is no leak may pass: add it to the study's `allow` as `- {finding: "
            f"{refused[0]['name']}, why: ...}}`"
        )
        raise DataError("leak gates", f"{len(refused)} findings that the study does not allow:{told}\n", remedy)
