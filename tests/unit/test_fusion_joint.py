"""Joint fusion: a small cohort whose hazard depends on age and on the rate of an ECG, which some lack."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from killing import same_code, start

from riskweave.cohort.tables import FOLDS, OUTCOMES, write_table
from riskweave.errors import DataError
from riskweave.fusion.recordings import JointInputs, open_encoded
from riskweave.modalities.base import Column, write_features
from riskweave.modalities.stored import write_index
from riskweave.networks.fusion import Joint as JointNetwork
from riskweave.study.features import EcgFeatures, TcnEncoder
from riskweave.study.fusions import BUILT_IN, JointFusion
from riskweave.study.models import LogisticHazardModel
from riskweave.study.training import Training
from riskweave.survival.encoding.network import read_encoder, save_encoder
from riskweave.survival.encoding.train import EncoderFiles, train_encoder
from riskweave.survival.experiment import train_experiment
from riskweave.survival.predictions import read_predictions
from riskweave.survival.sets import RecordedFiles
from riskweave.survival.stored_models import load_models

N, LACKING = 400, 80
ECG = EcgFeatures(
    modality="ecg",
    encoder=TcnEncoder(
        channels=8,
        blocks=3,
        kernel_size=5,
        embedding=3,
        dropout=0.1,
        intervals=5,
        cross_fit=2,
        training=Training(epochs=6, patience=6, batch_size=32, learning_rate=1e-2),
    ),
)
MODEL = LogisticHazardModel(kind="logistic_hazard", hidden=[], intervals=6, training=Training(epochs=6, patience=6))
JOINT = JointFusion(kind="joint", training=Training(epochs=3, patience=3, batch_size=32, learning_rate=3e-3))
TIMES = [300, 900]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Tables, inputs and an encoder, trained for a few epochs only."""
    folder = tmp_path_factory.mktemp("joint")
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i:04d}" for i in range(N)])
    age, rate = rng.normal(60, 10, N), rng.uniform(3, 12, N)
    axis = np.arange(200) / 200
    beats = np.exp(-((((rate[:, None] * axis + rng.uniform(size=(N, 1))) % 1) - 0.5) ** 2) * 100)
    signals = (beats[:, None] * np.array([[1.0], [-0.5]]) + rng.normal(0, 0.1, (N, 2, 200))).astype(np.float32)
    time = rng.exponential(1000 * np.exp(-0.5 * (rate - 7.5) - 0.05 * (age - 60))) + 0.5
    outcomes = pd.DataFrame(
        {"subject_id": ids, "endpoint": "mi", "time": np.minimum(time, 2000), "event": (time < 2000).astype(np.int8)}
    )
    write_table(outcomes, folder / "outcomes.parquet", OUTCOMES)
    role = np.where(np.arange(N) % 4 == 0, "test", np.where(np.arange(N) % 5 == 0, "validation", "train"))
    other = np.where(role == "test", "train", np.where(role == "validation", "validation", "test"))
    folds = [pd.DataFrame({"subject_id": ids, "fold": np.int16(k), "role": r}) for k, r in enumerate([role, other])]
    folds[1] = folds[1].assign(role=np.where(folds[1]["role"] == "validation", "test", folds[1]["role"]))
    train = np.flatnonzero(folds[1]["role"] == "train")
    folds[1].loc[train[::4], "role"] = "validation"
    write_table(pd.concat(folds), folder / "folds.parquet", FOLDS)
    pd.DataFrame({"subject_id": ids, "person_id": ids}).to_parquet(folder / "subjects.parquet")
    write_features(
        pd.DataFrame({"subject_id": ids, "age": age}), folder / "ehr.parquet", [Column("age", "ehr", "years")]
    )
    has = np.sort(rng.permutation(N)[LACKING:])
    np.save(folder / "inputs.npy", signals[has])
    index = pd.DataFrame({"subject_id": ids[has], "row": np.arange(len(has))})
    write_index(index, folder / "index.parquet", inputs=folder / "inputs.npy", modality="ecg", most=1)
    table = pd.DataFrame({"subject_id": ids[has], "amplitude": rng.normal(size=len(has))})
    write_features(table, folder / "ecg.parquet", [Column("amplitude", "ecg", "mV")])
    train_encoder(
        feature_set="ecg",
        features=ECG,
        endpoint="mi",
        files=EncoderFiles(
            **{name: folder / f"{name}.parquet" for name in ("index", "outcomes", "folds", "subjects", "embeddings")},
            inputs=folder / "inputs.npy",
            pretrained=None,
            weights=folder / "encoder.zip",
            record=folder / "encoder.json",
            curves=folder / "encoder.csv",
        ),
        seed=3,
        threads=1,
        context={"study": "test", "rule": "train_encoder", "wildcards": {}},
    )
    return folder


