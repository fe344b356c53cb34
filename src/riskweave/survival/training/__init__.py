"""Training of networks against time-to-event outcomes: inputs, batches, the Lightning module, checkpoints."""

from riskweave.survival.training.batches import Batches, RiskSetBatches
from riskweave.survival.training.fit import CURVE_COLUMNS, Fitted, Prune, fit, outputs
from riskweave.survival.training.inputs import ArrayInputs, Inputs, MatrixInputs, PooledInputs, as_inputs
from riskweave.survival.training.task import SurvivalTask, Whole

__all__ = [
    "CURVE_COLUMNS",
    "ArrayInputs",
    "Batches",
    "Fitted",
    "Inputs",
    "MatrixInputs",
    "PooledInputs",
    "Prune",
    "RiskSetBatches",
    "SurvivalTask",
    "Whole",
    "as_inputs",
    "fit",
    "outputs",
]
