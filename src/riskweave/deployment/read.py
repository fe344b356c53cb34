"""The recipe of an experiment, read from what its training stored."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from riskweave.deployment.inputs import Asked
from riskweave.deployment.order import Order
from riskweave.deployment.people import owners, rows_of_people, usual_range, usual_share
from riskweave.deployment.read_model import read_model
from riskweave.deployment.recipe import Column, Encoder, FeatureSet, Member, Recipe, Term
from riskweave.errors import DataError
from riskweave.modalities.registry import find_modality
from riskweave.survival.arrays import MISSING, OTHER
from riskweave.survival.preprocessing import DesignMatrix
from riskweave.survival.results import MODELS_FORMAT
from riskweave.survival.sets import StoredSet
from riskweave.survival.stored_models import load_models

__all__ = ["read_recipe"]

_INDICATOR = "missingindicator_"


def read_recipe(
    order: Order,
    *,
    models: Path,
    sets: Sequence[StoredSet],
    encoders: Mapping[str, Path],
    subjects: pd.Index,
    people: pd.Series | None = None,
) -> Recipe:
    """Return the recipe of an experiment whose models are stored.

    Parameters
    ----------
    order : Order
    models : Path
        ``models.zip``.
    sets : sequence of StoredSet
        The feature sets, in the experiment's order; embeddings are not looked at.
    encoders : mapping of feature set to Path
        ``encoder.zip`` of those that have one.
    subjects : Index of subject_id
        Those whose usual values are told, at risk.
    people : Series indexed by subject_id, optional
        Whose index time each subject is: what is told is of ten people. Without it each subject is a person of its own.

    Raises
    ------
    DataError
        When the models are of another format or experiment, or of a kind that cannot be deployed.
    StudyError
        When the study contradicts itself or the data in what is asked.
    """
    stored = load_models(models)
    names, blocks = list(order.feature_sets), order.feature_sets
    if stored.get("format") != MODELS_FORMAT or list(stored["experiment"]["feature_sets"]) != names:
        raise DataError(str(models), "it holds another experiment or format", "Train the experiment again")
    modalities = tuple(dict.fromkeys(block.modality for block in blocks.values()))
    preprocessings = [fold["preprocessing"] for fold in stored["folds"].values()]
    people = None if people is None else people.loc[subjects]
    inputs, columns = _columns(order, sets, preprocessings, subjects, people)
    places = {column.name: place for place, column in enumerate(columns)}
    members = tuple(
        _member(
            content,
            fold,
            sets=sets,
            encoders=encoders,
            columns=columns,
            places=places,
            modalities=modalities,
            sets_of={name: block.modality for name, block in blocks.items()},
            times=stored["times"],
            fewest=rows_of_people(people),
        )
        for fold, content in stored["folds"].items()
    )
    by_modality = {block.modality: block for block in blocks.values()}
    causes = (order.endpoint, *(f"competing_{k}" for k in range(1, stored["causes"])))
    return Recipe(
        study=order.study,
        endpoint=order.endpoint,
        experiment=order.experiment,
        causes=causes,
        times=tuple(float(time) for time in stored["times"]),
        horizons=tuple(float(time) for time in sorted(order.outcome.horizons)),
        inputs=tuple(inputs),
        columns=tuple(columns),
        feature_sets=tuple(FeatureSet(name, blocks[name].modality, _presence(blocks[name])) for name in names),
        modalities=modalities,
        members=members,
        ecg=by_modality.get("ecg"),
        image=by_modality.get("image"),
    )


def _presence(block: Any) -> str:
    if block.modality == "ehr":
        return "always" if block.rows == "all" else "measured"
    return block.modality


def _columns(
    order: Order,
    sets: Sequence[StoredSet],
    preprocessings: Sequence[DesignMatrix],
    subjects: pd.Index,
    people: pd.Series | None,
) -> tuple[list[Any], list[Column]]:
    """Return what is asked for and the columns of the feature tables: the record's first, then ECG, then image.

    Of the record nothing is asked that changes no risk: columns that the preprocessing dropped in every fold.
    """
    asked, record, measured = Asked(order.deployment.inputs), [], {"ecg": [], "image": []}
    kept: dict[str, set[str]] = {}
    for preprocessing in preprocessings:
        for of_modality in preprocessing.categories_.values():
            for column, names in of_modality.items():
                kept.setdefault(column, set()).update(set(names) - {MISSING, OTHER})
    needed, told_apart = _needed(preprocessings), _told_apart(order, preprocessings)
    for place, stored in enumerate(sets):
        block, table = order.feature_sets[stored.name], stored.table.loc[stored.table.index.intersection(subjects)]
        if block.modality == "ehr":
            described = [
                column
                for column in stored.table_columns
                if stored.name in told_apart or f"{stored.name}.{column.name}" in needed
            ]
            record += asked.columns(
                stored.name, place=place, block=block, described=described, table=table, kept=kept, people=people
            )
            continue
        whose = owners(table, people)
        places = {column.name: number for number, column in enumerate(_all_measurements(block))}
        measured[block.modality] += [
            Column(
                f"{stored.name}.{column.name}",
                place,
                places[column.name],
                block.modality,
                unit=column.unit,
                description=column.description,
                usual=usual_range(table[column.name], whose),
                usual_share=usual_share(table[column.name], whose),
            )
            for column in stored.table_columns
        ]
    return asked.inputs, [*record, *measured["ecg"], *measured["image"]]


def _needed(preprocessings: Sequence[DesignMatrix]) -> set[str]:
    """Return the columns ``<set>.<column>`` of which some design has a column."""
    return {
        column
        for preprocessing in preprocessings
        for modality in preprocessing.transformers_
        for _, column, _ in _designed(preprocessing, modality)
    }


def _told_apart(order: Order, preprocessings: Sequence[DesignMatrix]) -> set[str]:
    """Return the sets of the health record of which each column counts, as who has none of them lacks the record.

    So it is of measured sets, unless another set of the modality is everybody's, or no design looks at the modality.
    """
    record = {name: block for name, block in order.feature_sets.items() if block.modality == "ehr"}
    looked_at = any("ehr" in each.transformers_ or "ehr" in each.masks_ for each in preprocessings)
    everybodys = any(block.rows == "all" for block in record.values())
    return set(record) if looked_at and not everybodys else set()


def _designed(preprocessing: DesignMatrix, modality: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield kind (of `Term`), column and category of each column of a modality's design, in its order."""
    kept, pipeline = preprocessing.categories_[modality], preprocessing.transformers_[modality]
    of_category = {f"{column}={name}": (column, name) for column in kept for name in (*kept[column], OTHER)}
    for name in pipeline["redundant"].get_feature_names_out():
        if name.startswith(_INDICATOR):
            yield "missing", name.removeprefix(_INDICATOR), None
        elif name in of_category:
            yield "category", *of_category[name]
        else:
            yield "number", name, None


