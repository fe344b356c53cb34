"""From a model block of the study and a matrix of inputs to risks."""

from collections.abc import Callable, Mapping

import numpy as np

from riskweave.clinical_scores.framingham import framingham, framingham_bmi
from riskweave.clinical_scores.intake import Scored
from riskweave.clinical_scores.pce import pce
from riskweave.clinical_scores.prevent import prevent
from riskweave.clinical_scores.score2 import score2, score2_by_age, score2_op
from riskweave.study.clinical_scores import WORDS, ClinicalScoreModel

__all__ = ["FUNCTIONS", "score_of"]

FUNCTIONS: Mapping[str, Callable[..., Scored]] = {
    "score2": score2,
    "score2_op": score2_op,
    "score2_by_age": score2_by_age,
    "pce": pce,
    "framingham": framingham,
    "framingham_bmi": framingham_bmi,
    "prevent": prevent,
}
"""The functions of the scores of a study, by name."""


def score_of(model: ClinicalScoreModel, x: np.ndarray, columns: list[str]) -> Scored:
    """Return the risks of a study's score.

    Parameters
    ----------
    model : ClinicalScoreModel
        Block of the study.
    x : ndarray of shape (n, inputs)
        Raw inputs, NaN where missing; words as their number in `WORDS`, others as any other number.
    columns : list of str
        Which inputs they are.
    """
    inputs = {name: x[:, place] for place, name in enumerate(columns)}
    for name, words in WORDS.items():
        if name in inputs:
            inputs[name] = _words(inputs[name], words)
    options: dict[str, object] = {}
    if model.region is not None:
        options["region"] = model.region
    if model.units.cholesterol is not None:
        options["cholesterol"] = model.units.cholesterol
    if model.score == "prevent":
        options |= {"outcome": model.outcome, "years": model.years, "variant": model.variant}
    return FUNCTIONS[model.score](**options, **inputs)


def _words(codes: np.ndarray, words: tuple[str, ...]) -> np.ndarray:
    found = np.full(len(codes), None, dtype=object)
    found[~np.isnan(codes)] = "other"
    for code, word in enumerate(words):
        found[codes == code] = word
    return found
