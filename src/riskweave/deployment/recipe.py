"""What a module is made of: the inputs, the columns and the fitted parts of an experiment, as plain values.

The recipe is what generation, schema and card share. It is read from the stored models once
(`riskweave.deployment.read`); nothing in it knows of files, pandas or scikit-learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from riskweave.study.features import EcgFeatures, ImageFeatures

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Aggregate",
    "Boosted",
    "Column",
    "Cox",
    "Encoder",
    "FeatureSet",
    "Input",
    "Member",
    "Network",
    "Recalibrated",
    "Recipe",
    "Term",
    "Trees",
    "Unit",
    "Weibull",
]

Aggregate = Literal["last", "mean", "min", "max", "sd", "count", "slope", "ever", "time_since"]


@dataclass(frozen=True)
class Unit:
    """A unit of an input: ``value * factor + offset`` is the value in the model's own unit.

    Attributes
    ----------
    label : str
        As people write it.
    ucum : str
        Code of the Unified Code for Units of Measure; empty where the study's unit is none.
    """

    label: str
    ucum: str
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Input:
    """Something of the health record that is asked of a user.

    Attributes
    ----------
    name : str
        Column of the table of subjects, or the code or name of a group of events.
    kind : {"number", "category", "events"}
    label, description : mapping of language to str
        ``en`` and ``de``; the name where the study gives none.
    units : tuple of Unit
        The model's own unit first; empty for categories and for events without values.
    limits : tuple of float
        Lowest and highest value that can be, in the model's unit; may be infinite.
    usual : tuple of float
        1st and 99th percentile of the training rows, less extreme ones where fewer than ten people would be beyond;
        infinite where they are unknown.
    usual_share : float
        Share of the people between the two.
    typical : float
        Their median; NaN where it is unknown.
    required : bool
        Nobody in the training rows lacked it: the model never learnt what to do without it.
    categories : tuple of str
        What a category can be.
    codes : tuple of str
        Of events: the codes that count, by prefix; one that ends in ``$`` is a whole code.
    values : bool
        Of events: whether their values matter.
    window : float
        Of events: the longest look-back in days; infinite: the whole history.
    """

    name: str
    kind: Literal["number", "category", "events"]
    label: Mapping[str, str]
    description: Mapping[str, str] = field(default_factory=dict)
    units: tuple[Unit, ...] = ()
    limits: tuple[float, float] = (-np.inf, np.inf)
    usual: tuple[float, float] = (-np.inf, np.inf)
    usual_share: float = 0.98
    typical: float = np.nan
    required: bool = False
    categories: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    values: bool = False
    window: float = np.inf


@dataclass(frozen=True)
class FeatureSet:
    """A feature set: which modality it is of, and who has a row in its table.

    Attributes
    ----------
    presence : {"always", "measured", "ecg", "image"}
        Everybody; who has any value or event; who has the recording.
    """

    name: str
    modality: str
    presence: Literal["always", "measured", "ecg", "image"]


@dataclass(frozen=True)
class Column:
    """A column of the feature tables.

    Attributes
    ----------
    name : str
        ``<set>.<column>``.
    feature_set : int
        Place in `Recipe.feature_sets`.
    source : int
        Place in `Recipe.inputs`; of a recording: place among the modality's measurements, in the order of the package.
    made : {"static", "ecg", "image"} or Aggregate
    window : float
        Days; an event counts when it is less than so many days before the index time.
    limits : tuple of float
        Values of events outside count as events without a value.
    unit, description : str
    categories : tuple of str
        Of a category: all that the tables hold, in the order of the input.
    usual : tuple of float
        As of `Input`.
    usual_share : float
    """

    name: str
    feature_set: int
    source: int
    made: str
    window: float = np.inf
    limits: tuple[float, float] = (-np.inf, np.inf)
    unit: str = ""
    description: str = ""
    categories: tuple[str, ...] = ()
    usual: tuple[float, float] = (-np.inf, np.inf)
    usual_share: float = 0.98


@dataclass(frozen=True)
class Term:
    """A column of a member's design: ``(value - mean) / scale`` where the modality is there, 0 where it is not.

    Attributes
    ----------
    kind : {"number", "missing", "category"}
        The number, winsorised and imputed; 1 where it is missing; 1 where the category is one of `categories`.
    modality : int
        Place in `Recipe.modalities`.
    column : int
        Place in `Recipe.columns`; below 0: ``-1 - place`` among the member's embeddings.
    lower, upper, fill : float
        Bounds of the winsorising (before the imputation) and the median.
    categories : tuple of int
        Places in the input's categories that count; -1, a missing one, may be among them.
    mean, scale : float
    """

    kind: Literal["number", "missing", "category"]
    modality: int
    column: int
    mean: float
    scale: float
    lower: float = -np.inf
    upper: float = np.inf
    fill: float = np.nan
    categories: tuple[int, ...] = ()


@dataclass(frozen=True)
class Encoder:
    """The encoder of a feature set in one member, where it has signal.

    Attributes
    ----------
    recording : {"ecg", "image"}
    first, count : int
        Its places among the member's embeddings.
    module : nn.Module
        From float32 (1, 12, samples) or (1, size, size) to (1, count), in evaluation mode.
    """

    recording: Literal["ecg", "image"]
    modality: int
    first: int
    count: int
    module: "nn.Module"


@dataclass(frozen=True)
class Cox:
    """Cause-specific proportional hazards.

    Attributes
    ----------
    coefficients, means : float64 arrays (causes, design)
    baselines : sequence of (times, cumulative)
        float64 arrays of each cause: cumulative hazard from each time (days) on; empty: the cause never happens.
    """

    coefficients: np.ndarray
    means: np.ndarray
    baselines: Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Trees:
    """Regression trees of one cause, whose leaves add up to a log hazard ratio.

    A split sends a design to the left where its column, rounded to single precision, is at most the threshold. A branch
    is the place of a split, or below 0: ``-1 - place`` of a leaf.

    Attributes
    ----------
    roots : int array (trees,)
        Branches where the trees begin; empty: every log hazard ratio is ``-centre``.
    columns : int array (splits,)
        Places in the design.
    thresholds : float32 array (splits,)
    left, right : int arrays (splits,)
        Branches.
    leaves : float64 array
        What each adds.
    centre : float
        Mean of the training rows, which is taken off.
    """

    roots: np.ndarray
    columns: np.ndarray
    thresholds: np.ndarray
    left: np.ndarray
    right: np.ndarray
    leaves: np.ndarray
    centre: float


@dataclass(frozen=True)
class Boosted:
    """Cause-specific proportional hazards, whose log hazard ratios are sums of trees.

    Attributes
    ----------
    trees : sequence of Trees
        Of each cause.
    baselines
        As those of `Cox`.
    """

    trees: Sequence[Trees]
    baselines: Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Weibull:
    """Cause-specific Weibull models: cumulative hazard ``(t / exp(intercept + design @ slopes)) ** shape``.

    Attributes
    ----------
    intercepts, shapes : float64 arrays (causes,)
        An infinite intercept: the cause never happens.
    slopes : float64 array (causes, design)
    days : float64 array
        Where the causes' hazards are combined, increasing; the recipe's times are among them.
    """

    intercepts: np.ndarray
    slopes: np.ndarray
    shapes: np.ndarray
    days: np.ndarray


@dataclass(frozen=True)
class Network:
    """A network of the design, whose outputs mean hazards of intervals or, of ``deep_surv``, log hazard ratios.

    Attributes
    ----------
    module : nn.Module
        From float32 (1, design) to (1, causes, intervals) or (1, causes), in evaluation mode.
    kind : str
        The head's kind.
    cuts : float64 array (intervals + 1,)
        Days; not looked at where outputs are log hazard ratios.
    learnt : mapping
        What else the head learnt; of ``deep_surv`` the ``baselines``, as those of `Cox`.
    """

    module: "nn.Module"
    kind: str
    cuts: np.ndarray
    learnt: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """One fitted model with its preprocessing and encoders; the deployed risk is the mean over the members.

    Attributes
    ----------
    terms : tuple of Term
    masks : tuple of int
        Modalities whose presence (1 or 0) is a column of the design, behind the terms.
    embeddings : int
        Width of all embeddings together; those of encoders without signal are 0.
    encoders : tuple of Encoder
    model : Cox, Boosted, Weibull or Network
    """

    terms: tuple[Term, ...]
    masks: tuple[int, ...]
    embeddings: int
    encoders: tuple[Encoder, ...]
    model: Cox | Boosted | Weibull | Network


@dataclass(frozen=True)
class Recalibrated:
    """How the mean risk of one cause is recalibrated: see `riskweave.evaluation.recalibration.Recalibration`.

    Attributes
    ----------
    reference : float64 array (times,)
        Centre of log(-log(1 - risk)), which never falls.
    intercept, slope : float
        0 and 1 leave risks as they are.
    """

    reference: np.ndarray
    intercept: float
    slope: float


@dataclass(frozen=True)
class Recipe:
    """All that a module computes.

    Attributes
    ----------
    experiment, endpoint, study : str
    causes : tuple of str
        Names, the target first.
    times, horizons : tuple of float
        Days; horizons are among the times.
    inputs, columns, feature_sets, members
    modalities : tuple of str
    ecg : EcgFeatures or None
        Block of the study whose recordings are read.
    image : ImageFeatures or None
    recalibration : tuple of Recalibrated
        Of each cause; empty: the risks are the models' own.
    """

    study: str
    endpoint: str
    experiment: str
    causes: tuple[str, ...]
    times: tuple[float, ...]
    horizons: tuple[float, ...]
    inputs: tuple[Input, ...]
    columns: tuple[Column, ...]
    feature_sets: tuple[FeatureSet, ...]
    modalities: tuple[str, ...]
    members: tuple[Member, ...]
    ecg: EcgFeatures | None = None
    image: ImageFeatures | None = None
    recalibration: tuple[Recalibrated, ...] = ()
