"""Models on public tables: every kind of the registry, against published figures, Kaplan-Meier and the ensemble.

    RISKWEAVE_DATA=<folder> python benchmarks/tabular_models.py [CACHE] [--sets whas500 gbsg] [--models cox stacked]

The folder holds ``benchmarks_tabular/<set>.parquet`` (columns, time, event; rows in the order that gives the folds of
the reference). Models are fitted as in the pipeline (`DesignMatrix` on the training rows, a fifth of them for
validation, `build_estimator`) in five stratified folds (seed 1234). What a fold gives is kept in CACHE, so that a long
run can be stopped and continued, or done in parts; a changed block is run again. Printed are means over the folds:

C_td     Antolini's time-dependent concordance, ties adjusted (pycox)
H75      Harrell's concordance of the risk at the 75 % quantile of the event times
IBS      integrated Brier score on 100 times from the first to the last of the test rows, censoring of the test rows
IPA      1 - IBS / IBS of the training rows' Kaplan-Meier estimate
seconds  of a fold: fit and predictions

Reference: a run of lifelines, scikit-survival, pycox and hazardous with this protocol. ``cox`` is held to 0.01 of its
row, other models to two standard deviations (of the folds) below theirs, all to the IBS of Kaplan-Meier.
"""

import argparse
import hashlib
import json
import os
import time as clock
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from sklearn.model_selection import StratifiedKFold, train_test_split

from riskweave.evaluation.metrics import harrell_c, integrated_brier_score
from riskweave.study.models import Model
from riskweave.survival.null import NullModel
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable
from riskweave.survival.registry import build_estimator

FOLDS, SEED, GRID = 5, 1234, 100
LONGEST = 3650.0
"""Days to which the longest follow-up of each set is scaled: sets are in days, months, years or parts of one."""

SETS = ("whas500", "metabric", "gbsg", "nwtco", "flchain", "support")

_TRAINING = {"epochs": 60, "patience": 10, "batch_size": 256, "learning_rate": 0.01}
_NET = {"hidden": [32, 32], "dropout": 0.1, "training": _TRAINING}
_MEMBERS = ["cox", "random_survival_forest", "gradient_boosting", "survival_boost"]
BLOCKS = {
    "cox": {"kind": "cox"},
    "cox_elastic_net": {"kind": "cox", "l1_ratio": [0.5, 1.0], "penalty": [0.003, 0.03]},
    "weibull_aft": {"kind": "weibull_aft"},
    "random_survival_forest": {"kind": "random_survival_forest", "trees": 100, "min_samples_leaf": 30},
    "gradient_boosting": {"kind": "gradient_boosting"},
    "survival_boost": {"kind": "survival_boost"},
    **{
        kind: {"kind": kind, **_NET}
        for kind in ("deep_surv", "cox_time", "logistic_hazard", "pmf", "mtlr", "pc_hazard", "deep_hit")
    },
    "stacked_trees": {"kind": "stacked", "members": _MEMBERS},
    "stacked": {"kind": "stacked", "members": [*_MEMBERS, "cox_time"]},
}
ENSEMBLES = ("stacked_trees", "stacked")

