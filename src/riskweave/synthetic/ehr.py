"""Events of the health record: visits, vitals, laboratory values, diagnoses, medications and the course of disease."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from riskweave.synthetic.latent import STREAMS
from riskweave.synthetic.outcomes import YEAR

__all__ = ["draw_events"]

VISITS_BEFORE, VISITS_AFTER = 2.4, 1.8  # per year
VALUE_LOST = 0.02
STATIN_EFFECT = -0.7  # mmol/L of LDL cholesterol


@dataclass(frozen=True)
class _Measure:
    """Model of a measurement: mean + loadings x latents + person + years x slope + visit, exponentiated if `log`."""

    code: str
    mean: float
    loadings: dict[str, float]
    person: float
    visit: float
    share: float  # of the visits at which it is measured
    decimals: int
    never: float = 0.0  # share of the subjects in whom it is never measured
    slope: dict[str, float] = field(default_factory=dict)  # per year; "": for everybody
    centre: float = 0.0  # standard deviation of the centres' calibration offsets
    log: bool = False


# How much people of the same state differ is small beside what the states do, so that a benchmark can ask for most of
# what is planted: see "What can be reached" in docs/demo-cohort.md.
_MEASURES = (
    _Measure("VITAL//SBP", 134, {"vascular": 13}, person=4, visit=8, share=0.85, decimals=0),
    _Measure("VITAL//DBP", 80, {"vascular": 5.5}, person=2.5, visit=6, share=0.85, decimals=0),
    _Measure("VITAL//BMI", 27.5, {"metabolic": 1.8}, person=2.2, visit=0.3, share=0.5, decimals=1, never=0.05),
    _Measure(
        "LAB//LDL", 3.3, {"metabolic": 0.55}, person=0.25, visit=0.3, share=0.45, decimals=2, never=0.06, centre=0.1
    ),
    _Measure("LAB//HDL", 0.3, {"metabolic": -0.12}, 0.08, 0.08, share=0.45, decimals=2, never=0.06, log=True),
    _Measure("LAB//TRIGLYCERIDES", 0.35, {"metabolic": 0.3}, 0.12, 0.2, share=0.4, decimals=2, never=0.08, log=True),
    _Measure("LAB//HBA1C", 3.7, {"metabolic": 0.13}, 0.045, 0.04, share=0.35, decimals=0, never=0.1, log=True),
    _Measure("LAB//EGFR", 82, {"renal": -10}, 3, 5, share=0.5, decimals=0, slope={"": -0.8, "renal": -1.0}),
    _Measure("LAB//CREATININE", 4.4, {"renal": 0.13}, 0.05, 0.06, share=0.5, decimals=0, log=True),
    _Measure("LAB//CRP", 0.5, {"renal": 0.5}, 0.2, 0.35, share=0.35, decimals=1, never=0.1, centre=0.1, log=True),
    _Measure("LAB//HAEMOGLOBIN", 14, {}, person=1.2, visit=0.4, share=0.5, decimals=1),
    _Measure("LAB//POTASSIUM", 4.2, {}, person=0.2, visit=0.25, share=0.5, decimals=1),
)

# Diagnosis: log-odds of ever having it before the index time.
_DIAGNOSES = {
    "ICD10//I10": (-0.3, {"vascular": 1.3}),
    "ICD10//E78": (-0.6, {"metabolic": 1.2}),
    "ICD10//E11": (-2.2, {"metabolic": 1.4}),
    "ICD10//N18": (-2.4, {"renal": 1.3}),
    "ICD10//F17": (-4.0, {"smoker": 8.0}),
    "ICD10//J44": (-2.9, {"smoker": 1.4}),
}
# Medication: the diagnosis it follows, and the share of those with and without the diagnosis who take it.
_MEDICATIONS = {
    "ATC//C09AA05": ("ICD10//I10", 0.6, 0.04),
    "ATC//C10AA05": ("ICD10//E78", 0.6, 0.05),
    "ATC//A10BA02": ("ICD10//E11", 0.75, 0.01),
    "ATC//B01AC06": ("ICD10//N18", 0.25, 0.12),
}
# Events without signal, per year.
_BACKGROUND = {"ICD10//J06": 0.25, "ICD10//M54": 0.2, "ATC//N02BE01": 0.35}


class _Events:
    """Events gathered in columns: row of the subject, days from the index time, code, value and text."""

    def __init__(self):
        self.parts: list[tuple] = []

    def add(self, row, days, code, value=np.nan, text: object = None) -> None:
        """Add events; `days`, `code`, `value` and `text` may be scalars."""
        kinds = (float, object, float, object)
        columns = [
            np.broadcast_to(np.asarray(c, dtype=k), len(row))
            for c, k in zip((days, code, value, text), kinds, strict=True)
        ]
        self.parts.append((row, *columns))

    def columns(self) -> list[np.ndarray]:
        """Row, days, code, value and text of all events."""
        return [np.concatenate(column) for column in zip(*self.parts, strict=True)]


def draw_events(*, latents: pd.DataFrame, outcomes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw the events of all subjects.

    Parameters
    ----------
    latents : pandas.DataFrame
        As `draw_latents` returns it, n rows.
    outcomes : pandas.DataFrame
        As `draw_outcomes` returns it, n rows.
    seed : int
        Seed of the generator.

    Returns
    -------
    pandas.DataFrame
        One row per event, sorted by subject, time (static events first) and code: subject_id (int64), time
        (datetime64[us], NaT for static events), code, numeric_value (float32, NaN where there is none) and text_value.
        No event lies after the end of the subject's follow-up.
    """
    rng = np.random.default_rng([seed, STREAMS["ehr"]])
    events = _Events()
    onset = _draw_diagnoses(events, latents, outcomes, rng)
    statin = _draw_medications(events, onset, outcomes, rng)
    _draw_measurements(events, latents, outcomes, statin, rng)
    for code, rate in _BACKGROUND.items():
        events.add(*_poisson(-outcomes["history"].to_numpy(), outcomes["end"].to_numpy(), rate, rng), code)
    _draw_course(events, latents, outcomes, rng)
    return _finish(events, latents, outcomes)