def train(study, fusion, name, *, output=None, **changes):
    folder = study / (output or name)
    experiment = {"name": name, "endpoint": "mi", "feature_sets": ("ehr", "ecg"), "fusion": fusion.kind, "model": "lh"}
    arguments = {
        "experiment": experiment,
        "model": MODEL,
        "fusion": fusion,
        "tables": {name: study / f"{name}.parquet" for name in ("ehr", "ecg")},
        "embeddings": {"ecg": study / "embeddings.parquet"},
        "outcomes": study / "outcomes.parquet",
        "folds": study / "folds.parquet",
        "times": TIMES,
        "seed": 1,
        "threads": 1,
        "predictions": folder / "predictions.parquet",
        "models": folder / "models.zip",
        "record": folder / "run.json",
        "curves": folder / "curves.csv",
        "trials": folder / "trials.csv",
        "context": {"study": "test", "rule": "train_experiment", "data": {}},
        "recorded": {"ecg": files(study)},
    }
    train_experiment(**(arguments | changes))
    return folder


def files(study) -> RecordedFiles:
    return RecordedFiles(study / "encoder.zip", study / "inputs.npy", study / "index.parquet")


@pytest.fixture(scope="module")
def joint(study):
    return train(study, JOINT, "joint")


def loss(folder, metric) -> pd.Series:
    curves = pd.read_csv(folder / "curves.csv")
    return curves[curves["metric"] == metric].set_index(["fold", "epoch"])["value"]


def test_training_end_to_end_starts_where_attention_fusion_ends(study, joint):
    attention = train(study, BUILT_IN["attention"], "attention")
    reached = loss(attention, "val_loss").groupby("fold").min()
    start = loss(joint, "joint:val_loss").xs(0, level="epoch")
    # Not the same digits: the last step of attention fusion estimates the baselines once more.
    null = loss(attention, "val_loss").xs(0, level="epoch")
    assert (start < reached + 0.001).all()
    assert (null > reached + 0.01).all()


def test_it_improves_on_encoders_that_had_not_learnt_all(joint):
    found = loss(joint, "joint:val_loss")
    assert (found.groupby("fold").min() < found.xs(0, level="epoch") - 0.005).all()
    record = json.loads((joint / "run.json").read_text())
    assert all(fold["params"]["joint_best_epoch"] > 0 for fold in record["folds"])


def test_everybody_is_predicted(joint):
    found = read_predictions(joint / "predictions.parquet")
    assert len(found) == N
    assert (found["modalities"] == "ehr").sum() == LACKING
    assert (found["modalities"] == "ehr+ecg").sum() == N - LACKING


def test_a_stored_model_holds_no_rows_and_predicts_with_inputs_of_its_own_again(study, joint):
    content = load_models(joint / "models.zip")["folds"][0]
    model = content["model"]
    assert not isinstance(model.encoded[0], JointInputs)
    assert model.preprocessing is None
    assert (joint / "models.zip").stat().st_size < 400_000
    from riskweave.survival.sets import read_set

    sets = [
        read_set("ehr", study / "ehr.parquet", None),
        read_set("ecg", study / "ecg.parquet", study / "embeddings.parquet"),
    ]
    found = read_predictions(joint / "predictions.parquet")
    rows = found[found["fold"] == 0]
    design = content["preprocessing"].design([each.of_fold(0) for each in sets], pd.Index(rows["subject_id"]))
    again = model.connect(open_encoded({"ecg": files(study)}, fold=0)).predict(design, TIMES)
    np.testing.assert_allclose(again[:, 0], rows[[f"risk_{day}" for day in TIMES]], rtol=1e-6)


