import numpy as np
import pytest
from pydantic import TypeAdapter
from storing import stored_again

from riskweave.study.models import CoxModel, Model
from riskweave.survival.implementations import ESTIMATORS
from riskweave.survival.registry import build_estimator

NETWORK = {"hidden": [4], "training": {"epochs": 1, "patience": 1}}
BLOCKS = [
    {"kind": "clinical_score", "score": "score2", "region": "low", "units": {"cholesterol": "mmol/L"}},
    {"kind": "cox", "penalty": [0.1]},
    {"kind": "cox", "penalty": [0.1], "l1_ratio": [0.5]},
    {"kind": "weibull_aft", "penalty": [0.1]},
    {"kind": "random_survival_forest", "trees": 5},
    {"kind": "gradient_boosting", "trees": 5},
    {"kind": "survival_boost", "iterations": 3},
    {"kind": "stacked", "members": ["ridge", "flat"], "parts": 2},
    *({"kind": kind, **NETWORK} for kind in ("deep_surv", "cox_time")),
    *(
        {"kind": kind, **NETWORK, "intervals": 5}
        for kind in ("logistic_hazard", "pmf", "mtlr", "pc_hazard", "deep_hit")
    ),
]
MEMBERS = {"ridge": CoxModel(kind="cox", penalty=[0.1]), "flat": CoxModel(kind="cox", penalty=[100.0])}


def test_every_kind_is_tested():
    assert {block["kind"] for block in BLOCKS} == set(ESTIMATORS)


@pytest.mark.parametrize("block", BLOCKS, ids=[block["kind"] for block in BLOCKS])
def test_every_model_block_gives_an_estimator_of_the_shared_protocol(block, tmp_path):
    if block["kind"] in ("random_survival_forest", "gradient_boosting"):
        pytest.importorskip("sksurv")
    rng = np.random.default_rng(0)
    x, time, event = rng.normal(size=(120, 3)), rng.integers(1, 1000, 120).astype(float), rng.integers(0, 3, 120)
    columns = list("abc")
    if block["kind"] == "clinical_score":
        columns = ["age", "sex", "sbp", "smoker", "total_cholesterol", "hdl"]
        x = np.array([55, 0, 140, 0, 6.0, 1.5]) + np.column_stack([x * 10, np.zeros((120, 3))])[:, [0, 3, 1, 4, 5, 5]]
    model = TypeAdapter(Model).validate_python(block)
    estimator = build_estimator(model=model, causes=2, seed=1, threads=1, columns=columns, members=MEMBERS)
    assert estimator.fit(x[:80], time[:80], event[:80], x[80:], time[80:], event[80:]) is estimator
    risks = estimator.predict(x[80:], [100, 400, 900])
    assert risks.shape == (40, 2, 3)
    assert (np.diff(risks, axis=2) >= 0).all()
    assert ((risks >= 0) & (risks.sum(axis=1, keepdims=True) <= 1 + 1e-6)).all()
    linear = estimator.linear_predictor(x[80:])
    assert linear is None or linear.shape == (40,)
    assert {"epoch", "metric", "value"} <= set(estimator.curves.columns)
    assert estimator.architecture
    again = build_estimator(model=model, causes=2, seed=1, threads=1, columns=columns, members=MEMBERS)
    again.fit(x[:80], time[:80], event[:80], x[80:], time[80:], event[80:])
    np.testing.assert_array_equal(again.predict(x[80:], [100, 400, 900]), risks)
    stored = stored_again(estimator, tmp_path)
    np.testing.assert_array_equal(stored.predict(x[80:], [100, 400, 900]), risks)
