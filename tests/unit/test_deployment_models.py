"""Every kind of model that can be deployed: what training stores, as a module and as ONNX, against the estimators."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from deployed import deployed, number, recipe, static
from small_experiment import TIMES as STUDY_TIMES
from small_experiment import build, train

from riskweave.cohort.tables import OUTCOMES, read_table
from riskweave.deployment.generate import build_module
from riskweave.deployment.onnx_file import export_onnx
from riskweave.deployment.order import Order
from riskweave.deployment.read import read_recipe
from riskweave.deployment.read_model import read_model
from riskweave.deployment.recalibrate import learn_from_predictions
from riskweave.deployment.recipe import Member, Recalibrated, Term
from riskweave.deployment.reference import reference_risks
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.schema import schema_of
from riskweave.errors import DataError
from riskweave.study.models import (
    CoxModel,
    DeepSurvModel,
    GradientBoostingModel,
    LogisticHazardModel,
    WeibullAftModel,
)
from riskweave.survival.null import NullModel
from riskweave.survival.sets import read_set
from riskweave.survival.weibull import CauseSpecificWeibull

TIMES = (0.0, 30.0, 90.0, 365.0, 1826.0)
COLUMNS = 4


def cohort(causes, *, seed=0, count=400):
    """Return columns, one of which has few values, with days and event codes that depend on them."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=(count, COLUMNS - 1)), rng.integers(0, 3, count)])
    rates = np.exp(np.column_stack([x[:, 0] + (x[:, 1] > 0), x[:, 2]])[:, :causes]) / 1000
    times, censoring = rng.exponential(1 / rates), rng.uniform(200, 2500, count)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.ceil(np.minimum(times.min(axis=1), censoring) / 20) * 20, event


def fit(estimator, causes, *, never=False):
    x, time, event = cohort(causes)
    event = np.where(never & (event == causes), 0, event)
    return estimator.fit(x[:300], time[:300], event[:300], x[300:], time[300:], event[300:])


def boosting(causes, **changes):
    pytest.importorskip("sksurv")
    from riskweave.survival.gradient_boosting import CauseSpecificBoosting

    settings = {"trees": 60, "learning_rate": 0.1, "max_depth": 3, "min_samples_leaf": 10, "subsample": 0.5, "seed": 3}
    return CauseSpecificBoosting(**(settings | changes), causes=causes)


def weibull(causes):
    return CauseSpecificWeibull(penalties=[0.01], causes=causes)


def member(model):
    """Return a member whose design is the columns as they are."""
    terms = tuple(Term("number", 0, place, 0.0, 1.0, fill=0.0) for place in range(COLUMNS))
    return Member(terms, (), 0, (), model)


def as_recipe(models, causes):
    names = [f"x{place}" for place in range(COLUMNS)]
    return recipe(
        [number(name) for name in names],
        static(*names),
        members=[member(model) for model in models],
        causes=[f"cause_{k}" for k in range(causes)],
        times=TIMES,
    )


def strange(model):
    """Return designs of new people, some far outside, some exactly at thresholds and on both sides of them."""
    rng = np.random.default_rng(8)
    rows = [rng.normal(size=(20, COLUMNS)), rng.normal(scale=1e3, size=(5, COLUMNS)), np.zeros((1, COLUMNS))]
    for tree in (tree for cause in model._fitted if cause is not None for tree in getattr(cause, "trees", ())[:4]):
        for column, threshold in zip(tree.feature, tree.threshold, strict=True):
            if column >= 0:
                single = np.float32(threshold)
                near = [threshold, single, np.nextafter(single, np.float32(9)), np.nextafter(single, np.float32(-9))]
                near += [np.nextafter(threshold, 9.0), threshold + 2e-8 * abs(threshold)]
                at = rng.normal(size=(len(near), COLUMNS))
                at[:, column] = near
                rows.append(at)
    return np.concatenate(rows)


