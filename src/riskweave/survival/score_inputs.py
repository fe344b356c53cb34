"""The inputs of a clinical score: raw columns of the feature tables, in the score's coding, with nothing filled in."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from riskweave.clinical_scores.compute import score_of
from riskweave.errors import DataError, nearest
from riskweave.study.clinical_scores import FLAGS, SCORES, WORDS, ClinicalScoreModel
from riskweave.survival.design import Design, Group
from riskweave.survival.preprocessing import FeatureTable

__all__ = ["ScoreInputs"]

_KNOWN: Mapping[str, Mapping[str, str | int]] = {
    "sex": {"male": "male", "m": "male", "female": "female", "f": "female"},
    "race": {"black": "black", "white": "white"},
    **{name: {"1": 1, "0": 0, "yes": 1, "no": 0, "true": 1, "false": 0} for name in FLAGS},
}
"""What values mean without being told, in lower case."""

_OTHER = -1.0
"""Code of a word that no score knows: its subject is refused."""


class ScoreInputs:
    """Takes the place of the design matrix for a clinical score.

    The design has one column for each input that is found: numbers as they are, yes and no as 1 and 0, words by their
    number in `riskweave.study.clinical_scores.WORDS`; NaN for what is missing. Nothing is learnt from any row. Subjects
    whom the score refuses count as having no modality: their predictions rest on none.

    Parameters
    ----------
    model : ClinicalScoreModel
        Block of the study.

    Attributes
    ----------
    columns_ : list of str
        Names of the inputs.
    places_ : dict of str to (str, str)
        Input to the feature set and the column that hold it.
    """

    def __init__(self, model: ClinicalScoreModel):
        self.model = model

    def fit(
        self,
        tables: list[FeatureTable],
        subjects: pd.Index,  # noqa: ARG002 - learns nothing
        people: pd.Series | None = None,  # noqa: ARG002
    ) -> "ScoreInputs":
        """Find the columns.

        Raises
        ------
        DataError
            When a feature table lacks one, or two tables have it.
        """
        names = [*self.model.needs(), *SCORES[self.model.score].optional]
        found = {name: self._find(name, tables) for name in names}
        self.places_ = {name: place for name, place in found.items() if place is not None}
        self.columns_ = list(self.places_)
        modality_of = {table.name: table.modality for table in tables}
        held = [modality_of[place[0]] for place in self.places_.values()]
        self.groups_ = tuple(
            Group(modality, tuple(i for i, other in enumerate(held) if other == modality), None)
            for modality in dict.fromkeys(table.modality for table in tables)
        )
        return self

    def design(self, tables: list[FeatureTable], subjects: pd.Index) -> Design:
        """Return the inputs of these subjects.

        Raises
        ------
        DataError
            When a column holds values that nobody has said the meaning of.
        """
        by_name = {table.name: table for table in tables}
        columns = [
            self._coded(name, by_name[table].frame[column].reindex(subjects), f"feature set {table}, column {column}")
            for name, (table, column) in self.places_.items()
        ]
        values = np.column_stack(columns)
        scored = ~score_of(self.model, values, self.columns_).refused
        has = [
            np.any([subjects.isin(table.frame.index) for table in tables if table.modality == group.modality], axis=0)
            for group in self.groups_
        ]
        return Design(
            values=values,
            columns=list(self.columns_),
            groups=self.groups_,
            present=np.column_stack(has) & scored[:, None],
            subjects=subjects,
            people=np.arange(len(subjects)),
        )

    def _find(self, name: str, tables: list[FeatureTable]) -> tuple[str, str] | None:
        candidates = self.model.candidates(name)
        for wanted in candidates:
            places = [(table.name, wanted) for table in tables if wanted in table.frame.columns]
            places = places or [
                (table.name, column)
                for table in tables
                for column in table.frame.columns
                if f"{table.name}.{column}" == wanted
            ]
            if len(places) > 1:
                raise DataError(
                    f"clinical score {self.model.score}, input {name}",
                    f"column {wanted!r} is in the feature sets {', '.join(table for table, _ in places)}",
                    f"Say which under `inputs`, as {places[0][0]}.{wanted}",
                )
            if places:
                return places[0]
        if name not in self.model.needs() and name not in self.model.inputs:
            return None
        columns = [str(column) for table in tables for column in table.frame.columns]
        raise DataError(
            f"clinical score {self.model.score}, input {name}",
            f"no feature set of the experiment has the column {' or '.join(map(repr, candidates))}."
            f"{nearest(candidates[0], columns)}",
            f"Name it under `inputs` of the model. Columns: {', '.join(columns[:40])}",
        )

    def _coded(self, name: str, column: pd.Series, where: str) -> np.ndarray:
        """Return a column as floats, NaN where it is missing."""
        if name not in _KNOWN:
            if not pd.api.types.is_numeric_dtype(column):
                raise DataError(where, f"{name} has to be a number, and this column holds text", "Name another column")
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        meant = {key.lower(): word for key, word in {**_KNOWN[name], **self.model.coding.get(name, {})}.items()}
        present = column.notna().to_numpy()
        texts = column[present].map(_text)
        strange = ~texts.isin(list(meant))
        if name != "race" and strange.any():
            allowed = WORDS.get(name, ("yes", "no", "1", "0"))
            raise DataError(
                where,
                f"{int(strange.sum())} subjects have values of {name} whose meaning is not known "
                f"({texts[strange].nunique()} different ones; known are {', '.join(meant)})",
                f"Say what each means under `coding.{name}` of the model ({', '.join(allowed)}, null for unknown)",
            )
        words = WORDS.get(name)
        codes = {text: _code(word, words) for text, word in meant.items()}
        coded = np.full(len(column), np.nan)
        coded[present] = texts.map(lambda text: codes.get(text, _OTHER)).to_numpy(dtype=np.float64)
        return coded


def _text(value: object) -> str:
    """Return a value as it is named in a study: 1.0 is 1."""
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value).strip().lower()


def _code(word: str | int | None, words: tuple[str, ...] | None) -> float:
    if word is None:
        return np.nan
    return float(word) if words is None else float(words.index(word))
