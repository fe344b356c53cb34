"""Recalibration in the deployed graph: planted errors are repaired, module and ONNX file are the evaluation's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from deployed import deployed, number, recipe, static

from riskweave.cohort.tables import OUTCOMES, write_table
from riskweave.deployment.onnx_check import check_onnx
from riskweave.deployment.onnx_file import export_onnx
from riskweave.deployment.parity import ParityError
from riskweave.deployment.recalibrate import learn_from_predictions, recalibrated
from riskweave.deployment.recipe import Cox, Member, Recalibrated, Term
from riskweave.errors import DataError
from riskweave.survival.predictions import prediction_frame, write_predictions
from riskweave.survival.proportional import Baseline, proportional_incidence

TIMES = (100.0, 300.0, 500.0, 1000.0, 1500.0, 1826.0)
SLOPE, SHIFT = 1.5, 0.6
"""The model's log hazard ratios are so many times too far apart, and its hazards exp(0.6) too high."""


def hazards(causes, *, slope=1.0, shift=0.0):
    """Return the model of a cohort with constant hazards: coefficients of two columns, and baselines."""
    coefficients = slope * np.array([[0.8, 0.0], [0.3, 0.7]])[:causes]
    days = np.arange(1.0, 2001.0, 5.0)
    return Cox(coefficients, np.zeros((causes, 2)), [(days, np.exp(shift) * days / 3000.0)] * causes)


def risks_of(model, x):
    baselines = [Baseline(*pair) for pair in model.baselines]
    return proportional_incidence(x @ model.coefficients.T, baselines, TIMES)


def study(folder, causes, *, count, seed=4, competing=None):
    """Write the outcomes of a cohort and what a wrong model predicts for it; return the columns."""
    rng = np.random.default_rng(seed)
    x, ids = rng.normal(size=(count, 2)), np.array([f"s{place:05d}" for place in range(count)])
    latent = rng.exponential(3000.0 / np.exp(x @ hazards(causes).coefficients.T))
    censored = rng.uniform(600, 4000, count)
    time = np.minimum(latent.min(axis=1), censored)
    event = np.where(time == censored, 0, latent.argmin(axis=1) + 1)
    if competing is not None:
        event = np.where((event == 2) & (np.cumsum(event == 2) > competing), 0, event)
    table = pd.DataFrame({"subject_id": ids, "endpoint": "mi", "time": np.ceil(time), "event": event})
    write_table(table, folder / "outcomes.parquet", OUTCOMES)
    shuffled = rng.permutation(count)
    frame = prediction_frame(
        subjects=pd.Index(ids[shuffled]),
        experiment="ehr.cox",
        endpoint="mi",
        fold=0,
        modalities=["ehr"] * count,
        linear_predictor=None,
        risks=risks_of(hazards(causes, slope=SLOPE, shift=SHIFT), x[shuffled]),
        times=[int(day) for day in TIMES],
    )
    write_predictions(frame, folder / "predictions.parquet")
    return x


def as_recipe(models, learnt):
    terms = tuple(Term("number", 0, place, 0.0, 1.0, fill=0.0) for place in range(2))
    causes = len(models[0].coefficients)
    return recipe(
        [number("a"), number("b")],
        static("a", "b"),
        members=[Member(terms, (), 0, (), model) for model in models],
        causes=[f"cause_{k}" for k in range(causes)],
        times=TIMES,
        recalibration=tuple(Recalibrated(each.reference, each.intercept, each.slope) for each in learnt),
    )


def predicted(module, x):
    made = []
    for row in x:
        module.set_patient({"values": {"a": float(row[0]), "b": float(row[1])}})
        made.append(module.predict(contributions=False))
    return made


def test_a_planted_miscalibration_is_repaired(tmp_path):
    study(tmp_path, 1, count=8000)
    (learnt,) = learn_from_predictions(tmp_path / "predictions.parquet", tmp_path / "outcomes.parquet", TIMES)
    assert learnt.slope == pytest.approx(1 / SLOPE, abs=0.04)
    wrong = hazards(1, slope=SLOPE, shift=SHIFT)
    module = deployed(as_recipe([wrong], [learnt]), tmp_path / "c")
    x = np.random.default_rng(7).normal(size=(50, 2))
    found = np.stack([each.risks for each in predicted(module, x)])
    truth = risks_of(hazards(1), x)
    assert np.abs(found - truth).max() < 0.02
    assert np.abs(risks_of(wrong, x) - truth).max() > 0.15


