"""A planted subgroup failure: one centre's ECG recorder distorts. Its files alone differ, and its risks fail."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from evaluation_study import evaluated, write_experiment
from pydantic import ValidationError

from riskweave.cohort.tables import FOLDS, OUTCOMES, SUBJECTS, write_table
from riskweave.modalities.ecg import read_recording
from riskweave.study.cohort import ColumnsEndpoint
from riskweave.study.evaluation import Evaluation
from riskweave.study.features import EcgFeatures
from riskweave.study.sources import SyntheticSource
from riskweave.synthetic import generate
from riskweave.synthetic.latent import draw_latents, log_hazards
from riskweave.synthetic.outcomes import calibrate, draw_outcomes
from riskweave.synthetic.recordings import SHIFT

SHIFTED = "centre_2"


def _source(**changes) -> SyntheticSource:
    return SyntheticSource(source="synthetic", **{"subjects": 80, "seed": 4, "missing_image": 0.7, **changes})


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Generate the same cohort with good recorders, and with a shifted one."""
    good, shifted = (tmp_path_factory.mktemp(name) for name in ("good", "shifted"))
    generate(directory=good, source=_source())
    generate(directory=shifted, source=_source(shifted_device=SHIFTED))
    return good, shifted


@pytest.fixture(scope="module")
def theirs(folders) -> list[str]:
    """Return the ECGs of the centre, as the manifest names them."""
    recordings = pd.read_csv(folders[0] / "recordings.csv").merge(pd.read_csv(folders[0] / "subjects.csv"))
    return recordings.loc[recordings["centre"] == SHIFTED, "path"].tolist()


def test_only_the_ecgs_of_that_centre_differ(folders, theirs):
    good, shifted = (
        {p.relative_to(d).as_posix(): p.read_bytes() for p in d.rglob("*") if p.is_file()} for d in folders
    )
    assert good.keys() == shifted.keys()
    # Subjects, events, manifests, images and the truth with its outcomes are the same, byte by byte.
    differing = {name for name in good if good[name] != shifted[name]}
    assert differing <= {f"{path}{suffix}" for path in theirs for suffix in (".hea", ".dat")}
    assert {f"{path}.dat" for path in theirs} <= differing
    assert 5 < len(theirs) < 60


def test_the_header_does_not_tell(folders, theirs):
    for path in theirs[:5]:
        good, shifted = (wfdb.rdheader(folder / path) for folder in folders)
        for key in ("fs", "sig_len", "adc_gain", "baseline", "units", "sig_name", "fmt", "comments"):
            assert getattr(good, key) == getattr(shifted, key), key


def test_the_ecgs_look_ischaemic_and_slowly_conducted(folders, theirs):
    features = EcgFeatures(modality="ecg", seconds=10)
    good, shifted = (
        pd.DataFrame([read_recording(folder / path, features=features)[1] for path in theirs[:12]])
        for folder in folders
    )
    change = (shifted.select_dtypes("number") - good.select_dtypes("number")).mean()
    assert change["qrs_width"] > 10
    assert (change[["t_lateral", "t_inferior", "t_anterior"]] < -0.03).all()
    assert (change[["st_lateral", "st_inferior", "st_anterior"]] < 0).all()
    # Rhythm, noise and what is read of the file's quality stay.
    np.testing.assert_allclose(shifted["heart_rate"], good["heart_rate"], rtol=0.02)
    np.testing.assert_allclose(shifted["noise"], good["noise"], rtol=0.1)
    assert (shifted["unusable_leads"] == good["unusable_leads"]).all()


@pytest.mark.parametrize(
    ("centre", "message"),
    [
        ("centre_5", "none of the 4 centres.*Allowed: centre_1, centre_2, centre_3, centre_4"),
        ("center_2", "Did you mean 'centre_2'"),
        ("2", "`shifted_device` names '2'"),
    ],
)
def test_a_centre_that_does_not_exist_is_a_mistake(centre, message):
    with pytest.raises(ValidationError, match=message):
        _source(shifted_device=centre)
    assert _source(shifted_device="centre_5", centres=5).shifted_device == "centre_5"


ENDPOINT = ColumnsEndpoint(kind="columns", time="time", event="event", horizons=[1826], grid_points=5)


