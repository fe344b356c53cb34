"""Saliency by a stored encoder: it explains the stored score, and looks where the signal was planted."""

import shutil

import numpy as np
import pandas as pd
import pytest
from test_encoders import ECG, SUBJECTS, run, write_cohort

from riskweave.errors import DataError
from riskweave.modalities.base import read_features
from riskweave.results import Results
from riskweave.study.study import parse_study
from riskweave.survival.encoding.network import read_encoder

BUMP = slice(80, 110)
SAMPLES = 200


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    """A study of traces in whose second lead the height of one bump drives the hazard."""
    rng = np.random.default_rng(3)
    n = SUBJECTS + 20
    height = rng.normal(size=n)
    signals = rng.normal(0, 0.1, (n, 2, SAMPLES))
    signals[:, 1, BUMP] += height[:, None] * np.hanning(30)
    time = rng.exponential(1000 * np.exp(-height)) + 0.5
    made = tmp_path_factory.mktemp("made")
    write_cohort(
        made, signals=signals.astype(np.float32), time=np.minimum(time, 2000), event=(time < 2000).astype(np.int8)
    )
    trained = run(made, ECG)
    folder = tmp_path_factory.mktemp("results") / "planted"
    for source, target in (
        (made / "outcomes.parquet", "cohort/outcomes/made_up.parquet"),
        (made / "folds.parquet", "cohort/folds.parquet"),
        (made / "inputs.npy", "features/ecg/inputs.npy"),
        (made / "index.parquet", "features/ecg/index.parquet"),
        (trained / "encoder.zip", "features/ecg/made_up/encoder.zip"),
        (trained / "embeddings.parquet", "features/ecg/made_up/embeddings.parquet"),
    ):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / target)
    study = {
        "study": "planted",
        "question": "Where does the network look?",
        "cohort": {"source": "synthetic", "subjects": SUBJECTS},
        "endpoints": {"made_up": {"kind": "codes", "target": ["ICD10//I21"], "horizons": [1000]}},
        "folds": {"count": 2},
        "feature_sets": {"ecg": ECG.model_dump(mode="json")},
        "models": {"cox": {"kind": "cox"}},
        "experiments": {"ecg": {"feature_sets": ["ecg"], "models": ["cox"]}},
        "evaluation": {"reference": "ecg.cox"},
    }
    return Results(folder, parse_study(study).model_dump(mode="json"))


def test_the_score_is_the_stored_one_and_rests_on_the_bump(results):
    stored, _ = read_features(results.folder / "features/ecg/made_up/embeddings.parquet")
    folds = pd.read_parquet(results.folder / "cohort/folds.parquet")
    tested = folds[folds["role"] == "test"].set_index("subject_id")["fold"]
    own = stored[stored["fold"] == stored["subject_id"].map(tested)].set_index("subject_id")["risk_1"].astype(float)
    for subject in (own.idxmax(), own.idxmin()):
        found = results.saliency("made_up", "ecg", subject)
        assert found.score == pytest.approx(own[subject], abs=1e-5)
        explained = found.attribution.sum()
        assert explained == pytest.approx(found.score - found.baseline_score, abs=abs(found.gap) + 1e-4)
        assert abs(found.gap) < 0.02 * abs(explained)
        assert np.sign(explained) == np.sign(own[subject] - own.median())
        strength = np.abs(found.attribution)
        assert strength[1, BUMP].sum() > 5 * strength.sum() * 30 / (2 * SAMPLES)


def test_who_has_no_recording_and_encoders_without_signal_are_answered(results, monkeypatch):
    with pytest.raises(DataError, match="the subject asked for has no recording"):
        results.saliency("made_up", "ecg", "without_signal")
    content = read_encoder(results.folder / "features/ecg/made_up/encoder.zip")
    for fold in content["folds"].values():
        fold["signal"] = False
    monkeypatch.setattr("riskweave.survival.encoding.network.read_encoder", lambda _: content)
    with pytest.raises(DataError, match="found no signal in unseen rows, and is not used"):
        results.saliency("made_up", "ecg", "s0000")
