"""Which module implements what a study block names.

Implementations are imported by name, when they are asked for. That keeps torch out of jobs without networks, and lets
a job depend on the code of its own model or network only: editing one does not retrain the others. The Snakefile reads
these tables to know that code, so this module imports nothing.
"""

__all__ = ["ESTIMATORS", "HEADS"]

ESTIMATORS = {
    "clinical_score": "riskweave.survival.clinical_score",
    "cox": "riskweave.survival.cox",
    "cox_time": "riskweave.survival.neural",
    "deep_hit": "riskweave.survival.neural",
    "deep_surv": "riskweave.survival.neural",
    "logistic_hazard": "riskweave.survival.neural",
    "mtlr": "riskweave.survival.neural",
    "pc_hazard": "riskweave.survival.neural",
    "pmf": "riskweave.survival.neural",
    "random_survival_forest": "riskweave.survival.forest",
    "weibull_aft": "riskweave.survival.weibull",
    "gradient_boosting": "riskweave.survival.gradient_boosting",
    "survival_boost": "riskweave.survival.survival_boost",
    "stacked": "riskweave.survival.stacked",
}
"""Kind of model to the module whose ``from_block(model, causes=, seed=, threads=, columns=, **further)`` makes its
estimator; `further` is what `riskweave.survival.registry.build_estimator` hands on."""

HEADS = {
    "cox_time": "riskweave.survival.heads.cox_time",
    "deep_hit": "riskweave.survival.heads.deep_hit",
    "deep_surv": "riskweave.survival.heads.deep_surv",
    "logistic_hazard": "riskweave.survival.heads.logistic_hazard",
    "mtlr": "riskweave.survival.heads.mtlr",
    "pc_hazard": "riskweave.survival.heads.pc_hazard",
    "pmf": "riskweave.survival.heads.pmf",
}
"""Kind of network to the module with its head: what becomes of the network's output, and the loss."""