def _poisson(start: np.ndarray, end: np.ndarray, rate: float, rng: np.random.Generator):
    """Rows and days of a Poisson process per subject on (start, end], in days, with `rate` per year."""
    length = np.clip(end - start, 0, None)
    row = np.repeat(np.arange(len(start)), rng.poisson(length / YEAR * rate))
    return row, start[row] + rng.random(len(row)) * length[row]


def _draw_diagnoses(events: _Events, latents: pd.DataFrame, outcomes: pd.DataFrame, rng: np.random.Generator) -> dict:
    """Add chronic diagnoses, first noted before the index time and again later; return the onset (inf: never)."""
    n = len(latents)
    history, end = outcomes["history"].to_numpy(), outcomes["end"].to_numpy()
    onset = {}
    for code, (intercept, loadings) in _DIAGNOSES.items():
        odds = intercept + sum((weight * latents[name].to_numpy() for name, weight in loadings.items()), np.zeros(n))
        has = rng.random(n) < 1 / (1 + np.exp(-odds))
        first = np.where(has, -rng.random(n) * history, np.inf)
        row = np.flatnonzero(has)
        events.add(row, first[row], code)
        events.add(*_poisson(np.where(has, first, end), end, 0.5, rng), code)
        onset[code] = first
    return onset


def _draw_medications(events: _Events, onset: dict, outcomes: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Add prescriptions, about three a year from their start on; return the day the statin started (inf: never)."""
    n = len(outcomes)
    history, end = outcomes["history"].to_numpy(), outcomes["end"].to_numpy()
    statin = np.full(n, np.inf)
    for code, (diagnosis, with_it, without) in _MEDICATIONS.items():
        diagnosed = np.isfinite(onset[diagnosis])
        takes = rng.random(n) < np.where(diagnosed, with_it, without)
        anywhere = -rng.random(n) * history
        start = np.where(diagnosed, np.minimum(onset[diagnosis] + rng.exponential(60, n), 0), anywhere)
        row = np.flatnonzero(takes)
        events.add(row, start[row], code)
        events.add(*_poisson(np.where(takes, start, end), end, 3, rng), code)
        if code == "ATC//C10AA05":
            statin = np.where(takes, start, np.inf)
    return statin


def _draw_measurements(
    events: _Events, latents: pd.DataFrame, outcomes: pd.DataFrame, statin: np.ndarray, rng: np.random.Generator
) -> None:
    """Add visits, and at each a random part of the measurements; some values are lost."""
    n = len(latents)
    before = _poisson(-outcomes["history"].to_numpy(), np.zeros(n), VISITS_BEFORE, rng)
    after = _poisson(np.zeros(n), outcomes["end"].to_numpy(), VISITS_AFTER, rng)
    # Everybody is seen in the two hours before the index time: that visit is why there is an index time.
    row = np.concatenate([before[0], after[0], np.arange(n)])
    days = np.concatenate([before[1], after[1], -rng.random(n) * 2 / 24])
    events.add(row, days, "VISIT//OUTPATIENT")
    centre = latents["centre"].to_numpy()
    for measure in _MEASURES:
        person = rng.normal(0, measure.person, n) + sum(
            (weight * latents[name].to_numpy() for name, weight in measure.loadings.items()), np.zeros(n)
        )
        person += (rng.normal(0, 1, centre.max() + 1) * measure.centre)[centre]
        slope = sum((w * (latents[name].to_numpy() if name else 1.0) for name, w in measure.slope.items()), np.zeros(n))
        never = rng.random(n) < measure.never
        taken = (rng.random(len(row)) < measure.share) & ~never[row]
        r, d = row[taken], days[taken]
        value = measure.mean + person[r] + slope[r] * d / YEAR + rng.normal(0, measure.visit, len(r))
        if measure.code == "LAB//LDL":
            value += STATIN_EFFECT * (d > statin[r] + 30)
        value = np.exp(value) if measure.log else np.maximum(value, 0.2)
        lost = rng.random(len(r)) < VALUE_LOST
        text = np.where(lost, "sample unsuitable" if measure.code.startswith("LAB") else "not measurable", None)
        events.add(r, d, measure.code, np.where(lost, np.nan, value.round(measure.decimals)), text)


def _draw_course(events: _Events, latents: pd.DataFrame, outcomes: pd.DataFrame, rng: np.random.Generator) -> None:
    """Add birth, sex, myocardial infarctions and what follows them, and death."""
    n = len(latents)
    everybody, end = np.arange(n), outcomes["end"].to_numpy()
    events.add(everybody, -latents["age"].to_numpy() * YEAR, "MEDS_BIRTH")
    events.add(everybody, np.nan, np.where(latents["female"] == 1, "GENDER//F", "GENDER//M"))
    died = np.flatnonzero(outcomes["death"] <= end)
    events.add(died, outcomes["death"].to_numpy()[died], "MEDS_DEATH")
    target, prior = outcomes["target"].to_numpy(), outcomes["prior"].to_numpy()
    for time in (np.where(target <= end, target, np.nan), prior):
        row = np.flatnonzero(~np.isnan(time))
        events.add(row, time[row], "ICD10//I21")
        events.add(row, time[row], "VISIT//INPATIENT")
        start = np.where(np.isnan(time), end, time + 30)
        events.add(*_poisson(start, end, 0.7, rng), "ICD10//I25.2")
        events.add(*_poisson(np.where(rng.random(n) < 0.3, start, end), end, 0.7, rng), "ICD10//I50")
        events.add(*_poisson(start, end, 3, rng), "ATC//B01AC06")


def _finish(events: _Events, latents: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Turn days into times on whole seconds, drop what lies after the end of follow-up, and sort."""
    row, days, code, value, text = events.columns()
    static = np.isnan(days)
    keep = static | (days <= outcomes["end"].to_numpy()[row])
    row, days, code, value, text, static = (column[keep] for column in (row, days, code, value, text, static))
    seconds = np.floor(np.where(static, 0, days) * 86400).astype("timedelta64[s]")
    time = (outcomes["index_time"].to_numpy().astype("datetime64[s]")[row] + seconds).astype("datetime64[us]")
    time[static] = np.datetime64("NaT")
    # NaT is the smallest 64-bit integer: static events come first, as MEDS wants them.
    order = np.lexsort((value, pd.factorize(code, sort=True)[0], time.astype(np.int64), row))
    return (
        pd.DataFrame(
            {
                "subject_id": latents["subject_id"].to_numpy()[row],
                "time": time,
                "code": code,
                "numeric_value": value.astype(np.float32),
                "text_value": text,
            }
        )
        .iloc[order]
        .reset_index(drop=True)
    )
