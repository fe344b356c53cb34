"""People whose risk is known to follow from their columns, and models that only predict, for the tests of explain."""

import numpy as np

from riskweave.explain.rows import Explained, Observed, Rows

__all__ = ["HORIZONS", "linear", "observed_of", "one_fold", "rows_from", "two_folds"]

HORIZONS = [500, 1000]


def rows_from(lacking=(), **sets) -> Rows:
    """Rows of DataFrames by feature set; each set is a modality; text is categories; `lacking` maps set to rows."""
    tables, present, categorical = {}, {}, set()
    for name, frame in sets.items():
        has = np.ones(len(frame), dtype=bool)
        if name in dict(lacking):
            has[dict(lacking)[name]] = False
        tables[name] = frame[has].reindex(range(len(frame)))
        present[name] = has
        categorical |= {(name, column) for column in frame.columns if frame[column].dtype == object}
    return Rows(tables, present, {name: name for name in sets}, frozenset(categorical))


def linear(weights, rates=(0.3, 0.6)):
    """A model with proportional hazards: the sum of weights times values, missing as 0."""

    def predict(rows: Rows) -> np.ndarray:
        score = np.zeros(len(rows))
        for (name, column), weight in weights.items():
            score += weight * rows.tables[name][column].fillna(0.0).to_numpy(float)
        return -np.expm1(-np.exp(score)[:, None] * np.array(rates))

    return predict


def observed_of(score: np.ndarray, rng: np.random.Generator, people=None) -> Observed:
    """Event times with hazards exp(score), a third of them censored."""
    time = rng.exponential(1200 * np.exp(-score))
    censored = rng.uniform(200, 3000, len(score))
    people = np.arange(len(score)) if people is None else people
    return Observed(np.ceil(np.minimum(time, censored)), (time <= censored).astype(np.int64), people)


def one_fold(predict, rows: Rows, background=None) -> list[Explained]:
    return [Explained(0, predict, rows, np.arange(len(rows)), background)]


def two_folds(predicts, rows: Rows) -> list[Explained]:
    """Even rows tested by the first model, odd ones by the second."""
    places = [np.arange(fold, len(rows), 2) for fold in range(2)]
    return [Explained(fold, predicts[fold], rows.take(places[fold]), places[fold]) for fold in range(2)]
