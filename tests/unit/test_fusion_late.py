from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from killing import same_code, start
from lifelines import AalenJohansenFitter
from planted_design import DAYS, fitted, planted, score
from small_experiment import build, train
from storing import stored_again

from riskweave.fusion.late import Late
from riskweave.study.fusions import BUILT_IN, LateFusion
from riskweave.study.models import CoxModel, LogisticHazardModel, StackedModel
from riskweave.study.training import Training
from riskweave.survival.stacked import StackedEnsemble
from riskweave.survival.training.checkpoint import Checkpoint

LATE, EARLY = LateFusion(kind="late", parts=3), BUILT_IN["early"]
COX = CoxModel(kind="cox", penalty=[0.03])
STATES = {"modalities": {"ehr": 4, "ecg": 5, "image": 5}, "weights": {"ehr": 0.6, "ecg": 0.6, "image": 0.4}}


@pytest.fixture(scope="module")
def whole():
    return planted(**STATES, n=2500)


@pytest.fixture(scope="module")
def reached(whole) -> float:
    """Concordance where nobody lacks anything."""
    return score(LATE, COX, whole)


@pytest.fixture(scope="module")
def half():
    return planted(**STATES, n=2500, lacking={"ecg": 0.5, "image": 0.3})


@pytest.fixture(scope="module")
def late(half) -> Late:
    return fitted(LATE, COX, half)


def test_additive_modalities_are_combined_about_as_well_as_by_one_model(whole, reached):
    assert reached > score(EARLY, COX, whole) - 0.005


def test_a_modality_of_noise_costs_nothing_and_gets_no_weight(whole, reached):
    noisy = planted(modalities={**STATES["modalities"], "noise": 8}, weights=STATES["weights"], n=2500)
    np.testing.assert_array_equal(noisy["test"].time, whole["test"].time)
    model = fitted(LATE, COX, noisy)
    risk = model.predict(noisy["test"].design, DAYS)[:, 0, -1]
    assert noisy["test"].concordance(risk) > reached - 0.005
    assert model.params["weight_noise_cause_1"] < 0.1
    assert min(model.params[f"weight_{name}_cause_1"] for name in STATES["modalities"]) > 0.25


def test_subjects_who_lack_a_modality_cost_no_more_than_the_oracle_loses(whole, reached, late, half):
    np.testing.assert_array_equal(whole["test"].time, half["test"].time)
    test = half["test"]
    risk = late.predict(test.design, DAYS)[:, 0, -1]
    lost = test.concordance(test.truth) - test.concordance(test.known)
    assert test.concordance(risk) > reached - lost - 0.01


def test_predictions_are_calibrated_in_each_pattern(late, half):
    test = half["test"]
    risk = late.predict(test.design, [1000])[:, 0, 0]
    patterns = pd.Series(test.design.patterns())
    assert set(patterns) == {"ehr", "ehr+ecg", "ehr+image", "ehr+ecg+image"}
    for pattern in set(patterns):
        rows = (patterns == pattern).to_numpy()
        fitter = AalenJohansenFitter(calculate_variance=False, seed=0)
        observed = fitter.fit(test.time[rows], test.event[rows], event_of_interest=1).predict(1000)
        assert risk[rows].mean() == pytest.approx(observed, abs=0.06)


def test_everybody_is_predicted(late, half):
    design = half["test"].design
    present = np.array([[i & 1, i & 2, i & 4] for i in range(8)], dtype=bool)
    nobody = replace(design.take(np.arange(8)), values=np.zeros((8, len(design.columns))), present=present)
    risks = late.predict(nobody, [1, *DAYS, 10_000])
    assert risks.shape == (8, 1, 5)
    assert ((risks >= 0) & (risks <= 1) & (np.diff(risks, axis=2, prepend=0) >= 0)).all()
    # Who has nothing gets about the incidence of all.
    train = half["train"]
    observed = AalenJohansenFitter(calculate_variance=False, seed=0).fit(train.time, train.event, event_of_interest=1)
    assert risks[0, 0, 2] == pytest.approx(observed.predict(DAYS[1]), abs=0.03)
    assert late.predict(design.take(np.zeros(0, dtype=int)), DAYS).shape == (0, 1, 3)


def test_the_linear_predictor_orders_subjects_as_their_risks_at_the_end(late, half):
    design = half["test"].design
    end = float(half["train"].time[half["train"].event == 1].max())
    order = np.argsort(late.linear_predictor(design))
    assert (np.diff(late.predict(design, [end])[order, 0, 0]) > -1e-9).all()
    assert abs(late.linear_predictor(half["train"].design).mean()) < 0.1


def test_risks_of_training_rows_are_those_of_models_without_them():
    """With many columns of noise a model's risks of its own rows would look like signal."""
    noise = planted(modalities={"noise": 60, "ehr": 2}, weights={"ehr": 0.5}, n=500)
    overfitting = CoxModel(kind="cox", penalty=[0.001])
    model = fitted(LATE, overfitting, noise)
    own = model.models[0].scores(noise["train"].design)[:, 0]
    assert noise["train"].concordance(own) > 0.65
    assert model.params["weight_noise_cause_1"] < 0.2


