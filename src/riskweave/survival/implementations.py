"""Which module implements what a study block names.

Implementations are imported by name, when they are asked for. That keeps torch out of jobs without networks, and lets
a job depend on the code of its own model or network only: editing one does not retrain the others. The Snakefile reads
these tables to know that code, so this module imports nothing.
"""

__all__ = ["ESTIMATORS", "HEADS", "NETWORKS"]

ESTIMATORS = {
    "cox": "riskweave.survival.cox",
    "logistic_hazard": "riskweave.survival.logistic_hazard",
    "random_survival_forest": "riskweave.survival.forest",
    "weibull_aft": "riskweave.survival.weibull",
    "gradient_boosting": "riskweave.survival.gradient_boosting",
    "survival_boost": "riskweave.survival.survival_boost",
    "stacked": "riskweave.survival.stacked",
}
"""Kind of model to the module whose ``from_block(model, causes=, seed=, threads=, columns=, **further)`` makes its
estimator; `further` is what `riskweave.survival.registry.build_estimator` hands on."""

HEADS = {"logistic_hazard": "riskweave.survival.heads.logistic_hazard"}
"""Kind of network to the module with its head: what becomes of the network's output, and the loss."""

NETWORKS = {"ecg": "riskweave.networks.tcn", "image": "riskweave.networks.cnn"}
"""Modality to the module with its encoders' network."""