@pytest.mark.parametrize("causes", [1, 2])
def test_trees_and_weibull_models_are_the_estimators(causes, tmp_path):
    """Members of one recipe, one of whose causes never happens in some: each against its own estimator."""
    fitted = [fit(boosting(causes), causes), fit(weibull(causes), causes)]
    if causes > 1:
        fitted += [fit(boosting(causes), causes, never=True), fit(weibull(causes), causes, never=True)]
    assert all(len(cause.trees) > 5 for cause in fitted[0]._fitted)
    models = [read_model(each, columns=COLUMNS, times=TIMES) for each in fitted]
    made = as_recipe(models, causes)
    module = deployed(made, tmp_path)
    session = onnxruntime.InferenceSession(export_onnx(made))
    rows = strange(fitted[0])
    assert len(rows) > 100
    expected = [each.predict(rows, list(TIMES)) for each in fitted]
    assert min(np.ptp(each[:26, 0, 2]) for each in expected) > 0.1
    for place, row in enumerate(rows):
        module.set_patient({"values": {f"x{column}": float(value) for column, value in enumerate(row)}})
        result = module.predict(contributions=False)
        for wanted, found in zip(expected, result.members, strict=True):
            np.testing.assert_allclose(found, wanted[place], rtol=1e-12, atol=1e-15)
        (graph,) = session.run(["risks"], {"columns": row})
        np.testing.assert_allclose(graph, result.risks, rtol=1e-12, atol=1e-15)


def test_thresholds_in_single_precision_divide_the_same_numbers():
    estimator = fit(boosting(1, trees=200, learning_rate=0.02), 1)
    trees = read_model(estimator, columns=COLUMNS, times=TIMES).trees[0]
    exact = np.concatenate([tree.threshold[tree.feature >= 0] for tree in estimator._fitted[0].trees])
    assert trees.thresholds.dtype == np.float32
    # Some lie between two numbers of single precision: rounding to the nearest would put one on the wrong side.
    assert (trees.thresholds != exact).any()
    assert (trees.thresholds <= exact).all()
    assert (np.nextafter(trees.thresholds, np.float32(np.inf)) > exact).all()


def test_trees_that_never_split_and_no_trees_at_all(tmp_path):
    alone = fit(boosting(1, trees=3, min_samples_leaf=300), 1)
    # Every further tree makes the validation rows' likelihood worse: all are dropped.
    x, time, event = cohort(1)
    none = boosting(1).fit(x[:300], time[:300], event[:300], -x[300:], time[300:], event[300:])
    assert none.params == {"trees_cause_1": 0}
    (cause,) = fit(boosting(1, trees=3), 1)._fitted
    stump = boosting(1)
    stump._fitted = [replace(cause, trees=[*_leaves_only(), *cause.trees])]
    fitted = [alone, none, stump]
    made = as_recipe([read_model(each, columns=COLUMNS, times=TIMES) for each in fitted], 1)
    module, session = deployed(made, tmp_path), onnxruntime.InferenceSession(export_onnx(made))
    expected = [each.predict(x[:5], list(TIMES)) for each in fitted]
    for place, row in enumerate(x[:5]):
        module.set_patient({"values": {f"x{column}": float(value) for column, value in enumerate(row)}})
        result = module.predict(contributions=False)
        for wanted, found in zip(expected, result.members, strict=True):
            np.testing.assert_allclose(found, wanted[place], rtol=1e-12)
        np.testing.assert_allclose(session.run(["risks"], {"columns": row})[0], result.risks, rtol=1e-12)


def _leaves_only():
    """Return trees of scikit-learn that are one leaf."""
    from sklearn.tree import DecisionTreeRegressor

    x = np.zeros((12, COLUMNS), dtype=np.float32)
    return [DecisionTreeRegressor().fit(x, np.full(12, value)).tree_ for value in (0.25, -0.5)]


def test_leaves_of_few_people_are_not_told():
    estimator = fit(boosting(1, min_samples_leaf=3), 1)
    with pytest.raises(DataError, match=r"a leaf of [3-9] training rows.*(?s:.)*at least 10"):
        read_model(estimator, columns=COLUMNS, times=TIMES)