KILLS = """
from pathlib import Path
from killing import killed
from test_fusion_joint import JOINT, train

killed(lambda: train(Path({study!r}), JOINT, "joint", output="killed"), [("fold_0", 4), ("fold_1_joint", 8)])
"""


def test_a_job_that_was_killed_in_either_training_gives_the_same_predictions(study, joint, caplog, monkeypatch):
    """In the attention fusion of one fold, then in the training end to end of the other."""
    process = start(KILLS.format(study=str(study)))
    told, _ = process.communicate()
    assert process.returncode == 0, told
    state = [path.relative_to(study / "killed") for path in (study / "killed").rglob("training.ckpt")]
    assert [path.parent.name for path in state] == ["fold_1_joint"]
    same_code(monkeypatch)
    with caplog.at_level("INFO"):
        resumed = train(study, JOINT, "joint", output="killed")
    assert "goes on after epoch" in caplog.text
    for name in ("predictions.parquet", "curves.csv"):
        assert (resumed / name).read_bytes() == (joint / name).read_bytes()
    assert {path.name for path in resumed.iterdir()} == {path.name for path in joint.iterdir()}


def test_an_encoder_of_other_rows_is_refused(study, tmp_path):
    content = read_encoder(study / "encoder.zip")
    content["folds"][1]["fitted_on"] = content["folds"][0]["fitted_on"]
    save_encoder(content, tmp_path / "encoder.zip")
    wrong = {"ecg": files(study)._replace(weights=tmp_path / "encoder.zip")}
    with pytest.raises(DataError, match=r"fold 1, feature set ecg, encoder\.zip: the encoder was fitted on"):
        train(study, JOINT, "refused", recorded=wrong)


def test_batches_read_the_recordings_of_those_who_have_them(study):
    encoded = open_encoded({"ecg": files(study)}, fold=0)
    subjects = pd.Index([f"s{i:04d}" for i in range(N)], dtype=object)
    inputs = JointInputs(np.arange(N, dtype=float)[:, None], subjects, encoded)
    rows = np.array([7, 3, 200, 11])
    values, places, recordings = inputs.batch(rows)
    assert values[:, 0].tolist() == rows.tolist()
    has = subjects[rows].isin(encoded[0].subjects)
    assert places.tolist() == np.flatnonzero(has).tolist()
    array = np.load(study / "inputs.npy", mmap_mode="r")
    expected = array[encoded[0].subjects.get_indexer(subjects[rows][has])]
    np.testing.assert_array_equal(recordings, expected)
    nobody = np.flatnonzero(~subjects.isin(encoded[0].subjects))[:2]
    assert [len(tensor) for tensor in inputs.batch(nobody)] == [2, 0, 1]
    assert inputs.widths() == [1]


def test_columns_come_from_the_encoder_where_there_is_a_recording():
    class Double(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x, 2 * x], dim=1)

    class Rows(torch.nn.Identity):
        features = 3

    scale = torch.tensor([[-10.0], [10.0], [1.0], [2.0]])
    net = JointNetwork(Rows(), [Double()], columns=[([1], [2])], scales=[scale], widths=[1]).eval()
    rows = torch.zeros(3, 3)
    found = net(rows, torch.tensor([0, 2]), torch.tensor([3.0, 50.0]))
    assert found[:, 2].tolist() == [2.5, 0.0, 4.5]
    assert (rows == 0).all()
    assert (net(rows, torch.tensor([], dtype=torch.int64), torch.tensor([3.0])) == 0).all()
    # One recording alone cannot be normalised over its batch.
    assert (net.train()(rows, torch.tensor([1]), torch.tensor([3.0])) == 0).all()