def test_competing_causes_have_weights_of_their_own():
    parts = planted(**STATES, n=2000, causes=2)
    model = fitted(LATE, COX, parts, causes=2)
    risks = model.predict(parts["test"].design, DAYS)
    assert risks.shape == (500, 2, 3)
    assert (risks.sum(axis=1) <= 1 + 1e-9).all()
    # The second cause depends on nothing.
    assert model.params["weight_ehr_cause_1"] > 0.3
    assert sum(model.params[f"weight_{name}_cause_2"] for name in STATES["modalities"]) < 0.4
    observed = np.mean((parts["test"].event == 2) & (parts["test"].time <= 500))
    assert risks[:, 1, 0].mean() == pytest.approx(observed, abs=0.03)


def test_one_modality_is_enough_and_one_that_nobody_has_is_left_out():
    parts = planted(modalities={"ehr": 3, "ecg": 3}, weights={"ehr": 0.6}, n=600, lacking={"ecg": 1.0})
    model = fitted(LATE, COX, parts)
    assert [one.name for one in model.models] == ["ehr"]
    risk = model.predict(parts["test"].design, DAYS)[:, 0, -1]
    assert parts["test"].concordance(risk) > 0.6
    blind = {
        **parts,
        "validation": replace(parts["validation"], design=parts["validation"].design.take(np.zeros(0, int))),
    }
    nothing = fitted(LATE, COX, blind)
    assert nothing.models == []
    assert len(np.unique(nothing.predict(parts["test"].design, DAYS), axis=0)) == 1
    assert np.ptp(nothing.linear_predictor(parts["test"].design)) == 0


def test_patterns_with_few_events_are_combined_as_a_part_of_them():
    parts = planted(
        modalities={"ehr": 3, "ecg": 3}, weights={"ehr": 0.6, "ecg": 0.3}, n=600, lacking={"ecg": 0.97}, seed=2
    )
    model = fitted(LATE, COX, parts)
    assert np.isfinite(model.predict(parts["test"].design, DAYS)).all()


def test_same_seed_same_bits(half, late):
    again = fitted(LATE, COX, half).predict(half["test"].design, DAYS)
    np.testing.assert_array_equal(again, late.predict(half["test"].design, DAYS))


def test_a_stored_model_is_small_and_predicts_the_same(late, half, tmp_path):
    again = stored_again(late, tmp_path)
    np.testing.assert_array_equal(again.predict(half["test"].design, DAYS), late.predict(half["test"].design, DAYS))
    # Baselines of 8 patterns and 3 models, not 1500 rows of 14 columns.
    assert (tmp_path / "part.zip").stat().st_size < 130_000


def test_an_ensemble_of_a_modality_knows_whose_rows_it_divides(monkeypatch):
    """Every row of the cohort twice, as two index times of a person: the copies are never in two parts."""
    once = planted(modalities={"ehr": 3, "ecg": 2}, weights={"ehr": 0.6}, n=200, lacking={"ecg": 0.3})
    train = once["train"]
    twice = np.tile(np.arange(len(train.design)), 2)
    people = np.array([f"p{row}" for row in twice])
    design = replace(train.design.take(twice), people=people)
    parts = {**once, "train": replace(train, design=design, time=train.time[twice], event=train.event[twice])}
    given = []

    class Watched(StackedEnsemble):
        def fit(self, x, *rest):
            rows = {tuple(row): person for row, person in zip(x.tolist(), self.people, strict=True)}
            given.append((len(x), len(rows), len(set(self.people))))
            assert [rows[tuple(row)] for row in x.tolist()] == list(self.people)
            return super().fit(x, *rest)

    monkeypatch.setattr("riskweave.survival.stacked.StackedEnsemble", Watched)
    members = {"weak": COX, "strong": CoxModel(kind="cox", penalty=[1.0])}
    stacked = StackedModel(kind="stacked", members=list(members), parts=2)
    model = fitted(LATE, stacked, parts, members=members)
    # Of each modality, a fit without each of three parts and one of all.
    assert len(given) == 8
    assert all(rows == 2 * different == 2 * persons for rows, different, persons in given)
    assert all(one.estimator.people is None for one in model.models)


NETWORK = LogisticHazardModel(
    kind="logistic_hazard",
    hidden=[],
    intervals=5,
    training=Training(epochs=3, patience=3, batch_size=16, learning_rate=1e-2),
)
TWO = LateFusion(kind="late", parts=2)
KILLS = """
from pathlib import Path
from killing import killed
from test_fusion_late import NETWORK, TWO, train

killed(lambda: train(Path({study!r}), "killed", NETWORK, fusion=TWO), [("ecg_1", 5)])
"""


def test_a_killed_fit_of_a_part_goes_on_where_it_was(tmp_path, monkeypatch):
    """The fits before it are made again, and leave its state alone: each has a folder of its own."""
    study = build(tmp_path)
    process = start(KILLS.format(study=str(study)))
    same_code(monkeypatch)
    whole = train(study, "whole", NETWORK, fusion=TWO)
    told, _ = process.communicate()
    assert process.returncode == 0, told
    begun, found = [], Checkpoint.found

    def watched(self):
        begun.append((self.path.parent.name, found(self) is not None))
        return found(self)

    monkeypatch.setattr(Checkpoint, "found", watched)
    resumed = train(study, "killed", NETWORK, fusion=TWO)
    fits = ["ehr_0", "ehr_1", "ehr", "ecg_0", "ecg_1", "ecg"]
    assert [name for name, _ in begun] == 2 * fits
    assert [place for place, (_, again) in enumerate(begun) if again] == [fits.index("ecg_1")]
    for name in ("predictions.parquet", "curves.csv"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    assert {path.name for path in resumed.iterdir()} == {path.name for path in whole.iterdir()}