@pytest.fixture(scope="module")
def two_causes(tmp_path_factory):
    """Return what was learnt of a cohort with competing events, and the module of two members that uses it."""
    folder = tmp_path_factory.mktemp("two")
    study(folder, 2, count=3000)
    learnt = learn_from_predictions(folder / "predictions.parquet", folder / "outcomes.parquet", TIMES)
    # Steeper than anything learnt, and higher: curves that would fall, and causes that together are more than certain.
    learnt = [replace(each, slope=each.slope + 1.2, intercept=each.intercept + 0.9) for each in learnt]
    models = [hazards(2, slope=SLOPE, shift=SHIFT), hazards(2, slope=0.5)]
    return learnt, models, deployed(as_recipe(models, learnt), folder / "c")


def by_hand(learnt, risks):
    """Return recalibrated risks (causes, times) of one subject, number by number."""
    made = np.zeros_like(risks)
    for cause, each in enumerate(learnt):
        highest = 0.0
        for place, risk in enumerate(risks[cause]):
            hazard = -np.log1p(-min(max(risk, 1e-7), 1 - 1e-7))
            ratio = hazard / np.exp(each.reference[place])
            highest = max(highest, 1 - np.exp(-np.exp(each.reference[place] + each.intercept) * ratio**each.slope))
            made[cause, place] = highest
    return made / max(made[:, -1].sum(), 1.0)


def test_the_module_is_the_evaluation_and_curves_stay_incidences(two_causes):
    learnt, models, module = two_causes
    rng = np.random.default_rng(9)
    x = np.concatenate([rng.normal(size=(40, 2)), rng.normal(scale=6, size=(40, 2)), [[0, 0], [900, 900], [-900, 900]]])
    each = [risks_of(model, x) for model in models]
    mean = np.mean(each, axis=0)
    wanted = recalibrated(learnt, mean)
    assert (
        recalibrated(learnt[:1], mean[:, :1])[:, 0, -1] + recalibrated(learnt[1:], mean[:, 1:])[:, 0, -1]
    ).max() > 1.1
    for place, result in enumerate(predicted(module, x)):
        np.testing.assert_allclose(result.risks, wanted[place], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(result.risks, by_hand(learnt, mean[place]), rtol=1e-8, atol=1e-12)
        assert (np.diff(result.risks, axis=1) >= 0).all()
        assert np.sum(result.risks, axis=0).max() <= 1 + 1e-15
        members = np.stack([recalibrated(learnt, risks[[place]])[0] for risks in each])
        np.testing.assert_allclose(result.members, members, rtol=1e-12, atol=1e-15)


def test_contributions_are_differences_of_recalibrated_risks(two_causes):
    learnt, models, module = two_causes
    module.set_patient({"values": {"a": 0.7, "b": -0.4}})
    told = dict(module.predict().contributions)
    mean = np.mean([risks_of(model, np.array([[0.7, -0.4], [0.0, -0.4]])) for model in models], axis=0)
    with_a, without = recalibrated(learnt, mean)[:, 0, -1]
    assert told["a"] == pytest.approx(with_a - without, abs=1e-12)


def test_the_onnx_file_is_the_module_or_there_is_no_bundle(two_causes):
    learnt, models, module = two_causes
    values = [{"a": 0.7, "b": -0.4}, {"a": -3.0}, {"b": 40.0}, {}]
    golden = {"patients": [{"patient": {"values": each}, "ecg": None, "image": None} for each in values]}
    graph = export_onnx(as_recipe(models, learnt))
    assert check_onnx(graph, module, golden, allowed=1e-12) < 1e-12
    with pytest.raises(ParityError, match=r"model\.onnx is not the model"):
        check_onnx(export_onnx(as_recipe(models, [])), module, golden, allowed=1e-4)


def test_a_rare_competing_cause_stays_as_it_is_and_a_rare_target_is_refused(tmp_path, caplog):
    study(tmp_path, 2, count=300, competing=6)
    paths = tmp_path / "predictions.parquet", tmp_path / "outcomes.parquet"
    target, other = learn_from_predictions(*paths, TIMES)
    assert target.slope != 1
    assert (other.intercept, other.slope) == (0.0, 1.0)
    assert "fewer than 10" in caplog.text
    risks = np.linspace(0.01, 0.4, len(TIMES))[None, None]
    np.testing.assert_allclose(recalibrated([other], risks), risks, rtol=1e-12)
    table = pd.read_parquet(paths[1])
    rare = table.assign(event=np.where((table["event"] == 1) & (np.cumsum(table["event"] == 1) > 8), 0, table["event"]))
    write_table(rare, paths[1], OUTCOMES)
    with pytest.raises(DataError, match="fewer than 10 subjects have the target event"):
        learn_from_predictions(*paths, TIMES)
    with pytest.raises(DataError, match="other subjects or times"):
        learn_from_predictions(*paths, TIMES[:-1])