# (C_td, its standard deviation over the folds, H75, IBS); NaN where the reference gives none.
_NAN = float("nan")
REFERENCE = {
    ("support", "cox"): (0.597, 0.011, 0.598, 0.1952),
    ("support", "cox_time"): (0.609, 0.018, 0.607, 0.1938),
    ("support", "logistic_hazard"): (0.614, 0.017, 0.607, 0.1994),
    ("support", "deep_hit"): (0.625, 0.012, 0.580, 0.2105),
    ("support", "random_survival_forest"): (0.637, 0.014, 0.620, 0.1903),
    ("support", "survival_boost"): (0.627, 0.013, 0.618, 0.1927),
    ("metabric", "cox"): (0.634, 0.026, 0.635, 0.1620),
    ("metabric", "random_survival_forest"): (0.657, 0.005, 0.643, 0.1636),
    ("metabric", "cox_time"): (0.661, 0.008, 0.645, 0.1641),
    ("metabric", "logistic_hazard"): (0.665, 0.009, 0.647, 0.1632),
    ("metabric", "deep_hit"): (0.673, 0.011, 0.589, 0.1735),
    ("metabric", "survival_boost"): (0.652, 0.018, 0.648, 0.1626),
    ("gbsg", "cox"): (0.662, 0.011, 0.662, 0.1825),
    ("gbsg", "random_survival_forest"): (0.673, 0.017, 0.677, 0.1764),
    ("gbsg", "cox_time"): (0.675, 0.018, 0.675, 0.1774),
    ("gbsg", "logistic_hazard"): (0.671, _NAN, 0.672, 0.1823),
    ("gbsg", "deep_hit"): (0.666, _NAN, 0.655, 0.2089),
    ("flchain", "survival_boost"): (0.796, 0.007, 0.795, 0.1040),
    ("flchain", "random_survival_forest"): (0.778, 0.009, 0.783, 0.1038),
    ("flchain", "cox"): (0.791, 0.010, 0.791, 0.1004),
    ("flchain", "cox_time"): (0.785, _NAN, 0.786, 0.1024),
    ("flchain", "logistic_hazard"): (0.782, _NAN, 0.784, 0.1071),
    ("flchain", "deep_hit"): (0.783, _NAN, 0.784, 0.1222),
    ("nwtco", "cox"): (0.709, 0.020, 0.710, 0.1089),
    ("nwtco", "random_survival_forest"): (0.710, 0.017, 0.717, 0.1090),
    ("nwtco", "survival_boost"): (0.723, 0.014, 0.723, 0.1095),
    ("nwtco", "cox_time"): (0.713, _NAN, 0.714, 0.1093),
    ("nwtco", "logistic_hazard"): (0.713, _NAN, 0.713, 0.2734),
    ("nwtco", "deep_hit"): (0.720, _NAN, 0.717, 0.2882),
    ("whas500", "cox"): (0.768, 0.035, 0.769, 0.1741),
    ("whas500", "random_survival_forest"): (0.779, 0.029, 0.770, 0.1738),
    ("whas500", "cox_time"): (0.754, _NAN, 0.756, 0.1799),
    ("whas500", "survival_boost"): (0.764, _NAN, 0.769, 0.1779),
}


