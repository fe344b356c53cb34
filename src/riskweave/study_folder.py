"""The folder of a study's results: what the study is, and files that say what makes them when they are not there."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from riskweave.errors import DataError, nearest
from riskweave.parquet import read_frame

__all__ = ["StudyFolder", "read_text"]


def read_text(path: Path) -> pd.DataFrame:
    """Read a table that is made to be looked at: all columns as text, `s` where a count is not shown."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@dataclass(frozen=True)
class StudyFolder:
    """A study as it was run, and its files. `riskweave.results.Results` knows the tables.

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
        """Names of the study's endpoints."""
        return list(self.study["endpoints"])

    @property
    def synthetic(self) -> bool:
        """Whether the people are generated, and not real."""
        return self.study["cohort"]["source"] == "synthetic"

    @property
    def reference(self) -> str:
        """The experiment that all others are compared with."""
        return self.study["evaluation"]["reference"]

    @property
    def confidence(self) -> float:
        """Level of all intervals of the evaluation, such as 0.95."""
        return self.study["evaluation"]["confidence"]

    def horizon(self, endpoint: str) -> int:
        """Return the last horizon of an endpoint, in days: the leaderboard's."""
        self._known(endpoint, self.endpoints, "endpoint")
        return max(self.study["endpoints"][endpoint]["horizons"])

    def experiments(self, endpoint: str) -> list[str]:
        """Return the names of the experiments that are trained for an endpoint."""
        self._known(endpoint, self.endpoints, "endpoint")
        found = (self.folder / "experiments" / endpoint).glob("*/predictions.parquet")
        return sorted(path.parent.name for path in found)

    def used_sets(self, modality: str | None = None) -> list[str]:
        """Return the feature sets, of one modality or all, that have a feature table."""
        blocks = self.study["feature_sets"].items()
        wanted = [name for name, block in blocks if modality in (None, block["modality"])]
        return [name for name in wanted if (self.folder / "features" / name / "features.parquet").is_file()]

    def _shown(self, name: str = "") -> str:
        """Return a path below `results/`, whoever's folder that lies in."""
        return (Path("results") / self.folder.name / name).as_posix()

    def _absent(self, name: str, goal: str) -> DataError:
        command = " ".join(["snakemake", *([goal] if goal else [])])
        remedy = f"`{command}` makes it; add --configfile with the study's file, unless it is config/config.yaml"
        return DataError(self._shown(name), "is not there", remedy)

    def _known(self, name: str, names: Collection[str], what: str) -> None:
        if name not in names:
            remedy = f"{nearest(name, names)} It has: {', '.join(names) or 'none'}".lstrip()
            raise DataError(f"{what} {name!r}", f"is not in study {self.folder.name!r}", remedy)

    def _read(self, name: str, goal: str, read: Callable = read_frame) -> Any:
        path = self.folder / name
        if not path.is_file():
            raise self._absent(name, goal)
        return read(path)

    def _report(self, name: str, endpoint: str | None = None, read: Callable = read_text) -> Any:
        if endpoint is not None:
            self._known(endpoint, self.endpoints, "endpoint")
            name = f"{endpoint}/{name}"
        return self._read(f"cohort/report/{name}", "cohort", read)

    def _evaluation(self, endpoint: str, name: str, read: Callable = read_frame) -> Any:
        self._known(endpoint, self.endpoints, "endpoint")
        return self._read(f"evaluation/{endpoint}/{name}", "evaluate", read)

    def _experiment(self, endpoint: str, experiment: str, name: str, read: Callable = read_frame) -> Any:
        known = self.experiments(endpoint)
        if known:
            self._known(experiment, known, f"experiment for {endpoint}")
        return self._read(f"experiments/{endpoint}/{experiment}/{name}", "", read)
