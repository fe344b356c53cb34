"""Trainings of small networks for tests."""

import numpy as np
import pandas as pd
import torch

from riskweave.networks.mlp import MLP
from riskweave.study.training import Training
from riskweave.survival.heads import make_head
from riskweave.survival.training import fit

FAST = Training(epochs=4, patience=4, batch_size=64, learning_rate=1e-2)


def cohort(n=300, p=3, seed=0, effect=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)).astype(np.float32)
    hidden = rng.exponential(np.exp(-effect * x[:, 0])) * 500
    censored = rng.uniform(50, 1500, n)
    return x, np.minimum(hidden, censored) + 0.5, (hidden <= censored).astype(int)


def trained(*, kind="logistic_hazard", n=300, build=None, head=None, **arguments):
    x, time, event = cohort(n)
    options = {
        "logistic_hazard": {"intervals": 6},
        "pmf": {"intervals": 6},
        "cox_time": {"controls": 2, "hidden": 8, "dropout": 0.0},
    }
    cut = n * 3 // 4
    return fit(
        build or (lambda: MLP(3, hidden=[8], dropout=0.1)),
        head or make_head(kind, causes=1, **options.get(kind, {})),
        **{
            "inputs": x[:cut],
            "time": time[:cut],
            "event": event[:cut],
            "inputs_val": x[cut:],
            "time_val": time[cut:],
            "event_val": event[cut:],
            "training": FAST,
            "seed": 5,
            "threads": 1,
            "zero_head": True,
            **arguments,
        },
    )


def same(first, second):
    pd.testing.assert_frame_equal(first.curves, second.curves, check_exact=True)
    weights, others = first.network.state_dict(), second.network.state_dict()
    assert first.best_epoch == second.best_epoch
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)
