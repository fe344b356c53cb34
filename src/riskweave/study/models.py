"""Study blocks of the time-to-event models."""

from typing import Annotated, Literal

from pydantic import Field

from riskweave.study.base import Block, Fraction, Name, Positive
from riskweave.study.clinical_scores import ClinicalScoreModel
from riskweave.study.search import Search
from riskweave.study.training import Training

__all__ = [
    "ClinicalScoreModel",
    "CoxModel",
    "CoxTimeModel",
    "DeepHitModel",
    "DeepSurvModel",
    "GradientBoostingModel",
    "LogisticHazardModel",
    "Model",
    "MtlrModel",
    "MultiEndpointModel",
    "NetworkModel",
    "PcHazardModel",
    "PmfModel",
    "RandomSurvivalForestModel",
    "StackedModel",
    "SurvivalBoostModel",
    "TunableModel",
    "WeibullAftModel",
]

_TABULAR = Training(epochs=100, patience=10, learning_rate=3e-3)


class TunableModel(Block):
    """What models with hyper-parameters have in common."""

    search: Search | None = Field(
        default=None, description="Search of hyper-parameters on the validation rows of each fold; none when not given."
    )


class CoxModel(TunableModel):
    """Penalised Cox proportional hazards (lifelines, skglm), one cause-specific model for each cause."""

    kind: Literal["cox"] = Field(description="Kind of model.")
    penalty: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = Field(
        default=[0.003, 0.03, 0.3],
        description="Penalties on standardised columns; the one with the best likelihood on the validation rows of the "
        "fold is kept.",
    )
    l1_ratio: Annotated[list[Fraction], Field(min_length=1)] = Field(
        default=[0.0],
        description="Share of the lasso in the penalty: 0 ridge, 1 lasso, between them the elastic net. Of several the "
        "best on the validation rows is kept.",
    )


class WeibullAftModel(TunableModel):
    """Weibull accelerated failure time (lifelines), one cause-specific model for each cause."""

    kind: Literal["weibull_aft"] = Field(description="Kind of model.")
    penalty: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = Field(
        default=[0.003, 0.03, 0.3],
        description="Ridge penalties on standardised columns; the best on the validation rows is kept.",
    )


class RandomSurvivalForestModel(TunableModel):
    """Random survival forest (scikit-survival, the extra `forest`), one forest for each cause."""

    kind: Literal["random_survival_forest"] = Field(description="Kind of model.")
    trees: Positive = Field(default=200, description="Number of trees.")
    min_samples_leaf: Positive = Field(default=15, description="Fewest training rows in a leaf.")
    max_features: Literal["sqrt", "log2"] | Annotated[float, Field(gt=0, le=1)] = Field(
        default="sqrt", description="Columns tried at a split: `sqrt`, `log2` or a share (0 to 1)."
    )


