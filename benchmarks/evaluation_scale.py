"""The whole evaluation of an endpoint as the rule runs it: seconds and peak memory by number of subjects.

    python benchmarks/evaluation_scale.py [--subjects 10000] [--experiments 10] [--resamples 1000] [--threads 2]

Prediction tables of experiments that differ in signal, with a competing event, horizons at 1, 2, 5 and 10 years and the
time grid of the pipeline, are written into a temporary folder, with outcomes, subjects and folds of one subject per
person. Then `evaluate_endpoint` reads them and writes its tables. The clock is not trusted on a busy machine: processor
seconds are printed beside it. With `--profile` what takes the time, on one thread.

Bar: 10 experiments, 1,000 resamples and 100,000 subjects in minutes on two cores, memory linear in the subjects. And
Harrell's and Uno's concordance and the integrated Brier score together, one estimate, under a second at 100,000.
"""

import argparse
import cProfile
import pstats
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import FOLDS, OUTCOMES, SUBJECTS, write_table
from riskweave.evaluation.evaluate import evaluate_endpoint
from riskweave.evaluation.metrics import harrell_c, integrated_brier_score, uno_c
from riskweave.study.cohort import ColumnsEndpoint
from riskweave.study.evaluation import Evaluation
from riskweave.survival.predictions import prediction_frame, write_predictions

YEAR = 365
HORIZONS = [YEAR, 2 * YEAR, 5 * YEAR, 10 * YEAR]
FOLD_COUNT, COMPETING, LEVEL = 5, 1 / (30 * YEAR), 1 / (25 * YEAR)
TABLES = ("metrics", "differences", "calibration", "leaderboard", "decision_curve", "calibration_curve")


def endpoint() -> ColumnsEndpoint:
    """Return the block of an endpoint with four horizons and the default time grid."""
    return ColumnsEndpoint(kind="columns", time="time", event="event", horizons=HORIZONS)


def incidences(rate: np.ndarray, days: np.ndarray, bend: float) -> np.ndarray:
    """Incidence of the target and of the competing event, not proportional over time: (n, 2, days)."""
    grown = (days / days[-1]) ** (1 + bend * (np.log(rate / LEVEL)[:, None] > 0)) * days[-1]
    gone = 1 - np.exp(-(rate[:, None] + COMPETING) * grown)
    share = (rate / (rate + COMPETING))[:, None]
    return np.stack([share * gone, (1 - share) * gone], axis=1)


def write_study(folder: Path, subjects: int, experiments: int, seed: int = 1) -> dict[str, object]:
    """Write outcomes, subjects, folds and prediction tables, and return what the evaluation takes."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=subjects)
    target = rng.exponential(1 / (LEVEL * np.exp(0.8 * signal)))
    competing, censored = rng.exponential(1 / COMPETING, subjects), rng.uniform(YEAR / 2, 13 * YEAR, subjects)
    days = np.ceil(np.minimum.reduce([target, competing, censored]))
    event = np.select([np.ceil(target) == days, np.ceil(competing) == days], [1, 2], 0)
    ids, fold = np.array([f"{i:07d}" for i in range(subjects)]), rng.integers(0, FOLD_COUNT, subjects)
    outcomes = {"subject_id": ids, "endpoint": "event", "time": days, "event": event}
    write_table(pd.DataFrame(outcomes), folder / "outcomes.parquet", OUTCOMES)
    people = {"subject_id": ids, "person_id": ids, "index_time": pd.Timestamp(0), "followup_end": pd.NaT}
    write_table(pd.DataFrame(people), folder / "subjects.parquet", SUBJECTS)
    role = np.where(fold[:, None] == np.arange(FOLD_COUNT), "test", "train").ravel()
    numbers = np.tile(np.arange(FOLD_COUNT), subjects).astype("int16")
    divided = {"subject_id": np.repeat(ids, FOLD_COUNT), "fold": numbers, "role": role}
    write_table(pd.DataFrame(divided), folder / "folds.parquet", FOLDS)
    grid = np.array(endpoint().time_grid())
    paths = [folder / f"experiment_{e}.parquet" for e in range(experiments)]
    for e, path in enumerate(paths):
        noise = rng.normal(size=subjects)
        risks = incidences(LEVEL * np.exp(0.8 * signal * (e + 1) / experiments + 0.3 * noise), grid, 0.3 * (e % 2))
        frames = [
            prediction_frame(
                subjects=pd.Index(ids[fold == number]),
                experiment=path.stem,
                endpoint="event",
                fold=number,
                modalities=["ehr"] * int((fold == number).sum()),
                linear_predictor=None,
                risks=risks[fold == number],
                times=endpoint().time_grid(),
            )
            for number in range(FOLD_COUNT)
        ]
        write_predictions(pd.concat(frames, ignore_index=True), path)
    files = {name: folder / f"{name}.parquet" for name in ("outcomes", "subjects", "folds")}
    return {"predictions": paths, **files, "time": days, "event": event, "risk": risks[:, 0], "grid": grid}


def evaluate(study: dict, made: Path, evaluation: Evaluation, threads: int) -> None:
    """Run the evaluation as the rule does."""
    evaluate_endpoint(
        **{key: study[key] for key in ("predictions", "outcomes", "subjects", "folds")},
        availability={},
        endpoint_name="event",
        endpoint=endpoint(),
        reference="experiment_0",
        evaluation=evaluation,
        **{name: made / f"{name}.parquet" for name in TABLES},
        fold_metrics=made / "folds.parquet",
        leaderboard_csv=made / "leaderboard.csv",
        threads=threads,
    )


def clocked(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def peak() -> float:
    """Peak memory of the process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def three(study: dict) -> tuple[float, ...]:
    """One estimate of Harrell's and Uno's concordance and the integrated Brier score."""
    seen, risk, grid = {"time": study["time"], "event": study["event"]}, study["risk"], study["grid"]
    last = {**seen, "risk": risk[:, -1]}
    return harrell_c(**last), uno_c(**last, horizon=grid[-1]), integrated_brier_score(**seen, risk=risk, times=grid)


def profiled(function: Callable[[], object]) -> None:
    """Print the functions that take most of the time."""
    profile = cProfile.Profile()
    profile.runcall(function)
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(25)


def main() -> None:
    """Run the evaluation of one size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--experiments", type=int, default=10)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = write_study(Path(folder), 300, 2)
        # compiles, outside the measurement
        evaluate(small, Path(folder) / "made", Evaluation(reference="experiment_0", bootstrap=50), 1)
        three(small)
    evaluation = Evaluation(reference="experiment_0", bootstrap=arguments.resamples)
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(Path(folder), arguments.subjects, arguments.experiments)
        shown = [f"{name} {np.mean(study['event'] == code):.0%}" for name, code in (("target", 1), ("competing", 2))]
        print(
            f"{arguments.subjects} subjects, {', '.join(shown)}; {len(study['grid'])} times, {len(HORIZONS)} horizons"
        )
        best = min(clocked(lambda: three(study)) for _ in range(3))
        print(f"Harrell, Uno and integrated Brier score: {best[0]:.2f} s, processor {best[1]:.2f} s")
        before, threads = peak(), 1 if arguments.profile else arguments.threads

        def run() -> None:
            evaluate(study, Path(folder) / "made", evaluation, threads)

        if arguments.profile:
            profiled(run)
            return
        clock, processor = clocked(run)
        print(f"{arguments.experiments} experiments, {arguments.resamples} resamples, {threads} threads: ", end="")
        print(f"{clock:.0f} s, processor {processor:.0f} s; peak {peak():.2f} GiB, before the evaluation {before:.2f}")


if __name__ == "__main__":
    main()
