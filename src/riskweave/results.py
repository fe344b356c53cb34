"""Read a study's results: the one way by which notebooks get at what the pipeline made."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from riskweave.errors import DataError, nearest
from riskweave.parquet import read_frame

__all__ = ["Results", "open_results"]


@dataclass(frozen=True)
class Results:
    """The results of one study.

    Attributes
    ----------
    folder : Path
        ``results/<study>``.
    study : dict
        The study as it was run, all defaults filled in.
    """

    folder: Path
    study: dict

    @property
    def endpoints(self) -> list[str]:
        """Names of the evaluated endpoints."""
        return [name for name in self.study["endpoints"] if (self.folder / "evaluation" / name).is_dir()]

    def _evaluation(self, endpoint: str, table: str) -> pd.DataFrame:
        if endpoint not in self.endpoints:
            raise DataError(
                f"endpoint {endpoint!r}",
                f"has no evaluation in {self.folder}.{nearest(endpoint, self.endpoints)}",
                f"Evaluated are: {', '.join(self.endpoints) or 'none; run snakemake first'}",
            )
        return read_frame(self.folder / "evaluation" / endpoint / f"{table}.parquet")

    def leaderboard(self, endpoint: str) -> pd.DataFrame:
        """One row per experiment, best first: metrics at the last horizon with intervals, and differences."""
        return self._evaluation(endpoint, "leaderboard")

    def metrics(self, endpoint: str) -> pd.DataFrame:
        """All metrics in long form: experiment, metric, horizon (days), group, n, events, estimate, lower, upper."""
        return self._evaluation(endpoint, "metrics")

    def differences(self, endpoint: str) -> pd.DataFrame:
        """Paired differences of each metric to the reference experiment, in long form."""
        return self._evaluation(endpoint, "differences")

    def calibration(self, endpoint: str) -> pd.DataFrame:
        """Predicted and observed risk (0 to 1) by group of predicted risk, at each horizon."""
        return self._evaluation(endpoint, "calibration")

    def attrition(self, endpoint: str) -> pd.DataFrame:
        """Return who was left out at each step of making the cohort, and how many remained."""
        return pd.read_csv(self.folder / "cohort" / "attrition" / f"{endpoint}.csv")

    def objectives(self) -> pd.DataFrame:
        """Return the study's objectives and the verdict on each."""
        return pd.read_csv(self.folder / "evaluation" / "objectives.csv")

    def curves(self, endpoint: str, experiment: str) -> pd.DataFrame:
        """Training curves of an experiment: fold, epoch, metric, value; empty for models without epochs."""
        return pd.read_csv(self.folder / "experiments" / endpoint / experiment / "curves.csv")


def open_results(study: str, root: Path | str | None = None) -> Results:
    """Open the results of a study.

    Parameters
    ----------
    study : str
        Name of the study.
    root : path, optional
        The folder ``results``. When not given, the nearest one in the working directory or above it, so that a
        notebook finds the project's whichever folder it was started in.

    Raises
    ------
    DataError
        When there is no such folder or the study has no results in it; names the studies that do.
    """
    if root is None:
        here = Path.cwd()
        candidates = [folder / "results" for folder in (here, *here.parents)]
        root = next((folder for folder in candidates if folder.is_dir()), "results")
    root = Path(root)
    studies = sorted(path.parent.name for path in root.glob("*/study.yaml"))
    if study not in studies:
        raise DataError(
            str(root / study),
            f"there are no results of study {study!r}.{nearest(study, studies)}",
            f"Run snakemake first. Studies with results: {', '.join(studies) or 'none'}",
        )
    folder = root / study
    return Results(folder=folder, study=yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8")))
