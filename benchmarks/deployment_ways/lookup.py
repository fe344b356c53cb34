"""A look-up table instead of the model: risks on a grid of its first inputs, and what is lost."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from riskweave.deployment.runtime.module import Module


class Grid:
    """The model as a function of some of its numbers; whatever else a patient has stays as it is.

    Parameters
    ----------
    module : Module
    """

    def __init__(self, module: Module):
        self.module = module
        self.inputs = [
            place
            for place, asked in enumerate(module.schema["inputs"])
            if asked["kind"] != "category" and None not in asked.get("usual", [None])
        ]
        self.last = module.schema["times"].index(module.schema["horizons"][-1])

    def bounds(self, place: int) -> tuple[float, float]:
        """Return the ends of an input's axis."""
        low, high = self.module.schema["inputs"][place]["usual"]
        return float(low), float(high)

    def set(self, place: int, value: float) -> None:
        """Give one number: of events, one reading a month before."""
        host = self.module.host
        host.call("rw_clear", place)
        if self.module.schema["inputs"][place]["kind"] == "number":
            host.call("rw_number", place, float(value), 0)
        else:
            host.call("rw_event", place, 30.0, float(value), 0)

    def risk(self, values: dict[int, float]) -> float:
        """Return the target's risk at the last horizon."""
        for place, value in values.items():
            self.set(place, value)
        if self.module.host.call("rw_predict"):
            raise RuntimeError("the module refuses a point of the grid")
        return self.module.host.read(self.module.host.call("rw_risks"), self.last + 1)[-1]

    def typical(self) -> None:
        """Make the patient one with typical values, the first of each category, and no recordings."""
        values = {
            asked["name"]: asked["categories"][0]["name"] if asked["kind"] == "category" else asked["typical"]
            for asked in self.module.schema["inputs"]
            if asked["required"]
        }
        self.module.set_patient({"values": values, "events": []})
        for place in self.inputs:
            self.set(place, self.module.schema["inputs"][place]["typical"])

    def ranked(self) -> list[int]:
        """Return the inputs by what they change in the risk of the typical patient, the most first."""
        spread = {}
        for place in self.inputs:
            self.typical()
            ends = [self.risk({place: value}) for value in self.bounds(place)]
            spread[place] = abs(ends[1] - ends[0])
        return sorted(self.inputs, key=lambda place: -spread[place])


def tabulated(module: Module, patients: Sequence[dict[str, Any]], risks: Sequence[float], *, points: int, most: int):
    """Yield, for tables of 1 to `most` inputs, their size and errors.

    Parameters
    ----------
    module : Module
    patients : sequence of dict
        With values for all of the inputs of the table, as ``{place: value}``.
    risks : sequence of float
        What the model says of them with everything else that it knows.
    points : int
        Of each axis.
    most : int

    Yields
    ------
    (inputs, cells, grid error, whole error)
        Errors are the medians of the absolute difference at the last horizon: to the model when it knows no more than
        the table, and to the model when it knows all.
    """
    grid = Grid(module)
    order = grid.ranked()
    causes, times = len(module.schema["causes"]), len(module.schema["times"])
    for count in range(1, most + 1):
        chosen = order[:count]
        axes = [np.linspace(*grid.bounds(place), points) for place in chosen]
        grid.typical()
        table = np.empty((points,) * count)
        for where in itertools.product(range(points), repeat=count):
            values = {place: axis[i] for place, axis, i in zip(chosen, axes, where, strict=True)}
            table[where] = grid.risk(values)
        near, far = [], []
        for patient, whole in zip(patients, risks, strict=True):
            own = {place: patient[place] for place in chosen}
            found = interpolated(table, axes, list(own.values()))
            grid.typical()
            near.append(abs(found - grid.risk(own)))
            far.append(abs(found - whole))
        names = [module.schema["inputs"][place]["name"] for place in chosen]
        yield names, points**count * causes * times, float(np.median(near)), float(np.median(far))


def interpolated(table: np.ndarray, axes: Sequence[np.ndarray], values: Sequence[float]) -> float:
    """Return the multilinear interpolation of a table at a point; outside, at its edge."""
    for axis, value in zip(axes, values, strict=True):
        place = np.clip(np.searchsorted(axis, value) - 1, 0, len(axis) - 2)
        share = np.clip((value - axis[place]) / (axis[place + 1] - axis[place]), 0.0, 1.0)
        table = (1.0 - share) * table[place] + share * table[place + 1]
    return float(table)