def _all_measurements(block: Any) -> list[Any]:
    """Return everything that a modality measures, whatever the block asks for, in the order of the C library."""
    wanted = {"measurements": True}
    if hasattr(block, "local_measurements"):
        wanted["local_measurements"] = True
    return find_modality(block.modality).columns(block.model_copy(update=wanted))


def _member(
    content: Mapping[str, Any],
    fold: int,
    *,
    sets: Sequence[StoredSet],
    encoders: Mapping[str, Path],
    columns: Sequence[Column],
    places: Mapping[str, int],
    modalities: Sequence[str],
    sets_of: Mapping[str, str],
    times: Sequence[float],
    fewest: int,
) -> Member:
    """Return one fold's preprocessing, encoders and model.

    `sets_of` is the modality of each feature set, `fewest` how many rows are never those of fewer than ten people.
    """
    preprocessing, embedded, found = content["preprocessing"], {}, []
    for stored in sets:
        if stored.name not in encoders:
            continue
        from riskweave.survival.encoding.network import load_encoder, read_encoder

        first, names = len(embedded), read_encoder(encoders[stored.name])["columns"]
        embedded |= {f"{stored.name}.{name}": -1 - (first + place) for place, name in enumerate(names)}
        module = load_encoder(encoders[stored.name], fold=fold)
        modality = sets_of[stored.name]
        if module.signal:
            found.append(Encoder(modality, modalities.index(modality), first, len(names), module))
    terms = _terms(preprocessing, {**places, **embedded}, columns, modalities)
    masks = tuple(modalities.index(modality) for modality in preprocessing.masks_)
    model = read_model(content["model"].estimator, columns=len(terms) + len(masks), times=times, fewest=fewest)
    return Member(terms, masks, len(embedded), tuple(found), model)


def _terms(
    preprocessing: DesignMatrix, places: Mapping[str, int], columns: Sequence[Column], modalities: Sequence[str]
) -> tuple[Term, ...]:
    """Return the columns of the design, less the masks, in its order."""
    made = []
    for group in preprocessing.groups_:
        pipeline = preprocessing.transformers_.get(group.modality)
        if pipeline is None:
            continue
        parts, scaler = pipeline["columns"], pipeline["scale"]
        numbers, kept = parts.named_transformers_["numbers"], preprocessing.categories_[group.modality]
        # Without a number among the columns this part is not fitted.
        fitted = bool(parts.transformers_[0][2])
        bounds, imputer = numbers["winsorise"], numbers["impute"]
        medians = dict(zip(imputer.feature_names_in_, imputer.statistics_, strict=True)) if fitted else {}
        for place, (kind, name, category) in enumerate(_designed(preprocessing, group.modality)):
            shared = {
                "modality": modalities.index(group.modality),
                "column": places[name],
                "mean": float(scaler.mean_[place]),
                "scale": float(scaler.scale_[place]),
            }
            if kind == "category":
                shared["categories"] = _counted(columns[places[name]].categories, category, kept[name])
            elif kind == "number":
                bound = {"lower": float(bounds.lower_[name]), "upper": float(bounds.upper_[name])}
                shared |= {**bound, "fill": float(medians[name])}
            made.append(Term(kind, **shared))
    return tuple(made)


def _counted(listed: Sequence[str], category: str, kept: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the categories that one column of the design stands for; -1 is a missing one."""
    names = [(-1, MISSING), *enumerate(listed)]
    if category != OTHER:
        return tuple(place for place, name in names if name == category)
    return tuple(place for place, name in names if name not in kept)
