"""One subject of a stored experiment: what its columns, and the places of its recordings, do to its risk.

Computed when asked for, from a notebook, and never written: these are figures about single people. Those of synthetic
cohorts may always be explained; a study of real people has to allow it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import FOLDS, OUTCOMES, read_table
from riskweave.errors import DataError
from riskweave.explain.attributions import shapley_attributions
from riskweave.explain.rows import Rows, Unit, units_of
from riskweave.explain.saliency import BASELINES, Saliency, saliency_of
from riskweave.explain.stored import StoredFold, read_models, rows_of
from riskweave.study.study import Study
from riskweave.survival.roles import Roles, roles_at_risk
from riskweave.survival.sets import check_encoders, read_set

__all__ = ["LEVELS", "attribute_subject", "check_allowed", "subject_saliency"]

LEVELS = ("column", "feature_set", "modality")

MEAN_OF = 500
"""Training recordings behind a mean picture."""


def check_allowed(study: Study) -> None:
    """Refuse to explain single subjects of a real cohort whose study does not allow it (DataError)."""
    if study.cohort.source == "synthetic" or study.evaluation.explain_subjects:
        return
    raise DataError(
        "evaluation.explain_subjects",
        "the people of this study are real, and its study file does not allow to explain single ones",
        "If the terms of the data allow it, set `explain_subjects: true` under `evaluation` and run snakemake once "
        "more (it only saves the study file again). Show no result outside the place that may see the data",
    )


@dataclass(frozen=True)
class _Asked:
    """The subject and the fold that tested it.

    Attributes
    ----------
    outcomes : DataFrame indexed by subject_id
    roles : mapping
        The division, at risk.
    fold : int
        Whose models never saw the subject.
    """

    outcomes: pd.DataFrame
    roles: Roles
    fold: int


def _asked(folder: Path, endpoint: str, subject_id: str) -> _Asked:
    outcomes = read_table(folder / "cohort/outcomes" / f"{endpoint}.parquet", OUTCOMES).set_index("subject_id")
    folds = folder / "cohort/folds.parquet"
    roles = roles_at_risk(folds=read_table(folds, FOLDS), outcomes=outcomes, where=folds.name)
    fold = next((fold for fold, subjects in roles.items() if subject_id in subjects["test"]), None)
    if fold is None:
        raise DataError(
            f"cohort/outcomes/{endpoint}.parquet, column subject_id",
            f"the subject asked for is not among the {len(outcomes)} at risk",
            "Ask for one of them; identifiers are text ('00123', not 123)",
        )
    return _Asked(outcomes, roles, fold)


def _values(row: Rows, unit: Unit) -> str | None:
    """Return the value of a single column as text; None for groups of columns, and where it is missing."""
    if len(unit.columns) > 1 or unit.columns[0] in row.opaque | row.encoded:
        return None
    value = row.values(unit.columns[0]).iloc[0]
    return None if pd.isna(value) else str(value)


def attribute_subject(
    folder: Path,
    study: Study,
    *,
    endpoint: str,
    experiment: str,
    subject_id: str,
    level: str = "column",
    background: int = 100,
    seed: int = 1,
) -> pd.DataFrame:
    """Divide the difference between a subject's risk and the mean risk among columns, feature sets or modalities.

    The model is that of the fold that tested the subject, the mean that of training rows of this fold. See
    `riskweave.explain.attributions.shapley_attributions`.

    Parameters
    ----------
    folder : Path
        ``results/<study>``.
    study : Study
        As it was run.
    endpoint, experiment, subject_id : str
    level : {"column", "feature_set", "modality"}
    background : int
        Training rows that stand for the population, drawn.
    seed : int

    Returns
    -------
    DataFrame
        horizon, name, feature_set, modality, value (text; of single columns), share (of the risk, 0 to 1), error
        (standard error of the sampling), risk, mean_risk; the largest share of the last horizon first. At each horizon
        the shares sum to risk - mean_risk.

    Raises
    ------
    DataError
        When the study does not allow it, or the subject is not at risk.
    """
    check_allowed(study)
    if level not in LEVELS:
        raise ValueError(f"level {level!r}: one of {', '.join(LEVELS)}")
    asked = _asked(folder, endpoint, subject_id)
    names = study.experiment(endpoint, experiment).feature_sets
    encoders = {name: folder / "features" / name / endpoint / "embeddings.parquet" for name in study.encoders()}
    sets = [read_set(name, folder / "features" / name / "features.parquet", encoders.get(name)) for name in names]
    check_encoders(sets, {name: path for name, path in encoders.items() if name in names}, asked.roles)
    told = {"name": experiment, "feature_sets": names}
    stored = read_models(
        folder / "experiments" / endpoint / experiment / "models.zip", experiment=told, roles=asked.roles
    )[asked.fold]
    tables = [each.of_fold(asked.fold) for each in sets]
    horizons = sorted(set(study.endpoints[endpoint].horizons))
    predict = StoredFold(stored["preprocessing"], stored["model"], tables, horizons)
    train = asked.roles[asked.fold]["train"]
    rng = np.random.default_rng(seed)
    drawn = train[np.sort(rng.choice(len(train), min(background, len(train)), replace=False))]
    row = rows_of(sets, tables, pd.Index([subject_id], dtype=object))
    units = units_of(row, [level])
    found = shapley_attributions(predict, row, rows_of(sets, tables, drawn), units, seed=seed)
    parts = [
        {
            "horizon": horizon,
            "name": unit.name,
            "feature_set": unit.feature_set or None,
            "modality": unit.modality,
            "value": _values(row, unit) if level == "column" else None,
            "share": found.shares[0, u, h],
            "error": found.error[0, u, h],
            "risk": found.risk[0, h],
            "mean_risk": found.mean_risk[h],
        }
        for h, horizon in enumerate(horizons)
        for u, unit in enumerate(units)
    ]
    last = np.argsort(-np.abs(found.shares[0, :, -1]), kind="stable")
    order = [h * len(units) + u for h in range(len(horizons)) for u in last]
    return pd.DataFrame(parts).iloc[order].reset_index(drop=True)


def subject_saliency(
    folder: Path, study: Study, *, endpoint: str, feature_set: str, subject_id: str, steps: int = 64
) -> Saliency:
    """Tell which places of a subject's latest recording its encoder's score rests on.

    The score is the encoder's log hazard ratio of the target, by the networks of the fold that tested the subject; the
    baseline is silence for traces, and the mean picture of the fold's training rows for images.

    Parameters
    ----------
    folder, study, endpoint, subject_id
        As in `attribute_subject`.
    feature_set : str
        With an encoder, of modality ecg or image.
    steps : int
        Points of the integration.

    Returns
    -------
    Saliency

    Raises
    ------
    DataError
        When the study does not allow it, the subject is not at risk or has no recording, or the encoder of the fold
        found no signal.
    """
    from riskweave.modalities.registry import find_modality
    from riskweave.survival.encoding.network import load_encoder

    check_allowed(study)
    block = study.feature_sets[feature_set]
    allowed = [name for name in study.encoders() if study.feature_sets[name].modality in BASELINES]
    if feature_set not in allowed:
        raise DataError(
            f"feature_sets.{feature_set}",
            f"it has no encoder of traces or images (modality {block.modality})",
            f"Those that have: {', '.join(allowed) or 'none'}",
        )
    asked = _asked(folder, endpoint, subject_id)
    files = folder / "features" / feature_set
    stored = find_modality(block.modality).open_inputs(files / "inputs.npy", files / "index.parquet")
    if subject_id not in stored.subjects:
        problem = "the subject asked for has no recording"
        raise DataError(f"features/{feature_set}/index.parquet", problem, "Ask for one who has the modality")
    encoder = load_encoder(files / endpoint / "encoder.zip", fold=asked.fold)
    if not encoder.signal:
        problem = f"the encoder of fold {asked.fold} found no signal in unseen rows, and is not used"
        raise DataError(f"features/{feature_set}/{endpoint}/encoder.zip", problem, "There is nothing to explain")
    own = stored.rows[stored.subjects.get_loc(subject_id)]
    train = stored.subjects.get_indexer(asked.roles[asked.fold]["train"])
    others = np.array([stored.rows[place][-1] for place in train[train >= 0][:MEAN_OF]])
    rate = getattr(block, "sampling_rate", None)
    return saliency_of(
        _score(encoder, stored, own),
        stored.array[own[-1]],
        baseline=BASELINES[block.modality](stored.array, others),
        modality=block.modality,
        sampling_rate=rate,
        steps=steps,
    )


def _score(encoder: Callable, stored: object, own: np.ndarray) -> Callable:
    """Return the target's score as a function of the latest recording alone; earlier ones stay as they are."""
    import torch

    if not stored.several:
        return lambda latest: encoder(latest)[:, 0]
    earlier = torch.from_numpy(np.asarray(stored.array[own[:-1]], dtype=np.float32))

    def score(latest: torch.Tensor) -> torch.Tensor:
        owner = torch.zeros(len(own), dtype=torch.long)
        return torch.stack([encoder(torch.cat([earlier, one[None]]), owner)[0, 0] for one in latest])

    return score
