"""What a bundle asks of the health record: the inputs behind the columns of the feature tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from riskweave.cohort.codes import matches
from riskweave.deployment.people import owners, rounded, typical_value, usual_range, usual_share
from riskweave.deployment.recipe import Column, Input, Unit
from riskweave.deployment.units import known_units, ucum_of
from riskweave.errors import StudyError
from riskweave.modalities.base import Column as Described
from riskweave.modalities.ehr.aggregates import VALUED
from riskweave.study.deployment import DeployedInput
from riskweave.study.ehr import EhrFeatures, EventFeatures

__all__ = ["PER_YEAR", "Asked", "source_of"]

PER_YEAR = " per year"
OLDEST = 120.0
"""Highest age in years that is taken for one."""


@dataclass(frozen=True)
class _Source:
    """Which events of which block make a column.

    Attributes
    ----------
    stem : str
        Name of the group of codes.
    aggregate : str
    window : float
        Days; infinite: the whole history.
    codes : tuple of str
        Patterns; a whole code ends in ``$``.
    """

    block: EventFeatures
    stem: str
    aggregate: str
    window: float
    codes: tuple[str, ...]


def _suffixes(block: EventFeatures) -> list[tuple[str, str, float]]:
    """Return the ends of the names of a block's columns, with the aggregate and the window that they mean."""
    windows = tuple(block.windows) or (block.window,)
    return [
        (f":{name}" + ("" if window is None else f"@{window}d"), name, np.inf if window is None else float(window))
        for name in block.aggregates
        for window in windows
    ]


def source_of(name: str, blocks: Sequence[EventFeatures]) -> _Source:
    """Return what a column of events was made of; the names are unique, as the feature set was made."""
    for block in blocks:
        for suffix, aggregate, window in _suffixes(block):
            stem = name.removesuffix(suffix)
            if stem == name:
                continue
            if not block.by_code:
                if stem == (block.name or block.codes[0].removesuffix("$")):
                    return _Source(block, stem, aggregate, window, tuple(block.codes))
            elif matches(pd.Series([stem]), block.codes).iloc[0]:
                return _Source(block, stem, aggregate, window, (f"{stem}$",))
    raise ValueError(f"column {name!r} is of no block of its feature set")


def _told(values: pd.Series, whose: np.ndarray) -> dict[str, Any]:
    """Return what an input tells of the people's values."""
    return {
        "usual": usual_range(values, whose),
        "usual_share": usual_share(values, whose),
        "typical": typical_value(values, whose),
    }


