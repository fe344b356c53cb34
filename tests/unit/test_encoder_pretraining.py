"""Pretraining: no outcome is read, and the training against any endpoint starts from its weights."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from test_encoders import ECG, run, write_cohort

from riskweave.errors import DataError
from riskweave.modalities.base import read_features
from riskweave.modalities.stored import write_index
from riskweave.study.training import Pretraining
from riskweave.survival.encoding.network import load_encoder
from riskweave.survival.encoding.pretraining import PretrainingFiles, pretrain_encoder, read_pretrained

SUBJECTS = 80


def with_pretraining(method, **changes):
    pretraining = Pretraining(method=method, epochs=2, batch_size=16, learning_rate=1e-2)
    encoder = ECG.encoder.model_copy(update={"pretraining": pretraining, "cross_fit": 0})
    return ECG.model_copy(update={"encoder": encoder, **changes})


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    write_cohort(
        tmp_path,
        signals=rng.normal(size=(SUBJECTS + 20, 2, 100)).astype(np.float32),
        time=rng.uniform(1, 900, SUBJECTS + 20),
        event=rng.integers(0, 2, SUBJECTS + 20),
        subjects=SUBJECTS,
    )
    return tmp_path


def pretrain(folder, features, out):
    out = folder / out
    pretrain_encoder(
        feature_set="made_up_set",
        features=features,
        files=PretrainingFiles(
            inputs=folder / "inputs.npy",
            index=folder / "index.parquet",
            folds=folder / "folds.parquet",
            weights=out / "pretrained.zip",
            record=out / "run.json",
            curves=out / "curves.csv",
        ),
        seed=7,
        threads=1,
        context={"study": "test", "rule": "pretrain_encoder", "wildcards": {}},
    )
    return out


@pytest.mark.parametrize("method", ["masked", "contrastive"])
def test_training_starts_from_the_pretrained_network_of_its_fold(folder, method):
    features = with_pretraining(method)
    (folder / "outcomes.parquet").rename(folder / "hidden.parquet")
    out = pretrain(folder, features, "first")
    again = pretrain(folder, features, "second")
    assert (out / "pretrained.zip").read_bytes() == (again / "pretrained.zip").read_bytes()
    record = json.loads((out / "run.json").read_text())
    assert record["kind"] == "pretraining"
    assert record["endpoint"] == ""
    metrics = record["folds"][0]["metrics"]
    assert metrics["validation_loss"] <= metrics["validation_loss_untrained"]
    assert not list(out.glob(".*"))
    states = read_pretrained(out / "pretrained.zip")
    assert sorted(states) == [0, 1]
    assert not torch.equal(states[0]["stem.0.weight"], states[1]["stem.0.weight"])
    (folder / "hidden.parquet").rename(folder / "outcomes.parquet")
    # With a learning rate of next to nothing the trained network is the pretrained one.
    still = features.encoder.training.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    encoder = features.encoder.model_copy(update={"training": still})
    trained = run(
        folder, features.model_copy(update={"encoder": encoder}), out="trained", pretrained=out / "pretrained.zip"
    )
    for fold in (0, 1):
        net = load_encoder(trained / "encoder.zip", fold=fold).members[0].net
        torch.testing.assert_close(net.stem[0].weight, states[fold]["stem.0.weight"])


def test_several_recordings_of_a_subject_are_pooled_and_each_counts_in_pretraining(folder):
    index = pd.read_parquet(folder / "index.parquet")
    twice = pd.concat([index, index.iloc[::2].assign(row=index["row"].iloc[1::2].to_numpy())]).sort_values("subject_id")
    write_index(
        twice.reset_index(drop=True), folder / "index.parquet", inputs=folder / "inputs.npy", modality="ecg", most=2
    )
    features = with_pretraining("masked", most=2, pooling="attention")
    out = pretrain(folder, features, "first")
    trained = run(folder, features, out="trained", pretrained=out / "pretrained.zip")
    frame, _ = read_features(trained / "embeddings.parquet")
    assert len(frame) == 2 * (SUBJECTS + 20)
    net = load_encoder(trained / "encoder.zip", fold=0)
    x, owner = torch.randn(3, 2, 100), torch.tensor([0, 0, 1])
    assert net(x, owner).shape == (2, net.features)
    assert "GatedAttention" in json.loads((trained / "run.json").read_text())["architecture"]


def test_a_fold_without_the_modality_is_refused(folder):
    folds = pd.read_parquet(folder / "folds.parquet")
    folds["role"] = folds["role"].replace("validation", "train")
    folds.to_parquet(folder / "folds.parquet")
    with pytest.raises(DataError, match="0 validation subjects have the modality"):
        pretrain(folder, with_pretraining("masked"), "out")
