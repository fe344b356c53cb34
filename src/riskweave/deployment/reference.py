"""What the Python pipeline predicts with the models of a bundle: what the module has to agree with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.deployment.order import Recorded
from riskweave.deployment.recalibrate import recalibrated
from riskweave.evaluation.recalibration import Recalibration
from riskweave.modalities.registry import find_modality
from riskweave.survival.preprocessing import FeatureTable
from riskweave.survival.sets import StoredSet
from riskweave.survival.stored_models import load_models

__all__ = ["reference_risks"]

BATCH = 256


def reference_risks(
    models: Path,
    *,
    sets: Sequence[StoredSet],
    recorded: Mapping[str, Recorded],
    subjects: pd.Index,
    times: Sequence[float],
    recalibration: Sequence[Recalibration] = (),
    double: bool = False,
) -> np.ndarray:
    """Predict subjects as new ones: encoders embed them by the mean of their networks, whoever was trained on.

    Parameters
    ----------
    models : Path
        ``models.zip``.
    sets : sequence of StoredSet
        Feature sets in the experiment's order; their stored embeddings, in which training rows are embedded by the
        network that did not see them, are not looked at.
    recorded : mapping of feature set to Recorded
    subjects : Index of subject_id
    times : sequence of float
        Days.
    recalibration : sequence of Recalibration
        Of each cause; empty: the risks are the models' own.
    double : bool
        Run the networks in double precision: by so much the pipeline's own single precision rounds.

    Returns
    -------
    float64 array (n, causes, times)
        The mean over the models of all folds, recalibrated.
    """
    folds = load_models(models)["folds"]
    each = [
        _risks(content, _tables(sets, recorded, fold, subjects, double=double), subjects, times, double)
        for fold, content in folds.items()
    ]
    mean = np.mean(each, axis=0)
    return recalibrated(recalibration, mean) if recalibration else mean


def _tables(
    sets: Sequence[StoredSet], recorded: Mapping[str, Recorded], fold: int, subjects: pd.Index, *, double: bool
) -> list[FeatureTable]:
    made = []
    for stored in sets:
        frame = stored.table.loc[stored.table.index.intersection(subjects)]
        if stored.name in recorded:
            embedded = _embedded(recorded[stored.name], fold, subjects, double=double)
            frame = frame.join(embedded, how="outer")
        plain = replace(stored, embeddings=None, embedding_columns=[]).of_fold(fold)
        made.append(replace(plain, modality=_modality(stored, recorded), frame=frame))
    return made


def _modality(stored: StoredSet, recorded: Mapping[str, Recorded]) -> str:
    """Return the modality of a set, whose table has no column where recordings are encoded but not measured."""
    return recorded[stored.name].modality if stored.name in recorded else stored.columns[0].modality


def _embedded(files: Recorded, fold: int, subjects: pd.Index, *, double: bool) -> pd.DataFrame:
    """Return the embeddings of those subjects who have the modality, in double precision where asked for."""
    import torch

    from riskweave.survival.encoding.network import load_encoder, read_encoder

    inputs = find_modality(files.modality).open_inputs(files.inputs, files.index)
    encoder = load_encoder(files.weights, fold=fold)
    encoder = encoder.double() if double else encoder
    prepared = find_modality(files.modality).prepared_from(encoder.prepared, inputs)
    positions = np.flatnonzero(inputs.subjects.isin(subjects))
    rows, parts = prepared.inputs(positions), []
    with torch.no_grad():
        for start in range(0, len(positions), BATCH):
            batch = rows.batch(np.arange(start, min(start + BATCH, len(positions))))
            batch = tuple(each.double() if double and each.is_floating_point() else each for each in batch)
            parts.append(encoder(*batch).double().numpy())
    names = read_encoder(files.weights)["columns"]
    values = np.concatenate(parts) if parts else np.zeros((0, len(names)))
    return pd.DataFrame(values, index=inputs.subjects[positions], columns=names)


def _risks(
    content: Mapping[str, Any], tables: list[FeatureTable], subjects: pd.Index, times: Sequence[float], double: bool
) -> np.ndarray:
    design = content["preprocessing"].design(tables, subjects)
    fused = content["model"]
    network = getattr(fused.estimator, "network", None)
    if network is None or not double:
        return np.asarray(fused.predict(design, list(times)), dtype=np.float64)
    import torch

    with torch.no_grad():
        output = network.double()(torch.from_numpy(design.values)).numpy()
    return np.asarray(network[1].incidence(output, np.asarray(times, dtype=float)), dtype=np.float64)
