"""What the study report reads: files that the workflow named, each read once and by its place below the results."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from riskweave.cohort.version import read_data
from riskweave.errors import DataError
from riskweave.parquet import read_frame
from riskweave.report.tables import findings_table
from riskweave.study.cohort import Endpoint
from riskweave.study.study import Study
from riskweave.study_report.counts import ShownCounts, shown_counts
from riskweave.tracking.record import RunRecord, read_record

__all__ = ["Content", "EndpointContent", "Files", "read_content"]


@dataclass(frozen=True)
class Files:
    """The files that may be read, by their names below the folder of the study's results.

    Attributes
    ----------
    root : Path
        ``results/<study>``.
    names : frozenset of str
        Such as ``evaluation/mi/leaderboard.parquet``. What is not among them is not looked at.
    """

    root: Path
    names: frozenset[str]

    @classmethod
    def of(cls, root: Path, paths: Iterable[Path]) -> "Files":
        """Name files by their places below a folder; those that lie elsewhere are refused."""
        return cls(root, frozenset(Path(path).relative_to(root).as_posix() for path in paths))

    def path(self, name: str) -> Path:
        """Return the path of a file.

        Raises
        ------
        DataError
            When it is not among the inputs.
        """
        if name not in self.names:
            raise DataError(
                str(self.root / name), "is not among the inputs of the study report", "Run snakemake report"
            )
        return self.root / name

    def optional(self, name: str) -> Path | None:
        """Return the path of a file, or None where it is not among the inputs."""
        return self.root / name if name in self.names else None

    def table(self, name: str) -> pd.DataFrame:
        """Read a Parquet table."""
        return read_frame(self.path(name))

    def text(self, name: str) -> pd.DataFrame:
        """Read a CSV file as text: numbers and the marks of those not shown stay as they are."""
        return pd.read_csv(self.path(name), dtype=str, keep_default_na=False)

    def below(self, folder: str) -> list[str]:
        """Return the names below a folder, sorted."""
        return sorted(name for name in self.names if name.startswith(f"{folder}/"))

    def hashes(self) -> pd.DataFrame:
        """Return the sha256 of the content of each file: file, bytes, sha256."""
        rows = []
        for name in sorted(self.names):
            content = (self.root / name).read_bytes()
            rows.append((name, len(content), hashlib.sha256(content).hexdigest()))
        return pd.DataFrame(rows, columns=["file", "bytes", "sha256"])


@dataclass(frozen=True)
class EndpointContent:
    """What is known of an endpoint.

    Attributes
    ----------
    name : str
    block : Endpoint
        The study's block.
    files : Files
    counts : ShownCounts
        Which numbers of subjects and events may be written.
    """

    name: str
    block: Endpoint
    files: Files
    counts: ShownCounts

    def _table(self, table: str) -> pd.DataFrame:
        return self.files.table(f"evaluation/{self.name}/{table}.parquet")

    def cohort(self, table: str) -> pd.DataFrame:
        """Return a table of the cohort report, as text."""
        return self.files.text(f"cohort/report/{self.name}/{table}.csv")

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard, best first."""
        return self._table("leaderboard")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All metrics, in all groups."""
        return self._table("metrics")

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Metrics within each fold."""
        return self._table("folds")

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Predicted and observed risk by group of risk, without counts of subjects and events."""
        return self._table("calibration").drop(columns=["n", "events"])

    @cached_property
    def calibration_curve(self) -> pd.DataFrame:
        """Smooth observed over predicted risk."""
        return self._table("calibration_curve")

    @cached_property
    def decision_curve(self) -> pd.DataFrame:
        """Net benefit by threshold."""
        return self._table("decision_curve")

    @cached_property
    def reclassification(self) -> pd.DataFrame | None:
        """Moves across stated thresholds; None where the study states none."""
        found = self.files.optional(f"evaluation/{self.name}/reclassification.parquet")
        return None if found is None else read_frame(found)

    @cached_property
    def recalibration(self) -> pd.DataFrame | None:
        """Calibration before and after a recalibration across folds; None where the study asks for none."""
        found = self.files.optional(f"evaluation/{self.name}/recalibration.parquet")
        return None if found is None else read_frame(found)

    @property
    def reference(self) -> str:
        """The experiment to which the others are compared."""
        return str(self.board["reference"].iloc[0])

    @property
    def first(self) -> str:
        """The experiment of the highest concordance."""
        return str(self.board["experiment"].iloc[0])

    @property
    def horizon(self) -> int:
        """The last horizon, in days."""
        return int(self.board["horizon"].iloc[0])

    def row(self, experiment: str) -> pd.Series:
        """Return the row of an experiment on the leaderboard."""
        return self.board[self.board["experiment"] == experiment].iloc[0]


@dataclass(frozen=True)
class Content:
    """All that the report tells.

    Attributes
    ----------
    study : Study
    data : mapping
        The data version.
    endpoints : dict of name to EndpointContent
    records : dict of name to RunRecord
        Run records, by their names below the results.
    findings : DataFrame or None
        What the leak gates found.
    files : Files
    """

    study: Study
    data: Mapping[str, Any]
    endpoints: Mapping[str, EndpointContent]
    records: Mapping[str, RunRecord]
    findings: pd.DataFrame | None
    files: Files

    @property
    def threshold(self) -> int:
        """Counts from 1 to below it are not shown."""
        return self.study.report.suppress_below

    @cached_property
    def objectives(self) -> pd.DataFrame:
        """Return the verdicts, as text."""
        return self.files.text("evaluation/objectives.csv")

    @property
    def confidence(self) -> str:
        """Coverage of the intervals, such as ``95 %``."""
        return f"{100 * self.study.evaluation.confidence:g} %"

    def experiments(self, endpoint: str) -> dict[str, RunRecord]:
        """Return the run records of an endpoint's experiments, by name."""
        own = (run for run in self.records.values() if run.kind == "experiment" and run.endpoint == endpoint)
        return {run.name: run for run in own}


def _read_study(path: Path) -> Study:
    return Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def read_content(files: Files) -> Content:
    """Read what the report tells.

    Parameters
    ----------
    files : Files
        ``study.yaml``, ``cohort/source/data.json``, the cohort report, the evaluation of each endpoint, run records;
        figures of searches and explanations where there are any.

    Raises
    ------
    DataError
        When one of them is missing, or a run record is not readable.
    """
    study = _read_study(files.path("study.yaml"))
    threshold = study.report.suppress_below
    counts = shown_counts(
        metrics={name: files.table(f"evaluation/{name}/metrics.parquet") for name in study.endpoints},
        follow_up={name: files.text(f"cohort/report/{name}/follow_up.csv") for name in study.endpoints},
        outcomes={name: files.text(f"cohort/report/{name}/outcomes.csv") for name in study.endpoints},
        table1={name: files.text(f"cohort/report/{name}/table1.csv") for name in study.endpoints},
        threshold=threshold,
    )
    return Content(
        study=study,
        data=read_data(files.path("cohort/source/data.json")),
        endpoints={
            name: EndpointContent(name, study.endpoints[name], files, counts[name]) for name in sorted(study.endpoints)
        },
        records={name: read_record(files.path(name)) for name in sorted(files.names) if name.endswith("run.json")},
        findings=findings_table(files.optional("cohort/leaks/findings.csv"), threshold),
        files=files,
    )