class GradientBoostingModel(TunableModel):
    """Gradient boosting of the Cox partial likelihood (scikit-survival, the extra `forest`), one for each cause."""

    kind: Literal["gradient_boosting"] = Field(description="Kind of model.")
    trees: Positive = Field(default=1000, description="Most trees; the validation rows stop earlier.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(default=0.05, description="Shrinkage of each tree.")
    max_depth: Annotated[int, Field(ge=1, le=20)] = Field(default=2, description="Depth of a tree.")
    min_samples_leaf: Positive = Field(default=20, description="Fewest training rows in a leaf.")
    subsample: Annotated[float, Field(gt=0, le=1)] = Field(default=0.5, description="Share of the rows of each tree.")


class SurvivalBoostModel(TunableModel):
    """SurvivalBoost (hazardous): boosted trees on the cumulative incidences of all causes at once."""

    kind: Literal["survival_boost"] = Field(description="Kind of model.")
    iterations: Positive = Field(default=100, description="Boosting iterations.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(default=0.05, description="Shrinkage of each tree.")
    max_leaf_nodes: Annotated[int, Field(ge=2, le=1000)] = Field(default=8, description="Leaves of a tree.")
    min_samples_leaf: Positive = Field(default=50, description="Fewest training rows in a leaf.")


class NetworkModel(TunableModel):
    """What the models share that are networks: a multilayer perceptron, and how it is trained."""

    hidden: list[Positive] = Field(default=[32], description="Widths of the hidden layers; empty for a linear model.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.2, description="Dropout in the layers (0 to 1).")
    training: Training = Field(default=_TABULAR, description="How the network is trained.")


class DeepSurvModel(NetworkModel):
    """Cox proportional hazards with a network for the log hazard ratio (pycox loss), one output for each cause."""

    kind: Literal["deep_surv"] = Field(description="Kind of model.")


class CoxTimeModel(NetworkModel):
    """Cox-Time: relative hazards that a network makes from columns and time (pycox loss), one for each cause."""

    kind: Literal["cox_time"] = Field(description="Kind of model.")
    controls: Annotated[int, Field(ge=1, le=20)] = Field(
        default=1, description="Subjects at risk that each event is compared with in a batch."
    )


class _DiscreteModel(NetworkModel):
    intervals: Annotated[int, Field(ge=2, le=200)] = Field(default=20, description="Intervals of the time axis.")


class LogisticHazardModel(_DiscreteModel):
    """Discrete-time hazards from a network (pycox loss), one output for each cause."""

    kind: Literal["logistic_hazard"] = Field(description="Kind of model.")


class PmfModel(_DiscreteModel):
    """Probability mass function of the discrete event time (pycox loss), over all causes and intervals."""

    kind: Literal["pmf"] = Field(description="Kind of model.")


class MtlrModel(_DiscreteModel):
    """Multi-task logistic regression with a network (N-MTLR, pycox loss), one for each cause."""

    kind: Literal["mtlr"] = Field(description="Kind of model.")


class PcHazardModel(_DiscreteModel):
    """Piecewise constant hazards from a network (pycox loss), one output for each cause."""

    kind: Literal["pc_hazard"] = Field(description="Kind of model.")


class DeepHitModel(_DiscreteModel):
    """DeepHit: probability mass function with a ranking loss (pycox loss), over all causes and intervals."""

    kind: Literal["deep_hit"] = Field(description="Kind of model.")
    alpha: Fraction = Field(default=0.8, description="Weight of the likelihood; 1 - alpha is that of the ranking.")
    sigma: Annotated[float, Field(gt=0)] = Field(default=0.3, description="Scale of the ranking loss.")


class MultiEndpointModel(_DiscreteModel):
    """One network for all endpoints of the study, with discrete-time hazards and a risk set for each.

    An experiment with it trains one job for all endpoints; each has its own predictions.
    """

    kind: Literal["multi_endpoint"] = Field(description="Kind of model.")


class StackedModel(Block):
    """Ensemble: cumulative incidences of other models, averaged with weights that are not negative and sum to 1.

    The weights minimise the Brier score of risks of training subjects that the models were not fitted on, shrunk to
    equal weights.
    """

    kind: Literal["stacked"] = Field(description="Kind of model.")
    members: Annotated[list[Name], Field(min_length=2)] = Field(description="Models, by their names under `models`.")
    parts: Annotated[int, Field(ge=2, le=20)] = Field(
        default=5,
        description="Parts of the training rows: the models that give the risks of one are fitted without it.",
    )
    shrinkage: Annotated[float, Field(ge=0)] = Field(
        default=0.05, description="How strongly the weights are drawn to equal ones; 0: not at all."
    )


Model = Annotated[
    CoxModel
    | WeibullAftModel
    | RandomSurvivalForestModel
    | GradientBoostingModel
    | SurvivalBoostModel
    | DeepSurvModel
    | CoxTimeModel
    | LogisticHazardModel
    | PmfModel
    | MtlrModel
    | PcHazardModel
    | DeepHitModel
    | MultiEndpointModel
    | StackedModel
    | ClinicalScoreModel,
    Field(discriminator="kind"),
]
