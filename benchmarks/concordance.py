"""Concordance: riskweave against lifelines and scikit-survival, same data, one run.

    python benchmarks/concordance.py [--sizes 10000 100000] [--resamples 100]

Prints seconds (the best of a few repeats), how many times as long a peer takes, and the largest difference between the
results. scikit-survival needs the extra `forest`.
"""

import argparse
import time

import numpy as np
from lifelines.utils import concordance_index
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw
from sksurv.util import Surv

from riskweave.evaluation import kernel
from riskweave.evaluation.bootstrap import resamples
from riskweave.evaluation.censoring import sort_outcomes
from riskweave.evaluation.metrics import harrell_c, risk_ranks, uno_c

HORIZON = 10.0


def simulate(subjects: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weibull times, a little over a quarter of them events, continuous risk."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=subjects)
    event_time = 20 * (rng.exponential(size=subjects) / np.exp(0.8 * risk)) ** (1 / 1.3)
    censoring = rng.uniform(1, 15, subjects)
    return np.minimum(event_time, censoring), (event_time <= censoring).astype(int), risk


def timed(function, repeats: int) -> tuple[float, float]:
    """Fewest seconds of some repeats, and the result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def bootstrap(time_: np.ndarray, event: np.ndarray, risk: np.ndarray, count: int) -> np.ndarray:
    """Harrell's and Uno's concordance of resamples: sorted once, then multiplicities."""
    outcomes = sort_outcomes(time_, event)
    rank, limits = risk_ranks(risk)[outcomes.order], outcomes.through(np.array([HORIZON]))
    found = []
    for weights in resamples(people=np.arange(len(risk)), count=count, seed=1, batch=20):
        rows = np.ascontiguousarray(weights[:, outcomes.order])
        uncensored = kernel.still_uncensored(outcomes.kind, outcomes.starts, rows)
        found.append(kernel.concordance(rank, outcomes.kind, outcomes.starts, rows, uncensored, limits))
    return np.concatenate(found)


def compare(subjects: int, count: int) -> None:
    """Print the table of one size."""
    time_, event, risk = simulate(subjects, seed=1)
    truth = Surv.from_arrays(event == 1, time_)
    repeats = 5 if subjects <= 20_000 else 2
    ours, c = timed(lambda: harrell_c(time=time_, event=event, risk=risk), 5)
    ours_uno, uno = timed(lambda: uno_c(time=time_, event=event, risk=risk, horizon=HORIZON), 5)
    lifelines, c_lifelines = timed(lambda: concordance_index(time_, -risk, event), repeats)
    sksurv, c_sksurv = timed(lambda: concordance_index_censored(event == 1, time_, risk)[0], min(repeats, 2))
    sksurv_uno, uno_sksurv = timed(lambda: concordance_index_ipcw(truth, truth, risk, tau=HORIZON)[0], min(repeats, 2))
    boot, _ = timed(lambda: bootstrap(time_, event, risk, count), 1)
    print(f"\n{subjects} subjects, {event.mean():.0%} events")
    print(f"{'':34}{'seconds':>10}{'x riskweave':>13}{'difference':>13}")
    rows = [
        ("Harrell, riskweave", ours, ours, 0.0),
        ("Harrell, lifelines", lifelines, ours, abs(c_lifelines - c)),
        ("Harrell, scikit-survival", sksurv, ours, abs(c_sksurv - c)),
        ("Uno, riskweave", ours_uno, ours_uno, 0.0),
        ("Uno, scikit-survival", sksurv_uno, ours_uno, abs(uno_sksurv - uno)),
        (f"{count} resamples, both, riskweave", boot, boot, 0.0),
        (f"{count} x Harrell, lifelines (extrap.)", lifelines * count, boot, 0.0),
        (f"{count} x both, scikit-survival (extr.)", (sksurv + sksurv_uno) * count, boot, 0.0),
    ]
    for name, seconds, unit, difference in rows:
        print(f"{name:36}{seconds:>8.4f}{seconds / unit:>13.1f}{difference:>13.1e}")


def main() -> None:
    """Run the comparison for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--resamples", type=int, default=100)
    arguments = parser.parse_args()
    bootstrap(*simulate(200, seed=0), 1)  # compile outside the measurement
    for subjects in arguments.sizes:
        compare(subjects, arguments.resamples)


if __name__ == "__main__":
    main()