class Asked:
    """Collects the inputs of several feature sets: one that several columns need is asked for once.

    Parameters
    ----------
    told : mapping of str to DeployedInput
        The study's ``deployment.inputs``.

    Attributes
    ----------
    inputs : list of Input
    """

    def __init__(self, told: Mapping[str, DeployedInput]):
        self.told = told
        self.inputs: list[Input] = []
        self._place: dict[tuple[str, ...], int] = {}
        # By the place of an input: how well its usual values are known.
        self._told_by: dict[int, int] = {}

    def columns(
        self,
        name: str,
        *,
        place: int,
        block: EhrFeatures,
        described: Sequence[Described],
        table: pd.DataFrame,
        kept: Mapping[str, Sequence[str]],
        people: pd.Series | None = None,
    ) -> list[Column]:
        """Return the columns of a feature set, and ask for what they are made of.

        Parameters
        ----------
        name : str
            Feature set.
        place : int
            Its place among the experiment's.
        block : EhrFeatures
        described : sequence of Column
            The columns of its table that the models need.
        table : DataFrame
            Rows of the people whose ranges are told, indexed by subject_id.
        kept : mapping of column ``<set>.<column>`` to categories
            What the models know; other values are never named.
        people : Series indexed by subject_id, optional
            Whose index time each subject is.

        Raises
        ------
        StudyError
            When the study tells a unit that is not the data's, or two blocks read the same codes in two units.
        """
        # A table of those who were measured holds nobody who lacks the set.
        made, everyone, whose = [], block.rows == "all", owners(table, people)
        for column in described:
            full, values = f"{name}.{column.name}", table[column.name]
            if column.name in block.static and column.kind == "categorical":
                source = self._category(column, values, kept.get(full, ()), everyone=everyone)
                made.append(Column(full, place, source, "static", categories=self.inputs[source].categories))
                continue
            told = _told(values, whose)
            if column.name in block.static:
                required = everyone and bool(values.notna().all())
                source = self._number(column, told, required=required)
                aggregate, window, limits = "static", np.inf, None
            else:
                found = source_of(column.name, block.events)
                source, aggregate, window = self._events(found, column, told), found.aggregate, found.window
                limits = found.block.range if aggregate in VALUED else None
            limits = limits or (-np.inf, np.inf)
            made.append(
                Column(
                    full,
                    place,
                    source,
                    aggregate,
                    window,
                    limits,
                    column.unit,
                    column.description,
                    usual=told["usual"],
                    usual_share=told["usual_share"],
                )
            )
        return made

    def _texts(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        given = self.told.get(name, DeployedInput())
        english = given.label.get("en", _readable(name))
        label = {"en": english, "de": given.label.get("de", english)}
        return label, dict(given.description)

    def _keep(self, key: tuple[str, ...], made: Input) -> int:
        self._place[key] = len(self.inputs)
        self.inputs.append(made)
        return self._place[key]

    def _require(self, place: int, required: bool) -> int:
        """Require an input that a further feature set needs."""
        self.inputs[place] = replace(self.inputs[place], required=self.inputs[place].required or required)
        return place

    def _category(self, column: Described, values: pd.Series, kept: Sequence[str], *, everyone: bool) -> int:
        key = ("static", column.name)
        required = everyone and bool(values.notna().all())
        if key in self._place:
            return self._require(self._place[key], required)
        label, description = self._texts(column.name)
        # A value that few people have is none that a model knows; whoever has one is "other".
        names = (*sorted(kept), "other") if not set(values.dropna().map(str)) <= set(kept) else tuple(sorted(kept))
        return self._keep(
            key,
            Input(column.name, "category", label, description, required=required, categories=names),
        )

    def _number(self, column: Described, told: Mapping[str, Any], *, required: bool) -> int:
        key = ("static", column.name)
        if key in self._place:
            return self._require(self._place[key], required)
        label, description = self._texts(column.name)
        unit = self._unit(column.name, column.unit or ("years" if column.name == "age" else ""))
        return self._keep(
            key,
            Input(
                column.name,
                "number",
                label,
                description,
                units=self._units(column.name, unit, {}),
                limits=self._limits(column.name, told["usual"], None),
                required=required,
                **told,
            ),
        )

    def _events(self, found: _Source, column: Described, told: Mapping[str, Any]) -> int:
        key = ("events", *found.codes)
        valued = found.aggregate in VALUED
        if key not in self._place:
            label, description = self._texts(found.stem)
            name = found.stem if all(found.stem != each.name for each in self.inputs) else f"{found.stem} (events)"
            self._keep(key, Input(name, "events", label, description, codes=found.codes, window=found.window))
        place = self._place[key]
        asked = replace(self.inputs[place], window=max(self.inputs[place].window, found.window))
        # The last value tells what one reading is like; a mean or an extreme will do where it is not asked for.
        level = {"last": 2, "mean": 1, "min": 1, "max": 1}.get(found.aggregate, 0)
        better = level > self._told_by.get(place, 0)
        # Of values without a unit a slope is "per year".
        own = f" {column.unit}".removesuffix(PER_YEAR).strip()
        unit = self._unit(found.stem, own) if valued else ""
        if valued and asked.values and asked.units[0].label != unit:  # noqa: PD011 - of an Input
            raise StudyError(
                f"feature_sets: {found.stem!r} is read in {asked.units[0].label!r} by one block of `events` and in "
                f"{unit!r} by another. A bundle asks for a reading once: give both blocks the same `unit`"
            )
        if valued and not asked.values:  # noqa: PD011 - of an Input
            asked = replace(asked, values=True, units=self._units(found.stem, unit, found.block.convert))
            asked = replace(asked, limits=self._limits(found.stem, (-np.inf, np.inf), found.block.range))
        if better:
            self._told_by[place] = level
            limits = self._limits(found.stem, told["usual"], found.block.range)
            asked = replace(asked, limits=limits, **told)
        self.inputs[place] = asked
        return place

    def _unit(self, name: str, found: str) -> str:
        """Return the unit of the data, or what the study says where they tell none.

        Raises
        ------
        StudyError
            When both tell one, and not the same: factors and limits beside it would be meant in the other.
        """
        told = self.told.get(name, DeployedInput()).unit
        if found and told and found != told:
            raise StudyError(
                f"deployment.inputs.{name}.unit: {told!r}, but the values that the model was fitted on are in "
                f"{found!r}. Leave `unit` out, and give `limits` and the factors of `units` for {found!r}"
            )
        return found or told or ""

    def _units(self, name: str, own: str, convert: Mapping[str, float]) -> tuple[Unit, ...]:
        """Return the model's own unit, those that the study names, and those that mean the same for any quantity."""
        given = self.told.get(name, DeployedInput())
        first = Unit(own, given.ucum if given.ucum is not None else ucum_of(own))
        further = {**{unit: factor for unit, factor in convert.items() if unit}, **given.units}
        made = [first, *(Unit(unit, ucum_of(unit), float(factor)) for unit, factor in further.items())]
        labels = {unit.label for unit in made}
        return (*made, *(unit for unit in known_units(own) if unit.label not in labels))

    def _limits(
        self, name: str, usual: tuple[float, float], plausible: tuple[float, float] | None
    ) -> tuple[float, float]:
        """Return the study's limits, else the plausible range, else what no slip of the decimal point passes.

        Without either, ten times the 99th percentile is too much, and below zero is impossible where the 1st is above.
        """
        given = self.told.get(name, DeployedInput()).limits
        if given is not None or plausible is not None:
            return given if given is not None else plausible
        if name == "age":
            return 0.0, OLDEST
        low, high = usual
        if not np.isfinite(high) or high <= 0 or low < 0:
            return -np.inf, np.inf
        return 0.0, rounded(10.0 * high)


def _readable(name: str) -> str:
    """Return a name as people read it: ``LAB//CREATININE`` is ``Creatinine`` where nothing else is told."""
    last = name.rsplit("//", 1)[-1].replace("_", " ")
    head = name.split("//", 1)[0]
    # Codes of diagnoses and drugs stay with their vocabulary: I10 alone says little.
    if "//" in name and head in {"LAB", "VITAL"}:
        return last if len(last) <= 4 else last.capitalize()
    return name.replace("//", " ") if "//" in name else name.replace("_", " ").capitalize()
