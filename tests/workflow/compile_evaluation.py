"""Evaluates a made-up study: numba compiles what trainings and evaluations run, and keeps it beside the source."""

import tempfile
from pathlib import Path

import numpy as np
from evaluation_study import EVALUATION, evaluated, write_study

from riskweave.survival.proportional import Baseline, proportional_incidence

RICH = EVALUATION.model_copy(
    update={"bootstrap": 20, "subgroups": ["centre"], "reclassification": [0.2, 0.4], "recalibration": True}
)

if __name__ == "__main__":
    proportional_incidence(np.zeros((2, 2)), [Baseline(np.array([1.0]), np.array([0.1]))] * 2, [1.0, 2.0])
    with tempfile.TemporaryDirectory() as folder:
        evaluated(write_study(Path(folder), n=200), evaluation=RICH)
