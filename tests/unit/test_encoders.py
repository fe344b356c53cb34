"""Encoders: planted signals are found, test outcomes are never seen, weights come from local files only."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from lifelines.utils import concordance_index

from riskweave.cohort.tables import FOLDS, OUTCOMES, write_table
from riskweave.errors import DataError, StudyError
from riskweave.modalities.base import read_features
from riskweave.modalities.stored import write_index
from riskweave.study.features import CnnEncoder, EcgFeatures, ImageFeatures, TcnEncoder, Training
from riskweave.survival.encoding.network import load_encoder, read_encoder, read_weights
from riskweave.survival.encoding.train import EncoderFiles, train_encoder
from riskweave.survival.fits import digest_of, read_fits
from riskweave.survival.training.fit import outputs

SUBJECTS = 400
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
        training=Training(epochs=8, patience=8, batch_size=32, learning_rate=1e-2),
    ),
)
IMAGE = ImageFeatures(
    modality="image",
    size=32,
    encoder=CnnEncoder(
        architecture="squeezenet1_1",
        embedding=3,
        intervals=5,
        cross_fit=0,
        training=Training(epochs=1, patience=1, batch_size=64, learning_rate=1e-3),
    ),
)


def write_cohort(folder, *, signals, time, event, subjects=SUBJECTS, folds=2):
    """Write what an encoder reads; the last 20 subjects with a signal are not at risk, some at risk have no signal."""
    names = np.array([f"s{i:04d}" for i in range(len(signals))])
    order = np.random.default_rng(5).permutation(len(signals))
    np.save(folder / "inputs.npy", signals[order])
    index = pd.DataFrame({"subject_id": names[order], "row": np.arange(len(order))})
    write_index(index, folder / "index.parquet", inputs=folder / "inputs.npy", modality="made_up", most=1)
    at_risk = [*names[:subjects], "without_signal"]
    outcomes = pd.DataFrame({
        "subject_id": at_risk,
        "endpoint": "made_up",
        "time": np.append(time[:subjects], 10.0),
        "event": np.append(event[:subjects], 1).astype(np.int8),
    })  # fmt: skip
    write_table(outcomes, folder / "outcomes.parquet", OUTCOMES)
    # Two subjects in a row are one person.
    persons = [f"p{i // 2}" for i in range(len(names) + 1)]
    pd.DataFrame({"subject_id": [*names, "without_signal"], "person_id": persons}).to_parquet(
        folder / "subjects.parquet"
    )
    rows = [
        (name, fold, "test" if i % folds == fold else "validation" if i % 5 == 0 else "train")
        for i, name in enumerate(at_risk)
        for fold in range(folds)
    ]
    table = pd.DataFrame(rows, columns=["subject_id", "fold", "role"]).astype({"fold": np.int16})
    write_table(table, folder / "folds.parquet", FOLDS)


def run(folder, features, *, out="out", pretrained=None, seed=7):
    """Train, in a folder of its own so that runs can be compared."""
    out = folder / out
    train_encoder(
        feature_set="made_up_set",
        features=features,
        endpoint="made_up",
        files=EncoderFiles(
            inputs=folder / "inputs.npy",
            **{name: folder / f"{name}.parquet" for name in ("index", "outcomes", "folds", "subjects")},
            pretrained=pretrained,
            embeddings=out / "embeddings.parquet",
            weights=out / "encoder.zip",
            record=out / "run.json",
            curves=out / "curves.csv",
        ),
        seed=seed,
        threads=1,
        context={"study": "test", "rule": "train_encoder", "wildcards": {}},
    )
    return out


@pytest.fixture(scope="module")
def cohort():
    """Recordings whose rate of beats drives the hazard."""
    rng = np.random.default_rng(0)
    n = SUBJECTS + 20
    rate = rng.uniform(3, 12, n)
    phase = rng.uniform(0, 1, n)
    axis = np.arange(200) / 200
    beats = np.exp(-((((rate[:, None] * axis + phase[:, None]) % 1) - 0.5) ** 2) * 100)
    signals = (beats[:, None] * np.array([1.0, -0.5])[:, None] + rng.normal(0, 0.1, (n, 2, 200))).astype(np.float32)
    time = rng.exponential(1000 * np.exp(-0.7 * (rate - 7.5))) + 0.5
    event = np.where(time < 2000, np.where(rng.uniform(size=n) < 0.15, 2, 1), 0)
    return {"signals": signals, "time": np.minimum(time, 2000), "event": event}


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_cohort(folder, **cohort)
    return folder, run(folder, ECG)


def test_finds_a_planted_signal_in_held_out_rows(trained):
    folder, out = trained
    frame, columns = read_features(out / "embeddings.parquet")
    assert [column.name for column in columns] == ["risk_1", "risk_2", "emb_0", "emb_1", "emb_2"]
    assert {column.modality for column in columns} == {"ecg"}
    # Everybody with a signal is embedded in each fold, at risk or not; who has none has no row.
    assert len(frame) == 2 * (SUBJECTS + 20)
    assert "without_signal" not in set(frame["subject_id"])
    record = json.loads((out / "run.json").read_text())
    assert record["metrics"]["test_harrell_c"] > 0.65
    assert "receptive field" in record["architecture"]
    assert record["folds"][0]["counts"]["embedded_subjects"] == SUBJECTS + 20
    outcomes = pd.read_parquet(folder / "outcomes.parquet").set_index("subject_id")
    folds = pd.read_parquet(folder / "folds.parquet")
    at_risk = folds[folds["subject_id"].isin(set(frame["subject_id"]) & set(outcomes.index))]
    for fold in (0, 1):
        fitted = at_risk.loc[(at_risk["fold"] == fold) & (at_risk["role"] == "train"), "subject_id"]
        assert read_fits(out / "embeddings.parquet")[fold] == digest_of(fitted)
        net, content = load_encoder(out / "encoder.zip", fold=fold), read_encoder(out / "encoder.zip")
        assert len(net.members) == 2
        assert content["folds"][fold]["fitted_on"] == digest_of(fitted)
        rows = folds[(folds["fold"] == fold) & (folds["role"] == "test")]["subject_id"]
        rows = rows[rows != "without_signal"]
        values = frame[frame["fold"] == fold].set_index("subject_id").loc[rows].to_numpy()[:, 1:].astype(float)
        time = outcomes.loc[rows, "time"]
        assert concordance_index(time, -values[:, 0], outcomes.loc[rows, "event"] == 1) > 0.65
        index = pd.read_parquet(folder / "index.parquet").set_index("subject_id")["row"]
        again = outputs(net, np.load(folder / "inputs.npy"), threads=1)[index.loc[rows]]
        np.testing.assert_allclose(again, values, atol=1e-5)


def test_same_seed_same_bytes(trained):
    folder, out = trained
    again = run(folder, ECG, out="again")
    for name in ("embeddings.parquet", "encoder.zip", "curves.csv"):
        assert (again / name).read_bytes() == (out / name).read_bytes(), name
    other, _ = read_features(run(folder, ECG, out="other", seed=8) / "embeddings.parquet")
    assert not other.equals(read_features(out / "embeddings.parquet")[0])


def test_outcomes_of_test_rows_change_nothing(trained, cohort, tmp_path):
    _, out = trained
    shuffled = {key: value.copy() for key, value in cohort.items()}
    test = np.arange(0, SUBJECTS, 2)  # test rows of fold 0
    order = np.random.default_rng(1).permutation(test)
    shuffled["time"][test], shuffled["event"][test] = cohort["time"][order], cohort["event"][order]
    write_cohort(tmp_path, **shuffled)
    before, _ = read_features(out / "embeddings.parquet")
    after, _ = read_features(run(tmp_path, ECG) / "embeddings.parquet")
    pd.testing.assert_frame_equal(before[before["fold"] == 0], after[after["fold"] == 0])
    assert not before[before["fold"] == 1].equals(after[after["fold"] == 1])


def test_images_train_and_start_from_a_local_file(tmp_path):
    rng = np.random.default_rng(0)
    event = rng.integers(0, 2, 100)
    write_cohort(
        tmp_path,
        signals=rng.uniform(size=(100, 32, 32)).astype(np.float32),
        time=rng.uniform(1, 900, 100),
        event=event,
        subjects=90,
    )
    weights = tmp_path / "weights.pt"
    state = torchvision.models.get_model("squeezenet1_1", weights=None).state_dict()
    torch.save(state, weights)
    local = IMAGE.model_copy(update={"encoder": IMAGE.encoder.model_copy(update={"weights": str(weights)})})
    frame, columns = read_features(run(tmp_path, local) / "embeddings.parquet")
    assert len(frame) == 200
    assert "squeezenet1_1" in columns[0].description
    wrong = local.model_copy(update={"encoder": local.encoder.model_copy(update={"architecture": "resnet18"})})
    with pytest.raises(StudyError, match=r"not those of resnet18.*Give the weights of resnet18"):
        run(tmp_path, wrong, out="wrong")
    assert not list((tmp_path / "wrong").glob("*"))


@pytest.mark.parametrize("content", [b"", b"no tensors", None, "list"])
def test_unreadable_weights_are_refused_with_a_remedy(tmp_path, content):
    path = tmp_path / "weights.pt"
    if content == "list":
        torch.save([1, 2], path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=r"encoder\.weights: .*torch\.save\(network\.state_dict\(\)"):
        read_weights(path)


def test_a_fold_without_target_events_stops_before_training(cohort, tmp_path):
    event = cohort["event"].copy()
    event[1:SUBJECTS:2] = 0  # the training rows of fold 0
    write_cohort(tmp_path, **{**cohort, "event": event})
    with pytest.raises(
        DataError, match=r"fold 0, feature set made_up_set: 160 train subjects .* 0 of them with the target"
    ):
        run(tmp_path, ECG)
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_not_finite_are_counted(cohort, tmp_path):
    signals = cohort["signals"].copy()
    signals[[3, 9], 0, 0] = np.nan
    write_cohort(tmp_path, **{**cohort, "signals": signals})
    with pytest.raises(DataError, match="2 of 420 rows hold values that are not finite"):
        run(tmp_path, ECG)


@pytest.fixture
def folder_of_centres(tmp_path):
    """Write a small cohort, and give a function that adds a fold with these test rows and trains all folds."""
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(100, 2, 40)).astype(np.float32)
    write_cohort(tmp_path, signals=signals, time=rng.uniform(1, 900, 100), event=rng.integers(0, 2, 100), subjects=80)

    def train(tested):
        folds = pd.read_parquet(tmp_path / "folds.parquet")
        folds = folds[~((folds["role"] == "test") & folds["subject_id"].isin(tested))]
        others = pd.unique(folds.loc[~folds["subject_id"].isin(tested), "subject_id"])
        role = np.where(np.arange(len(others)) % 5 == 0, "validation", "train")
        added = pd.DataFrame({"subject_id": [*others, *tested], "fold": 2, "role": [*role, *["test"] * len(tested)]})
        folds = pd.concat([folds, added]).astype({"fold": np.int16})
        write_table(folds, tmp_path / "folds.parquet", FOLDS)
        training = ECG.encoder.training.model_copy(update={"epochs": 1})
        encoder = ECG.encoder.model_copy(update={"training": training, "blocks": 1})
        return run(tmp_path, ECG.model_copy(update={"encoder": encoder}))

    return train


def test_a_fold_whose_test_rows_lack_the_modality_is_left_out_of_their_mean_alone(folder_of_centres):
    out = folder_of_centres(["without_signal"])
    record = json.loads((out / "run.json").read_text())
    folds = [fold["metrics"] for fold in record["folds"]]
    assert ["test_harrell_c" in metrics for metrics in folds] == [True, True, False]
    assert record["metrics"]["test_harrell_c"] == pytest.approx(
        np.mean([metrics["test_harrell_c"] for metrics in folds[:2]])
    )
    assert record["metrics"]["test_harrell_c_folds"] == 2
    assert record["metrics"]["unseen_z"] == pytest.approx(np.mean([metrics["unseen_z"] for metrics in folds]))
    assert "unseen_z_folds" not in record["metrics"]
    assert set(read_fits(out / "embeddings.parquet")) == {0, 1, 2}


def test_a_fold_without_a_test_row_at_risk_is_not_trained(folder_of_centres):
    out = folder_of_centres([f"s{i:04d}" for i in range(80, 100)])
    assert set(read_encoder(out / "encoder.zip")["folds"]) == {0, 1}
    assert set(read_features(out / "embeddings.parquet")[0]["fold"]) == {0, 1}
    assert set(pd.read_csv(out / "curves.csv")["fold"]) == {0, 1}
