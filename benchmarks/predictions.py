"""What a prediction takes, beside the same in plain numpy and scikit-learn: explanations ask for hundreds of them.

- cumulative incidences of competing proportional hazards: the compiled walk over the event times, beside arrays of
  subjects x causes x event times;
- the design of some rows: the fitted preprocessing on plain arrays, beside the fitted scikit-learn pipeline itself.

Both pairs run alternately in one process, and agree to rounding. Read the ratios: seconds depend on the machine.

    OMP_NUM_THREADS=1 python benchmarks/predictions.py
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd

from riskweave.survival.arrays import as_columns
from riskweave.survival.competing import CELLS, at_times, cumulative_incidence
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable
from riskweave.survival.proportional import Baseline, proportional_incidence

HORIZONS = np.array([1096.0, 1826.0])


def compare(own: Callable[[], np.ndarray], other: Callable[[], np.ndarray], repeats: int) -> tuple[float, ...]:
    """Return the fastest processor seconds of both, their peaks of memory in MiB, and the largest difference."""
    apart = float(np.abs(own() - other()).max())
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for place, function in enumerate((own, other)):
            start = time.process_time()
            function()
            seconds[place].append(time.process_time() - start)
    peaks = []
    for function in (own, other):
        tracemalloc.start()
        function()
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    return min(seconds[0]), min(seconds[1]), *peaks, apart


def incidences(subjects: int, steps: int, rng: np.random.Generator) -> tuple[Callable, Callable]:
    """Return the walk, and the arrays, of two causes with so many event times in all."""
    days = np.sort(rng.uniform(1, 3000, (2, steps // 2)), axis=1)
    baselines = [Baseline(own, np.cumsum(rng.exponential(0.6 / steps, steps // 2))) for own in days]
    log_ratios = rng.normal(0, 0.7, (subjects, 2))
    grid = np.unique(days[days <= HORIZONS.max()])
    hazards = np.stack([baseline.at(grid) for baseline in baselines])
    # in parts of 32 MB, as the whole would not fit in memory
    part = max(1, CELLS // hazards.size)

    def arrays() -> np.ndarray:
        found = [
            at_times(cumulative_incidence(ratios[:, :, None] * hazards), grid=grid, times=HORIZONS)
            for ratios in np.array_split(np.exp(log_ratios), max(1, subjects // part))
        ]
        return np.concatenate(found)

    return lambda: proportional_incidence(log_ratios, baselines, HORIZONS), arrays


def designs(subjects: int, columns: int, rng: np.random.Generator) -> tuple[Callable, Callable]:
    """Return the design, and the fitted pipeline's, of numbers of which a tenth is missing, and a category."""
    ids = pd.Index([f"{number:09d}" for number in range(subjects)], dtype=object)
    values = np.where(rng.random((subjects, columns)) < 0.1, np.nan, rng.normal(size=(subjects, columns)))
    frame = pd.DataFrame(values, index=ids, columns=[f"column_{number}" for number in range(columns)])
    frame["category"] = rng.choice(["a", "b", "c"], subjects)
    tables = [FeatureTable("ehr", "ehr", frame, categorical=("category",))]
    fitted = DesignMatrix().fit(tables, ids)
    pipeline, kept = fitted.transformers_["ehr"], fitted.categories_["ehr"]

    def whole() -> np.ndarray:
        return np.asarray(pipeline.transform(as_columns(frame.add_prefix("ehr."), kept)))

    return lambda: fitted.design(tables, ids).values, whole  # noqa: PD011 - no table of pandas


def main() -> None:
    """Print seconds, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    pairs = {f"incidences, {steps:,} event times": incidences(options.subjects, steps, rng) for steps in (300, 3000)}
    pairs["design, 50 columns"] = designs(options.subjects, 50, rng)
    print(f"{options.subjects:,} subjects; fastest of {options.repeats}, processor seconds; MiB at the peak")
    print(f"{'':32s}{'riskweave':>10s}{'other':>9s}{'ratio':>7s}{'MiB':>7s}{'other':>7s}  largest difference")
    for name, (own, other) in pairs.items():
        fast, slow, lean, large, apart = compare(own, other, options.repeats)
        print(f"{name:32s}{fast:10.4f}{slow:9.4f}{slow / fast:7.1f}{lean:7.1f}{large:7.1f}  {apart:.1e}")


if __name__ == "__main__":
    main()
