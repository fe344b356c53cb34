"""What a deployed model says about a patient."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from riskweave.deployment.runtime.given import Problem

__all__ = ["Result"]


class Result(NamedTuple):
    """A prediction.

    Attributes
    ----------
    risks : tuple (causes) of tuples (times) of float
        Cumulative incidences; the target is the first cause.
    members : tuple (members) of the same
        Of each member of an ensemble.
    columns : tuple (columns) of float
        What the model made of the patient; NaN where it is missing. Categories by their place.
    imputed : tuple of str
        Columns that are missing although their modality is there: the model took the training rows' median.
    absent : tuple of str
        Modalities that the patient lacks.
    warnings : tuple of Problem
    contributions : tuple of (str, float)
        By input or modality: the target's risk at the last horizon, minus what it is without it.
    schema : mapping
    sha256 : str
        Of the module.
    """

    risks: tuple[tuple[float, ...], ...]
    members: tuple[tuple[tuple[float, ...], ...], ...]
    columns: tuple[float, ...]
    imputed: tuple[str, ...]
    absent: tuple[str, ...]
    warnings: tuple[Problem, ...]
    contributions: tuple[tuple[str, float], ...]
    schema: Mapping[str, Any]
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it, the same for the command line, the server and the page."""
        times, causes = self.schema["times"], [each["name"] for each in self.schema["causes"]]
        horizons = [(horizon, times.index(horizon)) for horizon in self.schema["horizons"]]
        return {
            "model": {
                **{key: self.schema[key] for key in ("study", "endpoint", "experiment")},
                "fingerprint": self.sha256[:12],
            },
            "risks": [
                {"cause": cause, "horizon_days": horizon, "risk": self.risks[k][place]}
                for k, cause in enumerate(causes)
                for horizon, place in horizons
            ],
            "curve": {"days": list(times), "risks": {cause: list(self.risks[k]) for k, cause in enumerate(causes)}},
            "warnings": [{"input": each.input, "message": each.message} for each in self.warnings],
            "imputed": list(self.imputed),
            "absent": list(self.absent),
            "contributions": [{"input": name, "change": change} for name, change in self.contributions],
            "research_use_only": True,
        }
