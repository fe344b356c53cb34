"""One subject of a study, for a notebook. Real people are refused, unless their study allows to show single ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.results import Results

__all__ = ["Subject", "average_risks", "open_subject"]

BIRTH = "MEDS_BIRTH"


@dataclass(frozen=True)
class Subject:
    """One subject: a person at one index time.

    Attributes
    ----------
    results : Results
    row : Series
        Of the table of subjects: index time, end of follow-up, columns of the source.
    """

    results: Results
    row: pd.Series

    @property
    def name(self) -> str:
        """The identifier."""
        return self.row["subject_id"]

    def events(self) -> pd.DataFrame:
        """Return the dated events but the birth, with `years` from the index time: no model sees those above 0."""
        table = self.results.events(self.row["person_id"]).dropna(subset="time").sort_values("time", kind="stable")
        table = table[table["code"] != BIRTH]
        years = (table["time"] - self.row["index_time"]) / pd.Timedelta(days=365.25)
        return table.assign(years=years).reset_index(drop=True)

    def outcome(self, endpoint: str) -> str:
        """Return what happened, in words."""
        table = self.results.outcomes(endpoint).set_index("subject_id")
        if self.name not in table.index:
            return f"not at risk of {endpoint}: had it before, or was not observed afterwards"
        time, event = table.loc[self.name, ["time", "event"]]
        what = {0: f"observed without {endpoint} for", 1: f"{endpoint} after"}.get(event, "a competing event after")
        return f"{what} {time / 365.25:.1f} years"

    def risks(self, endpoint: str, experiments: Sequence[str]) -> pd.DataFrame:
        """Return the predicted incidence of the target: experiment, years, risk (0 to 1); empty where not at risk."""
        return _long({name: self._predicted(endpoint, name) for name in experiments})

    def _predicted(self, endpoint: str, experiment: str) -> pd.DataFrame:
        table = self.results.predictions(endpoint, experiment)
        return table[table["subject_id"] == self.name]

    def recording(self, feature_set: str) -> np.ndarray | None:
        """Return the latest recording as the encoder reads it (see `docs/modalities.md`); None where there is none."""
        index, inputs = self.results.inputs(feature_set)
        own = index.loc[index["subject_id"] == self.name, "row"]
        return np.array(inputs[own.iloc[-1]]) if len(own) else None

    def attribution(self, endpoint: str, experiment: str) -> pd.DataFrame:
        """Divide the risk at the last horizon, beyond the mean risk, among the columns that the model reads.

        See `riskweave.results.Results.attributions`.

        Returns
        -------
        DataFrame
            As from there, with `label` (feature set, column, value) and `estimate`, `lower`, `upper`: the share (of the
            risk, 0 to 1) and its 95 % interval, which is that of the sampling alone. The largest share first.
        """
        table = self.results.attributions(endpoint, experiment, self.name)
        table = table[table["horizon"] == self.results.horizon(endpoint)]
        share, reach = table["share"], 1.96 * table["error"]
        label = table["feature_set"] + ": " + table["name"] + table["value"].map(_after_equals)
        return table.assign(label=label, estimate=share, lower=share - reach, upper=share + reach)


def _after_equals(value: str | None) -> str:
    """Return a value for a label, numbers with three digits; nothing where there is none."""
    if value is None:
        return ""
    try:
        return f" = {float(value):.3g}"
    except ValueError:
        return f" = {value}"


def _long(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the mean risk of the target over the rows of prediction tables, by experiment and time."""
    parts = []
    for name, table in tables.items():
        days = {column: int(column[5:]) for column in table.columns if column.removeprefix("risk_").isdigit()}
        if len(table):
            mean = [0.0, *table[list(days)].mean()]
            parts.append(
                pd.DataFrame({"experiment": name, "years": np.array([0, *days.values()]) / 365.25, "risk": mean})
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["experiment", "years", "risk"])


def average_risks(results: Results, endpoint: str, experiment: str) -> pd.DataFrame:
    """Return the mean predicted incidence of all subjects at risk: experiment, years, risk (0 to 1)."""
    return _long({experiment: results.predictions(endpoint, experiment)})


def open_subject(results: Results, subject_id: str | None = None) -> Subject:
    """Open one subject.

    Parameters
    ----------
    results : Results
    subject_id : str, optional
        In a study of generated people: the first at risk who has a row in the most feature sets, when not given.

    Raises
    ------
    DataError
        When the people are real and the study does not allow it, or no subject, or none that exists, is named.
    """
    if not results.synthetic and not results.study["evaluation"].get("explain_subjects", False):
        raise DataError(
            f"study {results.folder.name!r}",
            "its people are real, and nothing is shown of a single one: the output of a notebook is then a health "
            "record, wherever its file goes",
            "Look at a study with a synthetic cohort, such as the demo. If the terms of the data allow it, set "
            "`explain_subjects: true` under `evaluation` in the study file, run snakemake once more (it only saves the "
            "study file again), and neither save nor pass on the notebook's output",
        )
    subjects = results.subjects()
    if subject_id is None and results.synthetic:
        subject_id = _example(results, subjects)
    found = subjects[subjects["subject_id"] == subject_id]
    if len(found) != 1:
        remedy = "Name one of the column subject_id of cohort/subjects.parquet, as text"
        raise DataError("the subject asked for", "is not in the study, or none is named", remedy)
    return Subject(results, found.iloc[0])


def _example(results: Results, subjects: pd.DataFrame) -> str:
    """Return the first subject at risk of the first endpoint who has a row in the most feature sets."""
    at_risk = subjects["subject_id"].isin(results.outcomes(results.endpoints[0])["subject_id"])
    count = sum(subjects["subject_id"].isin(results.features(name)["subject_id"]) for name in results.used_sets())
    return subjects["subject_id"].iloc[int(np.argmax(np.where(at_risk, count, -1)))]