def test_a_model_without_columns_cannot_be_deployed():
    with pytest.raises(DataError, match="NullModel cannot be deployed"):
        read_model(fit(NullModel(causes=1), 1), columns=0, times=TIMES)


# What training stores


NETWORK = {"hidden": [8], "training": {"epochs": 8}}
KINDS = {
    "cox": CoxModel(kind="cox", penalty=[0.05]),
    "gradient_boosting": GradientBoostingModel(kind="gradient_boosting", trees=40, learning_rate=0.1),
    "weibull_aft": WeibullAftModel(kind="weibull_aft", penalty=[0.03]),
    "deep_surv": DeepSurvModel(kind="deep_surv", **NETWORK),
    "logistic_hazard": LogisticHazardModel(kind="logistic_hazard", intervals=6, **NETWORK),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return build(tmp_path_factory.mktemp("study"))


def order(kind):
    """Return what the rules hand over of the small study."""
    return Order.of(
        {
            "study": "test",
            "question": "?",
            "endpoint": "mace",
            "experiment": f"ehr.{kind}",
            "outcome": {"kind": "columns", "time": "time", "event": "event", "horizons": [500, 1000]},
            "feature_sets": {"ehr": {"modality": "ehr", "static": ["age", "smoker"]}},
            "deployment": {"experiments": [f"ehr.{kind}"]},
        }
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_model_is_deployed_from_its_file(kind, study, tmp_path):
    """Two folds whose models are one by their mean, as it is and recalibrated; death competes."""
    if kind == "gradient_boosting":
        pytest.importorskip("sksurv")
    models = train(study, kind, KINDS[kind], sets=("ehr",)) / "models.zip"
    subjects = pd.Index(sorted(read_table(study / "outcomes.parquet", OUTCOMES)["subject_id"]))
    sets = [read_set("ehr", study / "ehr.parquet", None)]
    made = read_recipe(order(kind), models=models, sets=sets, encoders={}, subjects=subjects)
    assert len(made.members) == 2
    assert made.times == tuple(STUDY_TIMES)
    network = kind in {"deep_surv", "logistic_hazard"}
    near = {"rtol": 1e-6, "atol": 1e-7} if network else {"rtol": 1e-12, "atol": 1e-15}
    learnt = learn_from_predictions(models.with_name("predictions.parquet"), study / "outcomes.parquet", STUDY_TIMES)
    assert abs(learnt[0].slope - 1) > 0.02
    for recalibration in ([], learnt):
        own = tuple(Recalibrated(each.reference, each.intercept, each.slope) for each in recalibration)
        recalibrated = replace(made, recalibration=own)
        folder = tmp_path / f"{len(own)}"
        module = Module(build_module(recalibrated, folder), schema_of(recalibrated, order(kind)))
        given = {"sets": sets, "recorded": {}, "times": STUDY_TIMES}
        wanted = reference_risks(models, subjects=subjects, recalibration=recalibration, **given)
        assert np.ptp(wanted[:, 0, -1]) > 0.005
        table = sets[0].table.loc[subjects]
        for (age, smoker), risks in zip(table[["age", "smoker"]].itertuples(index=False), wanted, strict=True):
            module.set_patient({"values": {"age": age, "smoker": smoker}})
            np.testing.assert_allclose(module.predict(contributions=False).risks, risks, **near)


def test_a_kind_that_cannot_be_deployed_is_refused(study):
    pytest.importorskip("sksurv")
    from riskweave.study.models import RandomSurvivalForestModel

    model = RandomSurvivalForestModel(kind="random_survival_forest", trees=3)
    models = train(study, "forest", model, sets=("ehr",)) / "models.zip"
    sets = [read_set("ehr", study / "ehr.parquet", None)]
    with pytest.raises(DataError, match="CauseSpecificForest cannot be deployed"):
        read_recipe(order("forest"), models=models, sets=sets, encoders={}, subjects=pd.Index(sets[0].table.index))