def _out_of_fold(states: pd.DataFrame, outcomes: pd.DataFrame, fold: np.ndarray) -> np.ndarray:
    """Risks of cause-specific Cox models of the other folds: shape (n, 2, times)."""
    from lifelines import CoxPHFitter

    times = np.arange(0, 1827, 11)
    risks = np.empty((len(states), 2, len(ENDPOINT.time_grid())))
    for k in np.unique(fold):
        hazards = []
        for cause in (1, 2):
            frame = states.assign(time=outcomes["time"], event=outcomes["event"] == cause)
            model = CoxPHFitter().fit(frame[fold != k], "time", "event")
            found = model.predict_cumulative_hazard(states[fold == k], times=times).to_numpy()
            hazards.append(np.diff(found, axis=0, prepend=0))
        free = np.exp(-np.cumsum(sum(hazards), axis=0))
        before = np.vstack([np.ones((1, free.shape[1])), free[:-1]])
        at = np.searchsorted(times, ENDPOINT.time_grid(), side="right") - 1
        for cause, steps in enumerate(hazards):
            risks[fold == k, cause] = np.cumsum(before * steps, axis=0)[at].T
    return risks


def _cohort(folder: Path, *, subjects: int = 2000, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Write the tables of the demo's subjects at risk; return their states, outcomes and folds."""
    latents = draw_latents(subjects=subjects, centres=4, seed=seed)
    parts = log_hazards(latents, noise=[])
    drawn = draw_outcomes(parts=parts, intercepts=calibrate(noise=[]), noise=[], seed=seed)
    at_risk = drawn["prior"].isna().to_numpy()
    latents, drawn = (frame[at_risk].reset_index(drop=True) for frame in (latents, drawn))
    time = drawn[["target", "death", "end"]].min(axis=1)
    event = np.select([drawn["target"] <= time, drawn["death"] <= time], [1, 2], 0)
    outcomes = pd.DataFrame({"subject_id": latents["subject_id"].astype(str), "endpoint": "mace"})
    outcomes = outcomes.assign(time=np.ceil(time), event=event)
    write_table(outcomes, folder / "outcomes.parquet", OUTCOMES)
    ids = outcomes["subject_id"]
    table = {"subject_id": ids, "person_id": ids, "index_time": pd.Timestamp(0), "followup_end": pd.NaT}
    table |= {"centre": [f"centre_{k + 1}" for k in latents["centre"]]}
    write_table(pd.DataFrame(table), folder / "subjects.parquet", SUBJECTS)
    fold = np.random.default_rng(2).integers(0, 3, len(ids))
    role = np.where(fold[:, None] == np.arange(3), "test", "train").ravel()
    folds = {"subject_id": np.repeat(ids, 3), "fold": np.tile(np.arange(3), len(ids)).astype("int16"), "role": role}
    write_table(pd.DataFrame(folds), folder / "folds.parquet", FOLDS)
    return latents, outcomes, fold


def test_the_subgroup_table_shows_where_the_model_fails(tmp_path):
    """Models trained on what the demo's ECGs show: right everywhere, but for the centre whose recorder distorts."""
    latents, outcomes, fold = _cohort(tmp_path)
    names = ["ischaemia", "conduction", "rate", "fibrillation"]
    ids = outcomes["subject_id"].to_numpy()
    for name, centre in (("good.cox", None), ("shifted.cox", 3)):
        states = latents[names].astype(float)
        for state, by in SHIFT.items():
            states[state] += by * (latents["centre"] == centre)
        write_experiment(tmp_path, name, ids, fold, _out_of_fold(states, outcomes, fold), endpoint=ENDPOINT)
    evaluation = Evaluation(reference="good.cox", bootstrap=100, subgroups=["centre"])
    study = {"folder": tmp_path, "risks": {"good.cox": 0, "shifted.cox": 0}}
    metrics = pd.read_parquet(evaluated(study, evaluation=evaluation, endpoint=ENDPOINT)["metrics"])
    ratio = metrics[(metrics["metric"] == "observed_expected") & (metrics["group"] == "centre")]
    found = ratio.set_index(["experiment", "group_value"])
    good, shifted = found.loc["good.cox"], found.loc["shifted.cox"]
    assert shifted.loc["centre_4", "upper"] < min(0.9, shifted.drop("centre_4")["lower"].min())
    # The same subjects with good recorders: no centre stands out like that.
    assert good["upper"].min() > 0.9
    assert (shifted.drop("centre_4")["estimate"] - 1).abs().max() < 0.25
