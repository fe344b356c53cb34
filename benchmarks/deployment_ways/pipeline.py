"""The Python pipeline for one raw patient, with stored models: what a hospital would otherwise put on a server."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from pydantic import TypeAdapter

from riskweave.modalities.ehr.aggregates import Events, aggregate
from riskweave.modalities.registry import find_modality
from riskweave.study.features import FeatureSet
from riskweave.survival.encoding.network import load_encoder, read_encoder
from riskweave.survival.preprocessing import FeatureTable
from riskweave.survival.stored_models import load_models

ABSENT = {"count": 0.0, "ever": 0.0}


class Pipeline:
    """The models of a bundle as their training stored them.

    Parameters
    ----------
    results : Path
        ``results/<study>``.
    schema : mapping
        Of the bundle: which column is made of which codes. A server would have a table of its own for that.
    """

    def __init__(self, results: Path, schema: Mapping[str, Any]):
        torch.set_num_threads(1)
        endpoint, experiment, refit = schema["endpoint"], schema["experiment"], schema["made_by"] == "refit"
        study = yaml.safe_load((results / "study.yaml").read_text(encoding="utf-8"))
        folder = results / ("deployment" if refit else "experiments") / endpoint / experiment
        stored = load_models(folder / "models.zip")
        self.schema, self.times, self.folds = schema, schema["times"], stored["folds"]
        named = {name: study["feature_sets"][name] for name in stored["feature_sets"]}
        self.blocks = TypeAdapter(dict[str, FeatureSet]).validate_python(named)
        self.columns = stored["feature_sets"]
        self.embedded: dict[str, list[str]] = {}
        self.encoders: dict[tuple[str, int], torch.nn.Module] = {}
        for name, block in self.blocks.items():
            if getattr(block, "encoder", None) is None:
                continue
            refitted = results / "deployment" / endpoint / "encoders" / name
            weights = (refitted if refit else results / "features" / name / endpoint) / "encoder.zip"
            self.embedded[name] = read_encoder(weights)["columns"]
            self.encoders |= {(name, fold): load_encoder(weights, fold=fold) for fold in self.folds}

    @classmethod
    def open(cls, bundle: Path) -> "Pipeline":
        """Return the pipeline behind a bundle in ``results/<study>/bundle/<endpoint>/<experiment>``."""
        return cls(bundle.parents[2], json.loads((bundle / "schema.json").read_text(encoding="utf-8")))

    def networks(self) -> dict[str, tuple[torch.nn.Module, tuple[int, ...]]]:
        """Return all networks of the models and the shape of their input."""
        found: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {}
        for place, (fold, content) in enumerate(self.folds.items()):
            network = getattr(content["model"].estimator, "network", None)
            if network is not None:
                found[f"network_{place}"] = network.eval(), (1, len(content["preprocessing"].columns_))
            for number, name in enumerate(name for name, of in self.encoders if of == fold):
                encoder = self.encoders[name, fold]
                if encoder.signal:
                    found[f"encoder_{place}_{number}"] = encoder, (1, *encoder.prepared["shape"])
        return found

    def predict(self, patient: Mapping[str, Any], ecg: Path | None, image: Path | None) -> np.ndarray:
        """Return the risks (causes, times) of one raw patient."""
        read = {
            name: find_modality(block.modality).one_patient([path], block)
            for name, block in self.blocks.items()
            if (path := {"ecg": ecg, "image": image}.get(block.modality)) is not None
        }
        record = self._record(patient)
        with torch.no_grad():
            return np.mean([self._risks(fold, record, read) for fold in self.folds], axis=0)

    def _risks(self, fold: int, record: Mapping[str, Any], read: Mapping[str, Any]) -> np.ndarray:
        tables = [self._table(name, fold, record, read) for name in self.blocks]
        content = self.folds[fold]
        design = content["preprocessing"].design(tables, pd.Index(["patient"], dtype=object))
        return np.asarray(content["model"].predict(design, list(self.times)), dtype=np.float64)[0]

    def _table(self, name: str, fold: int, record: Mapping[str, Any], read: Mapping[str, Any]) -> FeatureTable:
        block = self.blocks[name]
        if block.modality == "ehr":
            # The bundle tells nothing of columns that change no risk: any value will do for them.
            absent = {column.name: ABSENT.get(column.name.rpartition(":")[2], np.nan) for column in self.columns[name]}
            values = {key: record.get(f"{name}.{key}", value) for key, value in absent.items()}
            there = block.rows == "all" or any(
                pd.notna(value) and value != ABSENT.get(key.rpartition(":")[2], np.nan) for key, value in values.items()
            )
        else:
            values, there = dict(read[name].measurements) if name in read else {}, name in read
            if there and name in self.embedded:
                encoder = self.encoders[name, fold]
                prepared = find_modality(block.modality).prepared_from(encoder.prepared, read[name].stored)
                found = encoder(*prepared.inputs(np.arange(1)).batch(np.arange(1)))[0].numpy()
                values |= dict(zip(self.embedded[name], found.tolist(), strict=True))
        names = [column.name for column in self.columns[name]]
        categorical = tuple(column.name for column in self.columns[name] if column.kind == "categorical")
        # All numbers as one block: pandas takes longer over a hundred single columns than networks over a patient.
        numeric = [column for column in names if column not in categorical]
        numbers = np.array(
            [[values[column] for column in numeric]] if there else np.zeros((0, len(numeric))), dtype=float
        )
        frame = pd.DataFrame(numbers, index=["patient"] if there else [], columns=numeric)
        for column in categorical:
            frame[column] = [values[column]] if there else []
        return FeatureTable(name, block.modality, frame, categorical)

    def _record(self, patient: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns of the health record: values as they are given, events by the pipeline's aggregates."""
        made: dict[str, Any] = {}
        events = patient.get("events", [])
        for column in self.schema["columns"]:
            if column["input"] is None:
                continue
            asked = self.schema["inputs"][column["input"]]
            if asked["kind"] != "events":
                made[column["name"]] = patient["values"].get(asked["name"])
                continue
            chosen = [each for each in events if any(_counts(code, each["code"]) for code in asked["codes"])]
            window = column["name"].rpartition("@")[2].removesuffix("d")
            if window.isdigit():
                chosen = [each for each in chosen if each["days_before"] < int(window)]
            made[column["name"]] = _aggregated(chosen, column["made"])
        return made


def _counts(pattern: str, code: str) -> bool:
    return code == pattern[:-1] if pattern.endswith("$") else code.startswith(pattern)


def _aggregated(events: list[dict[str, Any]], name: str) -> float:
    if not events:
        return ABSENT.get(name, np.nan)
    if name == "ever":
        return 1.0
    ordered = sorted(events, key=lambda each: -each["days_before"])
    days = np.array([each["days_before"] for each in ordered], dtype=float)
    values = np.array([each.get("value", np.nan) for each in ordered], dtype=float)
    return float(aggregate(Events(np.zeros(len(days), dtype=np.int64), days, values), (name,), 1)[0, 0])
