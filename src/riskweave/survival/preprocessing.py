"""Preprocessing: feature tables of several modalities become one design matrix, fitted on training rows only."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.validation import check_is_fitted

from riskweave.errors import DataError
from riskweave.modalities.sparse import SparseColumn
from riskweave.survival.arrays import OTHER, FittedColumns, as_columns, floats, kept_categories
from riskweave.survival.design import Design, Group
from riskweave.survival.histories import HistoryReduction

__all__ = ["DesignMatrix", "DropRedundant", "FeatureTable", "Winsorise"]

logger = logging.getLogger(__name__)

RARE = 10
"""Columns that set fewer people apart tell more about these people than about the risk, and may identify them. For all
but categories, whose names are stored, it is a hundredth of the people of the training rows in small cohorts."""


@dataclass(frozen=True)
class FeatureTable:
    """The features of one feature set.

    Attributes
    ----------
    name, modality : str
        The feature set and its modality.
    frame : DataFrame of shape (subjects, columns)
        Indexed by subject_id; a subject without the modality has no row.
    categorical : tuple of str
        Columns that hold categories; all others hold numbers.
    sparse : mapping of str to SparseColumn
        Histories of many codes, by the name of their column; their subjects are among those of `frame`.
    """

    name: str
    modality: str
    frame: pd.DataFrame
    categorical: tuple[str, ...] = field(default=())
    sparse: Mapping[str, SparseColumn] = field(default_factory=dict)

    def __post_init__(self):
        for column, values in self.frame.items():
            infinite = 0 if column in self.categorical else int(np.isinf(floats(values)).sum())
            if infinite:
                raise DataError(
                    f"feature set {self.name}, column {column}",
                    f"{infinite} subjects have an infinite value",
                    "Only finite numbers and missing values are allowed: repair the source of this column",
                )


class DropRedundant(TransformerMixin, BaseEstimator):
    """Drop columns that add nothing in the training rows: constants, and linear copies of an earlier column.

    Laboratory panels are measured together, so that their missing-value indicators are equal; a category of two values
    gives two columns that are each other's complement. Such copies leave predictions as they are but make a likelihood
    flat.

    Parameters
    ----------
    tolerance : float
        Largest ``1 - abs(correlation)`` at which two columns count as copies.
    minimum : int
        Fewest people of the training rows who must differ from the most frequent value of a column.
    """

    def __init__(self, tolerance: float = 1e-8, minimum: int = 1):
        self.tolerance = tolerance
        self.minimum = minimum

    def fit(self, X: pd.DataFrame, y=None, people: np.ndarray | None = None):  # noqa: ARG002 - scikit-learn's signature
        """Find the columns to keep; `people` are the owners of the rows, each its own without them."""
        people = np.arange(len(X)) if people is None else people
        values = np.asarray(X, dtype=float)
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = values.shape[1]
        keep = np.array([_differing(column, people) >= self.minimum for column in values.T], dtype=bool)
        keep &= np.ptp(values, axis=0) > 1e-12 * np.maximum(1.0, np.abs(values).max(axis=0))
        candidates = np.flatnonzero(keep)
        if len(candidates):
            centred = values[:, candidates] - values[:, candidates].mean(axis=0)
            centred /= np.linalg.norm(centred, axis=0)
            copies = np.abs(centred.T @ centred) > 1 - self.tolerance
            # Column j is a copy when a column before it (upper triangle) is the same up to scale and sign.
            keep[candidates[np.triu(copies, k=1).any(axis=0)]] = False
        self.support_ = keep
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the kept columns."""
        check_is_fitted(self, "support_")
        return X.loc[:, list(self.feature_names_in_[self.support_])]

    def get_feature_names_out(self, input_features=None) -> np.ndarray:  # noqa: ARG002 - scikit-learn's signature
        """Return the names of the kept columns."""
        return self.feature_names_in_[self.support_]


