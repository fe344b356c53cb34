"""Read a study's results: the one way by which notebooks get at what the pipeline made."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from riskweave.errors import DataError, nearest
from riskweave.parquet import read_frame
from riskweave.study_folder import StudyFolder, read_text

if TYPE_CHECKING:
    from riskweave.explain.saliency import Saliency
    from riskweave.study.study import Study

__all__ = ["Results", "open_results"]

RECORDED = ("recordings", "images", "sounds")


@dataclass(frozen=True)
class Results(StudyFolder):
    """The results of one study. `docs/tables.md` describes the tables column by column.

    Tables of the cohort report and of the evaluation hold counts and estimates, small groups left out. Those under
    "A row per subject" hold people: never show their rows outside the place that may see the data.

    Attributes
    ----------
    folder : Path
        ``results/<study>``.
    study : dict
        The study as it was run, all defaults filled in.

    Raises
    ------
    DataError
        By each method, when what it reads is not there; says which command makes it.
    """

    # The cohort report: to be passed on; all columns are text, and `s` is a count that is not shown

    def attrition(self, endpoint: str) -> pd.DataFrame:
        """Return who was left out at each step of making the cohort, and how many remained."""
        return self._report("attrition.csv", endpoint)

    def outcomes_summary(self, endpoint: str) -> pd.DataFrame:
        """Return what happened first by the last horizon: target, competing events, censored, followed to it."""
        return self._report("outcomes.csv", endpoint)

    def follow_up(self, endpoint: str) -> pd.DataFrame:
        """Return the length of follow-up, person-years and event rates."""
        return self._report("follow_up.csv", endpoint)

    def table1(self, endpoint: str) -> pd.DataFrame:
        """Return Table 1: the cohort's characteristics overall and by group, with standardised differences."""
        return self._report("table1.csv", endpoint)

    def incidence(self, endpoint: str) -> pd.DataFrame:
        """Return the observed curves: curve, day, estimate, lower, upper (0 to 1) and number at risk, as numbers."""
        return self._report("curves.csv", endpoint, read=pd.read_csv)

    def missingness(self) -> pd.DataFrame:
        """Return the share (%) of subjects without a value in each feature column, overall and by group."""
        return self._report("missingness.csv")

    def availability(self) -> pd.DataFrame:
        """Return how many subjects have which modalities together."""
        return self._report("availability.csv")

    def data(self) -> pd.DataFrame:
        """Return rows, people and fingerprint of each table of the source, and whether it changed."""
        return self._report("data.csv")

    def leaks(self) -> pd.DataFrame:
        """Return what the leak gates found, and why the study allows it where it does."""
        return self._read("cohort/leaks/findings.csv", "cohort", read=read_text)

    def cohort_figure(self, name: str, endpoint: str | None = None) -> Path:
        """Return the file of a figure: ``flow`` or ``curves`` of an endpoint, ``missingness``, ``availability``."""
        return self._report(f"{name}.svg", endpoint, read=Path)

    # Evaluation

    def leaderboard(self, endpoint: str) -> pd.DataFrame:
        """One row per experiment, best first: metrics at the last horizon with intervals, and differences."""
        return self._evaluation(endpoint, "leaderboard.parquet")

    def metrics(self, endpoint: str) -> pd.DataFrame:
        """All metrics in long form: experiment, metric, horizon (days), group, n, events, estimate, lower, upper."""
        return self._evaluation(endpoint, "metrics.parquet")

    def differences(self, endpoint: str) -> pd.DataFrame:
        """Paired differences of each metric to the reference experiment, in long form."""
        return self._evaluation(endpoint, "differences.parquet")

    def calibration(self, endpoint: str) -> pd.DataFrame:
        """Predicted and observed risk (0 to 1) by group of predicted risk, at each horizon."""
        return self._evaluation(endpoint, "calibration.parquet")

    def calibration_curve(self, endpoint: str) -> pd.DataFrame:
        """Smooth observed over predicted risk (0 to 1) with its band, by experiment and horizon."""
        return self._evaluation(endpoint, "calibration_curve.parquet")

    def decision_curve(self, endpoint: str) -> pd.DataFrame:
        """Net benefit by threshold: each experiment, treating everybody and treating nobody."""
        return self._evaluation(endpoint, "decision_curve.parquet")

    def folds(self, endpoint: str) -> pd.DataFrame:
        """All metrics within each fold, their means, and mean differences to the reference over the folds."""
        return self._evaluation(endpoint, "folds.parquet")

    def reclassification(self, endpoint: str) -> pd.DataFrame:
        """Shares that move across the thresholds of `evaluation.reclassification`, of events and of others."""
        if not self.study["evaluation"].get("reclassification"):
            problem, remedy = "the study states no thresholds", "State some and run `snakemake evaluate`"
            raise DataError("evaluation.reclassification", problem, remedy)
        return self._evaluation(endpoint, "reclassification.parquet")

    def recalibration(self, endpoint: str) -> pd.DataFrame:
        """Metrics before and after a recalibration across folds, where the study asks for it."""
        if not self.study["evaluation"].get("recalibration"):
            problem, remedy = "the study does not ask for it", "Set it to true and run `snakemake evaluate`"
            raise DataError("evaluation.recalibration", problem, remedy)
        return self._evaluation(endpoint, "recalibration.parquet")

    def objectives(self) -> pd.DataFrame:
        """Return the study's objectives and the verdict on each."""
        return self._read("evaluation/objectives.csv", "evaluate", read=pd.read_csv)

    def figure(self, name: str, endpoint: str) -> Path:
        """Return the file of a figure: ``leaderboard``, ``calibration``, ``calibration_curve``, ``decision_curve``."""
        return self._evaluation(endpoint, f"{name}.svg", read=Path)

    # Explanations

    def explained(self, endpoint: str) -> list[str]:
        """Return the names of the experiments that are explained: none, unless `evaluation.explain` names some."""
        self._known(endpoint, self.endpoints, "endpoint")
        found = (self.folder / "evaluation" / endpoint / "explain").glob("*/importance.parquet")
        return sorted(path.parent.name for path in found)

    def _explanation(self, endpoint: str, experiment: str, name: str, read: Callable = read_frame) -> Any:
        explained = self.explained(endpoint)
        if experiment not in explained:
            raise DataError(
                f"experiment {experiment!r} of endpoint {endpoint!r}",
                f"is not explained in {self._shown()}",
                f"{nearest(experiment, explained)} Name it under evaluation.explain and run `snakemake explain`. "
                f"Explained are: {', '.join(explained) or 'none'}".lstrip(),
            )
        return self._read(f"evaluation/{endpoint}/explain/{experiment}/{name}", "explain", read)

    def importance(self, endpoint: str, experiment: str) -> pd.DataFrame:
        """Return what predictions lose without a column, feature set or modality, in long form."""
        return self._explanation(endpoint, experiment, "importance.parquet")

    def effects(self, endpoint: str, experiment: str) -> pd.DataFrame:
        """Return what each column does to the risk over its values, in long form."""
        return self._explanation(endpoint, experiment, "effects.parquet")

    def explanation_figure(self, name: str, endpoint: str, experiment: str) -> Path:
        """Return the file of a figure of an experiment: ``importance`` or ``effects``."""
        return self._explanation(endpoint, experiment, f"{name}.svg", read=Path)

    def shapley(self, endpoint: str) -> pd.DataFrame:
        """Return what each feature set is worth to the concordance, where experiments cover all their subsets."""
        name = f"evaluation/{endpoint}/shapley.parquet"
        if not (self.folder / name).is_file():
            problem = "is not there: the concordance is divided where experiments cover all subsets of feature sets"
            remedy = "Give an experiment `all_subsets_of`, or name one in `evaluation.shapley`; run `snakemake explain`"
            raise DataError(self._shown(name), problem, remedy)
        return read_frame(self.folder / name)

    # One subject: computed now, kept nowhere, and refused for real people unless the study allows it

    def attributions(self, endpoint: str, experiment: str, subject_id: str, **options: Any) -> pd.DataFrame:
        """Divide a subject's risk beyond the mean among columns, or with `level` feature sets or modalities.

        See :func:`riskweave.explain.subject.attribute_subject`.
        """
        from riskweave.explain.subject import attribute_subject

        self._experiment(endpoint, experiment, "models.zip", read=Path)
        asked = {"endpoint": endpoint, "experiment": experiment, "subject_id": subject_id}
        return attribute_subject(self.folder, self._blocks(), **asked, **options)

    def saliency(self, endpoint: str, feature_set: str, subject_id: str, **options: Any) -> "Saliency":
        """Tell which places of a subject's latest ECG or image its encoder's score rests on.

        See :func:`riskweave.explain.subject.subject_saliency`; :func:`riskweave.explain.saliency.draw_saliency` draws
        them onto the trace or the picture.
        """
        from riskweave.explain.subject import subject_saliency

        self._known(feature_set, self.study["feature_sets"], "feature set")
        self._known(endpoint, self.endpoints, "endpoint")
        asked = {"endpoint": endpoint, "feature_set": feature_set, "subject_id": subject_id}
        return subject_saliency(self.folder, self._blocks(), **asked, **options)

    def _blocks(self) -> "Study":
        from riskweave.study.study import Study

        return Study.model_validate(self.study)

    # Training

    def curves(self, endpoint: str, experiment: str) -> pd.DataFrame:
        """Training curves of an experiment: fold, epoch, metric, value; empty for models without epochs."""
        return self._experiment(endpoint, experiment, "curves.csv", read=pd.read_csv)

    def trials(self, endpoint: str, experiment: str) -> pd.DataFrame:
        """Trials of the search of hyper-parameters in each fold; empty without a search."""
        return self._experiment(endpoint, experiment, "trials.csv", read=pd.read_csv)

    def run(self, endpoint: str, experiment: str) -> dict:
        """Return the run record of an experiment: what was trained, on which data, with which code, and how it went."""
        return self._experiment(endpoint, experiment, "run.json", read=lambda path: json.loads(path.read_bytes()))

    def runs(self) -> pd.DataFrame:
        """Return all run records, a row each: rule, name, endpoint, seconds, architecture and metrics."""
        records = sorted([*self.folder.glob("experiments/*/*/run.json"), *self.folder.glob("features/*/*/run.json")])
        if not records:
            raise self._absent("experiments/<endpoint>/<experiment>/run.json", "")
        return pd.DataFrame([_summary(json.loads(path.read_bytes())) for path in records])

    # A row per subject: for those who may see the data

    def predictions(self, endpoint: str, experiment: str) -> pd.DataFrame:
        """Out-of-fold predictions: ``risk_<day>`` is the incidence (0 to 1) of the target until that day."""
        return self._experiment(endpoint, experiment, "predictions.parquet")

    def subjects(self) -> pd.DataFrame:
        """Return the subjects: identifiers, index time, end of follow-up, and the columns of the source."""
        return self._read("cohort/subjects.parquet", "cohort")

    def outcomes(self, endpoint: str) -> pd.DataFrame:
        """Return time (days) and event (0 censored, 1 target, 2 and up competing) of each subject at risk."""
        self._known(endpoint, self.endpoints, "endpoint")
        return self._read(f"cohort/outcomes/{endpoint}.parquet", "cohort")

    def division(self) -> pd.DataFrame:
        """Return the role (train, validation, test) of each subject in each fold."""
        return self._read("cohort/folds.parquet", "cohort")

    def features(self, feature_set: str) -> pd.DataFrame:
        """Return the columns of a feature set; who lacks the modality has no row."""
        self._known(feature_set, self.study["feature_sets"], "feature set")
        return self._read(f"features/{feature_set}/features.parquet", "cohort")

    def inputs(self, feature_set: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Return what an encoder reads: whose it is (column `row`), and the array, which stays on disk.

        For `ecg`, `image` and `audio`; the arrays of other modalities are not a row per file.
        """
        self._known(feature_set, self.study["feature_sets"], "feature set")
        index = self._read(f"features/{feature_set}/index.parquet", "cohort")
        return index, np.load(self.folder / "features" / feature_set / "inputs.npy", mmap_mode="r")

    def embeddings(self, feature_set: str, endpoint: str) -> pd.DataFrame:
        """Return what the encoder of a feature set makes of each subject in each fold."""
        self._known(feature_set, self.study["feature_sets"], "feature set")
        self._known(endpoint, self.endpoints, "endpoint")
        return self._read(f"features/{feature_set}/{endpoint}/embeddings.parquet", "")

    def events(self, person: str | None = None) -> pd.DataFrame:
        """Return the events of the source: all of them, or those of one person."""
        only = None if person is None else [("subject_id", "==", person)]
        return self._read("cohort/source/events.parquet", "cohort", read=lambda path: read_frame(path, filters=only))

    def files(self, table: str) -> pd.DataFrame:
        """Return what recordings the source has of whom and when: ``recordings`` (ECGs), ``images`` or ``sounds``."""
        self._known(table, RECORDED, "table")
        return self._read(f"cohort/source/{table}.parquet", "cohort")


def _summary(record: dict) -> dict:
    """Return what a run record says in a line; who ran it and where is left to the record."""
    return {
        "kind": record["kind"],
        "name": record["name"],
        "endpoint": record.get("endpoint"),
        "seconds": record["duration"],
        "architecture": record["architecture"].partition("\n")[0],
        **record["metrics"],
    }


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
            f"there are no results of study {study!r}",
            f"{nearest(study, studies)} Run snakemake first. "
            f"Studies with results: {', '.join(studies) or 'none'}".lstrip(),
        )
    folder = root / study
    return Results(folder=folder, study=yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8")))