def load(folder: Path, name: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return columns, days and events of a set."""
    table = pd.read_parquet(folder / f"{name}.parquet")
    time = table["time"].to_numpy(dtype=float) * LONGEST / table["time"].max()
    # Times of zero cannot be: riskweave's are after the index time.
    time = np.maximum(time, time[time > 0].min())
    return table.drop(columns=["time", "event"]), time, table["event"].to_numpy(dtype=int)


def antolini(risk: np.ndarray, days: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """Return the adjusted time-dependent concordance of risks (n, days) at all event times."""
    with warnings.catch_warnings():
        # pycox's docstrings hold "\s", of which Python warns when it first compiles them.
        warnings.simplefilter("ignore")
        from pycox.evaluation.concordance import concordance_td
    place = np.clip(np.searchsorted(days, time, side="right") - 1, 0, None)
    return float(concordance_td(time, event, 1 - risk.T, place, method="adj_antolini"))


def run_fold(data: tuple, fold: int, model: Model | None, members: dict) -> dict[str, np.ndarray]:
    """Fit a model (None: Kaplan-Meier) without a fold and score its predictions of the fold."""
    columns, time, event = data
    rest, test = list(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(columns, event))[fold]
    train, validation = train_test_split(rest, test_size=0.2, random_state=fold, stratify=event[rest])
    subjects = pd.Index([f"{i:06d}" for i in range(len(columns))], name="subject_id")
    table = FeatureTable(name="columns", modality="ehr", frame=columns.set_axis(subjects))
    start = clock.perf_counter()
    fusion = DesignMatrix().fit([table], subjects[train])
    x = {
        role: fusion.design([table], subjects[rows]).values  # noqa: PD011 - a Design, no DataFrame
        for role, rows in {"train": train, "validation": validation, "test": test}.items()
    }
    estimator = (
        NullModel(causes=1)
        if model is None
        else build_estimator(model=model, causes=1, seed=1 + fold, columns=fusion.columns_, members=members)
    )
    estimator.fit(x["train"], time[train], event[train], x["validation"], time[validation], event[validation])
    own, shared = np.linspace(time[test].min(), time[test].max(), GRID), np.linspace(time.min(), time.max(), GRID)
    days = np.unique(time[test][event[test] == 1])
    horizon = np.quantile(time[event == 1], 0.75)
    wanted = np.unique(np.concatenate([own, shared, days, [horizon]]))
    risk = np.asarray(estimator.predict(x["test"], wanted))[:, 0]
    seconds = clock.perf_counter() - start

    def at(some: np.ndarray) -> np.ndarray:
        return risk[:, np.searchsorted(wanted, some)]

    truth = {"time": time[test], "event": event[test]}
    return {
        "rows": test,
        "shared": at(shared).astype(np.float32),
        "horizon": at(np.array([horizon]))[:, 0],
        "c_td": np.array(antolini(at(days), days, **truth)),
        "h75": np.array(harrell_c(**truth, risk=at(np.array([horizon]))[:, 0])),
        "ibs": np.array(integrated_brier_score(**truth, risk=at(own), times=own)),
        "seconds": np.array(seconds),
        "weights": np.array(json.dumps(getattr(estimator, "weights", {}))),
    }


def cached(cache: Path, name: str, model: str, fold: int, data: tuple) -> dict[str, np.ndarray]:
    """Return what a fold gives, from the cache where it is there."""
    used = [model, *BLOCKS.get(model, {}).get("members", [])]
    key = hashlib.sha256(json.dumps([BLOCKS.get(one) for one in used]).encode()).hexdigest()[:8]
    path = cache / name / f"{model}-{fold}-{key}.npz"
    if not path.exists():
        blocks = {one: TypeAdapter(Model).validate_python(BLOCKS[one]) for one in used if one in BLOCKS}
        found = run_fold(data, fold, blocks.get(model), blocks)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **found)
        part.rename(path)
    with np.load(path) as stored:
        return dict(stored)


def verdict(name: str, model: str, c_td: np.ndarray, ibs: float, null: float) -> str:
    """Say how a model does against its row and Kaplan-Meier."""
    reference, spread, _, ibs_reference = REFERENCE.get((name, model), (_NAN,) * 4)
    spread = spread if np.isfinite(spread) else float(c_td.std(ddof=1))
    words = []
    if np.isfinite(reference):
        difference = float(c_td.mean()) - reference
        inside = abs(difference) <= 0.01 if model == "cox" else difference >= -2 * spread
        words.append(f"row {reference:.3f} {ibs_reference:.4f}: {'ok' if inside else 'OUTSIDE'} ({difference:+.3f})")
    if model != "kaplan_meier" and ibs >= null:
        words.append("NOT BETTER THAN KAPLAN-MEIER")
    return "; ".join(words)


def pooled(folds: list[dict], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the out-of-fold risks of all subjects, on the shared times and at the horizon."""
    shared, horizon = np.zeros((size, GRID)), np.zeros(size)
    for fold in folds:
        shared[fold["rows"]], horizon[fold["rows"]] = fold["shared"], fold["horizon"]
    return shared, horizon


def differences(data: tuple, one: list[dict], other: list[dict], resamples: int) -> np.ndarray:
    """Return how much better `one` is: H75 up and IBS down, of the sample (first row) and of resampled subjects."""
    _, time, event = data
    times = np.linspace(time.min(), time.max(), GRID)
    risks = [pooled(folds, len(time)) for folds in (one, other)]
    rng, found = np.random.default_rng(1), []
    for draw in range(resamples + 1):
        counts = (
            np.ones(len(time), dtype=int)
            if draw == 0
            else np.bincount(rng.integers(0, len(time), len(time)), minlength=len(time))
        )
        keep = counts > 0
        truth = {"time": time[keep], "event": event[keep], "weights": counts[keep]}
        c = [harrell_c(**truth, risk=horizon[keep]) for _, horizon in risks]
        b = [integrated_brier_score(**truth, risk=shared[keep], times=times) for shared, _ in risks]
        found.append([c[0] - c[1], b[1] - b[0]])
    return np.array(found)


def _interval(values: np.ndarray) -> str:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{values[0]:+.4f} ({low:+.4f} to {high:+.4f})"


def compare(ensemble: str, results: dict, data: dict, resamples: int) -> None:
    """Print an ensemble against single models, set by set and on average, with paired 95 % intervals."""
    rivals = [m for m in BLOCKS if m not in ENSEMBLES and all(m in found for found in results.values())]
    if not rivals or not all(ensemble in found for found in results.values()):
        return

    def mean(name: str, model: str, key: str) -> float:
        return float(np.mean([fold[key] for fold in results[name][model]]))

    average = {m: [np.mean([mean(n, m, key) for n in results]) for key in ("h75", "ibs")] for m in rivals}
    overall = [max(average, key=lambda m: average[m][0]), min(average, key=lambda m: average[m][1])]
    print(f"\n{ensemble} less single models, {resamples} resamples of the subjects, pooled out-of-fold risks; above 0")
    print(f"is better. Best on average: {overall[0]} (H75), {overall[1]} (IBS)")
    totals: dict[str, list[np.ndarray]] = {}
    for name in results:
        own = [max(rivals, key=lambda m: mean(name, m, "h75")), min(rivals, key=lambda m: mean(name, m, "ibs"))]
        pairs = {}
        for model in {*own, *overall, "cox"} & set(rivals):
            pairs[model] = differences(data[name], results[name][ensemble], results[name][model], resamples)
        for label, (h75, ibs) in {"best of the set": own, "best on average": overall, "cox": ("cox", "cox")}.items():
            if {h75, ibs} <= set(pairs):
                found = np.column_stack([pairs[h75][:, 0], pairs[ibs][:, 1]])
                totals.setdefault(label, []).append(found)
                print(f"{name:10}{label:18}{h75:24}H75 {_interval(found[:, 0])}   {ibs:24}IBS {_interval(found[:, 1])}")
    for label, parts in totals.items():
        found = np.mean(parts, axis=0)
        print(f"{'average':10}{label:18}{'':24}H75 {_interval(found[:, 0])}   {'':24}IBS {_interval(found[:, 1])}")


def main() -> None:
    """Run the folds that the cache lacks and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "cache",
        type=Path,
        nargs="?",
        default=Path("results/benchmarks/tabular_models"),
        help="folder that keeps what each fold gives",
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--models", nargs="+", default=list(BLOCKS), choices=list(BLOCKS))
    parser.add_argument("--resamples", type=int, default=200)
    arguments = parser.parse_args()
    folder = Path(os.environ.get("RISKWEAVE_DATA", "")) / "benchmarks_tabular"
    if not folder.is_dir():
        print("Set RISKWEAVE_DATA to the folder that holds benchmarks_tabular. Nothing was measured.")
        return
    results: dict[str, dict[str, list]] = {}
    data = {name: load(folder, name) for name in arguments.sets}
    for name, (columns, _, event) in data.items():
        print(f"\n{name}: {len(columns)} x {columns.shape[1]}, {event.mean():.0%} events")
        print(f"{'':24}{'C_td':>14}{'H75':>15}{'IBS':>16}{'IPA':>8}{'seconds':>9}  reference (C_td, IBS)")
        results[name] = {}
        for model in ("kaplan_meier", *arguments.models):
            found = [cached(arguments.cache, name, model, fold, data[name]) for fold in range(FOLDS)]
            results[name][model] = found
            c, h, b = (np.array([float(fold[key]) for fold in found]) for key in ("c_td", "h75", "ibs"))
            null = float(np.mean([fold["ibs"] for fold in results[name]["kaplan_meier"]]))
            seconds = np.mean([fold["seconds"] for fold in found])
            print(
                f"{model:24}{c.mean():>7.3f} ({c.std(ddof=1):.3f}){h.mean():>7.3f} ({h.std(ddof=1):.3f})"
                f"{b.mean():>8.4f} ({b.std(ddof=1):.3f}){1 - b.mean() / null:>7.3f}{seconds:>9.1f}  "
                f"{verdict(name, model, c, float(b.mean()), null)}",
                flush=True,
            )
    for ensemble in ENSEMBLES:
        compare(ensemble, results, data, arguments.resamples)


if __name__ == "__main__":
    main()
