"""What a bundle is made of, as a rule hands it over: the parts of the study that it depends on, and no others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import TypeAdapter

from riskweave.cohort.tables import OUTCOMES, SUBJECTS, read_table
from riskweave.study.cohort import Endpoint
from riskweave.study.deployment import Deployment
from riskweave.study.features import FeatureSet

if TYPE_CHECKING:
    from riskweave.evaluation.recalibration import Recalibration

__all__ = ["Fitted", "Order", "Recorded"]


@dataclass(frozen=True)
class Order:
    """An experiment that becomes a bundle.

    Attributes
    ----------
    study : str
    endpoint, experiment : str
        Names in the study.
    outcome : Endpoint
        Block of the endpoint.
    feature_sets : mapping of str to FeatureSet
        Blocks of those that the experiment uses, in its order.
    deployment : Deployment
        Block of the study. What is only told (`riskweave.deployment.texts`) may be left out.
    """

    study: str
    endpoint: str
    experiment: str
    outcome: Endpoint
    feature_sets: Mapping[str, FeatureSet]
    deployment: Deployment

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Order":
        """Return the order of plain values, checked."""
        return cls(
            outcome=TypeAdapter(Endpoint).validate_python(values["outcome"]),
            feature_sets=TypeAdapter(dict[str, FeatureSet]).validate_python(values["feature_sets"]),
            deployment=Deployment.model_validate(values["deployment"]),
            **{key: values[key] for key in ("study", "endpoint", "experiment")},
        )


@dataclass(frozen=True)
class Recorded:
    """The files of a feature set with an encoder.

    Attributes
    ----------
    modality : str
    weights : Path
        ``encoder.zip``.
    inputs, index : Path
        What reading the feature set wrote.
    """

    modality: str
    weights: Path
    inputs: Path
    index: Path


@dataclass(frozen=True)
class Fitted:
    """What the training of an experiment stored.

    Attributes
    ----------
    models : Path
        ``models.zip``.
    tables : mapping of feature set to Path
        In the experiment's order.
    recorded : mapping of feature set to Recorded
        Those with an encoder.
    outcomes : Path
        Of the endpoint: who was at risk.
    people : Path
        Table of the subjects: whose index time each is.
    predictions : Path or None
        Out-of-fold predictions for everybody, from which a recalibration is learnt; None: there is none.
    """

    models: Path
    tables: Mapping[str, Path]
    recorded: Mapping[str, Recorded]
    outcomes: Path
    people: Path
    predictions: Path | None = None

    @classmethod
    def of(
        cls,
        order: Order,
        *,
        models: str,
        tables: Sequence[str],
        recorded: Sequence[str],
        outcomes: str,
        people: str,
        predictions: Sequence[str] = (),
    ) -> "Fitted":
        """Return the files of an order.

        A table for each feature set, three files for each that has an encoder, and at most one table of predictions.
        """
        encoded = [name for name, block in order.feature_sets.items() if getattr(block, "encoder", None) is not None]
        files = {
            name: Recorded(order.feature_sets[name].modality, *map(Path, recorded[3 * place : 3 * place + 3]))
            for place, name in enumerate(encoded)
        }
        named = dict(zip(order.feature_sets, map(Path, tables), strict=True))
        return cls(Path(models), named, files, Path(outcomes), Path(people), *map(Path, predictions))

    def recalibrations(self, times: Sequence[float]) -> "list[Recalibration]":
        """Return how each cause is recalibrated at these times; nothing where the model is deployed as it is."""
        from riskweave.deployment.recalibrate import learn_from_predictions

        return [] if self.predictions is None else learn_from_predictions(self.predictions, self.outcomes, times)

    def same_day(self) -> bool:
        """Return whether what is dated to the day of an index time counts: not where index times have hours."""
        times = read_table(self.people, SUBJECTS)["index_time"]
        return bool((times == times.dt.normalize()).all())

    def subjects(self) -> pd.Index:
        """Return who was at risk, sorted."""
        return pd.Index(sorted(read_table(self.outcomes, OUTCOMES)["subject_id"]), dtype=object)