def _differing(column: np.ndarray, people: np.ndarray) -> int:
    """Count the people with a row that differs from the value that most people have."""
    if not len(column):
        return 0
    _, place = np.unique(column, return_inverse=True)
    _, whose = np.unique(people, return_inverse=True)
    pairs = np.unique(place * (whose.max() + 1) + whose)
    most = np.bincount(pairs // (whose.max() + 1)).argmax()
    return len(np.unique(whose[place != most]))


class Winsorise(TransformerMixin, BaseEstimator):
    """Pull values beyond the outer quantiles of the training rows in to them.

    A slip of the decimal point, or a slope between readings a day apart, would otherwise set the scale of its column
    and decide the prediction of its subject. Columns with few distinct values, such as rare 0/1 columns, are left as
    they are.

    Parameters
    ----------
    tail : float
        Share of the rows beyond each of the two quantiles (0 to 0.5).
    distinct : int
        Columns with at most as many distinct values are left alone.
    """

    def __init__(self, tail: float = 0.005, distinct: int = 10):
        self.tail = tail
        self.distinct = distinct

    def fit(self, X: pd.DataFrame, y: object = None) -> "Winsorise":  # noqa: ARG002
        """Learn the quantiles of each column; missing values are left out."""
        lower, upper = X.quantile(self.tail), X.quantile(1 - self.tail)
        # Without spread between the quantiles nearly all rows share a value: the few others are what the column tells.
        clipped = (X.nunique() > self.distinct) & (lower < upper)
        self.lower_, self.upper_ = lower.where(clipped, -np.inf), upper.where(clipped, np.inf)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the table with outer values pulled in; missing values stay missing."""
        check_is_fitted(self)
        return X.clip(lower=self.lower_, upper=self.upper_, axis=1)

    def get_feature_names_out(self, input_features: np.ndarray | None = None) -> np.ndarray:  # noqa: ARG002
        """Return the names of the columns, which stay."""
        return np.asarray(self.lower_.index, dtype=object)


def _numbers() -> Pipeline:
    impute = SimpleImputer(strategy="median", add_indicator=True).set_output(transform="pandas")
    return Pipeline([("winsorise", Winsorise()), ("impute", impute)])


def _category_name(column: str, category: str) -> str:
    """Name the column of a category, with a sign that keeps it apart from the user's own columns."""
    return f"{column}={category}"


def _categories(kept: Mapping[str, tuple[str, ...]]) -> OneHotEncoder:
    """Return the encoder of categories; it is told those that are kept, so that it stores no value of few people."""
    each = [np.array([*(name for name in names if name != OTHER), OTHER], dtype=object) for names in kept.values()]
    return OneHotEncoder(categories=each, sparse_output=False, dtype=np.float64, feature_name_combiner=_category_name)


class DesignMatrix:
    """One design matrix from several feature sets, with a mask for each modality that some subject lacks.

    Sparse histories are reduced to a few columns (`riskweave.survival.histories`). Numbers are imputed with the
    training median, with an indicator for columns that have missing training values; categories become one column each,
    rare and unseen ones together; constant and duplicate columns are dropped; all columns are standardised. These steps
    see the training rows that have the modality, and nothing else; of rare categories nothing is kept. A subject
    without the modality then has 0 (the mean of those who have it) in all its columns, and 0 in the mask column
    ``has_<modality>``, which is 1 for the others.

    Parameters
    ----------
    rare : int
        Fewest people of the training rows that a category must have. As many must differ from a column's most frequent
        value; with fewer than ``100 * rare`` people, a hundredth of them.

    Attributes
    ----------
    columns_ : list of str
        Names of the design matrix' columns: ``<set>.<column>`` and ``has_<modality>``.
    groups_ : tuple of Group
        The modalities, in the order of the feature sets, and where their columns are.
    categories_ : dict of modality to dict of column to tuple of str
        The categories with a column of their own; all others are `OTHER`.
    """

    def __init__(self, *, rare: int = RARE):
        self.rare = rare

    def fit(self, tables: list[FeatureTable], subjects: pd.Index, people: pd.Series | None = None) -> "DesignMatrix":
        """Fit on the training subjects.

        Parameters
        ----------
        tables : list of FeatureTable
            One for each feature set; rows of other subjects are not looked at.
        subjects : Index of subject_id
            The training rows.
        people : Series indexed by subject_id, optional
            Whose index time each subject is: what counts is how many people have something. Without it each subject is
            a person of its own.

        Returns
        -------
        DesignMatrix
            Itself; without any column where none varies among the training rows.
        """
        self.transformers_: dict[str, Pipeline] = {}
        self.histories_: dict[tuple[str, str], HistoryReduction] = {}
        self.categories_: dict[str, dict[str, tuple[str, ...]]] = {}
        self.columns_: list[str] = []
        places: dict[str, tuple[int, ...]] = {}
        whose = np.arange(len(subjects)) if people is None else pd.factorize(people.loc[subjects].to_numpy())[0]
        rare = max(1, min(self.rare, len(np.unique(whose)) // 100))
        masks = self._masks(tables, subjects)
        for modality, group in _by_modality(tables).items():
            present, owners = subjects[masks[modality]], whose[masks[modality]]
            for table in group:
                for name, sparse in table.sparse.items():
                    reduction = HistoryReduction(name=name, rare=rare)
                    self.histories_[table.name, name] = reduction.fit(sparse, present, owners)
            joined, categorical = _join(group, present, self.histories_)
            joined = joined.loc[:, joined.notna().any(axis=0)]
            categorical = [name for name in categorical if name in joined.columns]
            kept = self.categories_[modality] = kept_categories(joined[categorical], owners, rare=self.rare)
            pipeline = _pipeline(list(joined.columns), kept, rare)
            if len(present) and joined.shape[1]:
                # In two steps: the scaler refuses a table of which no column is left.
                selected = pipeline[:-1].fit_transform(as_columns(joined, kept), redundant__people=owners)
                if selected.shape[1]:
                    pipeline[-1].fit(selected)
                    self.transformers_[modality] = pipeline
                    names = _names(pipeline)
                    places[modality] = tuple(range(len(self.columns_), len(self.columns_) + len(names)))
                    self.columns_ += names
            if modality not in self.transformers_:
                logger.warning("no column of modality %s varies in the %d training rows", modality, len(subjects))
        self.masks_ = [
            modality
            for modality, mask in masks.items()
            if min(len(np.unique(whose[mask])), len(np.unique(whose[~mask]))) >= rare
        ]
        first = len(self.columns_)
        self.columns_ += [f"has_{modality}" for modality in self.masks_]
        positions = {modality: first + place for place, modality in enumerate(self.masks_)}
        self.groups_ = tuple(Group(modality, places.get(modality, ()), positions.get(modality)) for modality in masks)
        return self

    def design(self, tables: list[FeatureTable], subjects: pd.Index) -> Design:
        """Return the design of these subjects; each counts as a person of its own."""
        masks = self._masks(tables, subjects)
        values = np.zeros((len(subjects), len(self.columns_)), order="F")
        places = {group.modality: group for group in self.groups_}
        for modality, group in _by_modality(tables).items():
            has = masks[modality]
            if modality not in self.transformers_ or not has.any():
                continue
            everyone = bool(has.all())
            frames = _frames(group, subjects if everyone else subjects[has], self.histories_)
            columns = {f"{owner}.{column}": own for owner, frame in frames for column, own in frame.items()}
            found = self._fitted(modality).transform(columns, int(has.sum()))
            first, last = places[modality].columns[0], places[modality].columns[-1] + 1
            values[slice(None) if everyone else has, first:last] = found
        for modality in self.masks_:
            values[:, places[modality].mask] = masks[modality]
        return Design(
            values=values,
            columns=list(self.columns_),
            groups=self.groups_,
            present=np.column_stack([masks[group.modality] for group in self.groups_]),
            subjects=subjects,
            people=np.arange(len(subjects)),
        )

    def _fitted(self, modality: str) -> FittedColumns:
        """Return what was fitted for a modality as operations on arrays; read from the pipeline once."""
        known = self.__dict__.setdefault("_read", {})
        if modality not in known:
            known[modality] = FittedColumns.of(self.transformers_[modality], self.categories_[modality])
        return known[modality]

    def __getstate__(self) -> dict:
        """Return what is stored: the pipelines, from which the rest is read again."""
        return {name: value for name, value in self.__dict__.items() if name != "_read"}

    def scales(self, names: list[str]) -> pd.DataFrame:
        """Return how numeric columns became those of the design: pulled in to two bounds, then standardised.

        Parameters
        ----------
        names : list of str
            Columns ``<set>.<column>``; those that the design lacks are left out.

        Returns
        -------
        DataFrame with columns lower, upper, mean, scale
            Indexed by the names. The value in the design is ``(clip(x, lower, upper) - mean) / scale``.
        """
        rows = {}
        for pipeline in self.transformers_.values():
            bounds = pipeline["columns"].named_transformers_["numbers"]["winsorise"]
            for place, name in enumerate(_names(pipeline)):
                if name in names:
                    scaler = pipeline["scale"]
                    rows[name] = [bounds.lower_[name], bounds.upper_[name], scaler.mean_[place], scaler.scale_[place]]
        columns = ["lower", "upper", "mean", "scale"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=float)

    @staticmethod
    def _masks(tables: list[FeatureTable], subjects: pd.Index) -> Mapping[str, np.ndarray]:
        """Tell for each modality which subjects have it: a row in the table of any of its feature sets."""
        return {
            modality: np.any([subjects.isin(table.frame.index) for table in group], axis=0)
            for modality, group in _by_modality(tables).items()
        }


def _pipeline(columns: list[str], kept: Mapping[str, tuple[str, ...]], rare: int) -> Pipeline:
    numeric = [name for name in columns if name not in kept]
    parts = ColumnTransformer(
        [("numbers", _numbers(), numeric), ("categories", _categories(kept), list(kept))],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    return Pipeline([("columns", parts), ("redundant", DropRedundant(minimum=rare)), ("scale", StandardScaler())])


def _names(pipeline: Pipeline) -> list[str]:
    """Return the names of the columns that a fitted pipeline gives, as people read them."""
    prefix = "missingindicator_"
    return [
        f"{name.removeprefix(prefix)}=missing" if name.startswith(prefix) else name
        for name in pipeline[:-1].get_feature_names_out()
    ]


def _by_modality(tables: list[FeatureTable]) -> dict[str, list[FeatureTable]]:
    groups: dict[str, list[FeatureTable]] = {}
    for table in tables:
        groups.setdefault(table.modality, []).append(table)
    return groups


def _join(
    group: list[FeatureTable], subjects: pd.Index, histories: Mapping[tuple[str, str], HistoryReduction]
) -> tuple[pd.DataFrame, list[str]]:
    """Put the feature sets of one modality side by side for these subjects, columns named ``<set>.<column>``."""
    frames = [frame.add_prefix(f"{owner}.") for owner, frame in _frames(group, subjects, histories)]
    categorical = [f"{table.name}.{column}" for table in group for column in table.categorical]
    return pd.concat(frames, axis=1), categorical


def _frames(
    group: list[FeatureTable], subjects: pd.Index, histories: Mapping[tuple[str, str], HistoryReduction]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the columns of each feature set for these subjects, sparse histories reduced."""
    for table in group:
        yield table.name, table.frame if table.frame.index.equals(subjects) else table.frame.reindex(subjects)
        for name, sparse in table.sparse.items():
            yield table.name, histories[table.name, name].transform(sparse, subjects)
