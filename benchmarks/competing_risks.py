"""Competing risks: the models against planted cumulative incidences and independent estimators.

    python benchmarks/competing_risks.py [--subjects 5000] [--models cox deep_hit]

The demo cohort's generator gives people whose true cumulative incidences of the target event and of death are known.
Each model is fitted on that many of them, with the true parts of the log-hazard as columns, and predicts for as many
others. In each fifth of the predicted risk the mean prediction is compared with the mean truth, at one, three and five
years and for both causes; the table shows the mean absolute difference of the fifths in percentage points (target: at
most 2), under `worst` the largest of any fifth, and under `all` the largest of everybody's mean. No outcome of the
others enters, so that there is no noise of theirs in it; but the incidences that the first have by chance are in it: at
one year about 1.5 points (a standard error) in the highest fifth, for any model.

Then: the null model against the Aalen-Johansen estimator (scikit-survival, extra `forest`), and the cause-specific Cox
model against lifelines' fits, summed to incidences by the textbook's formula.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from pydantic import TypeAdapter
from sksurv.nonparametric import cumulative_incidence_competing_risks

from riskweave.study.models import Model
from riskweave.survival.null import NullModel
from riskweave.survival.registry import build_estimator
from riskweave.synthetic.latent import draw_latents, log_hazards
from riskweave.synthetic.outcomes import HORIZONS, calibrate, cumulative_incidence, draw_outcomes

COLUMNS = ["demographic", "ehr", "ecg", "image", "interaction"]
CAUSES = 2
GROUPS = 5
MODELS = {
    "cox": {"kind": "cox"},
    "weibull_aft": {"kind": "weibull_aft"},
    "random_survival_forest": {"kind": "random_survival_forest", "max_features": 1.0},
    "gradient_boosting": {"kind": "gradient_boosting"},
    "survival_boost": {"kind": "survival_boost"},
    "deep_surv": {"kind": "deep_surv"},
    "cox_time": {"kind": "cox_time"},
    "logistic_hazard": {"kind": "logistic_hazard"},
    "pmf": {"kind": "pmf"},
    "mtlr": {"kind": "mtlr"},
    "pc_hazard": {"kind": "pc_hazard"},
    "deep_hit": {"kind": "deep_hit"},
}


def draw(subjects: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns (n, 5), days, events (0, 1, 2), and true incidences (n, 2, horizons) of people free of the target."""
    latents = draw_latents(subjects=subjects, centres=1, seed=seed)
    parts, intercepts = log_hazards(latents, noise=[]), calibrate(noise=[])
    outcomes = draw_outcomes(parts=parts, intercepts=intercepts, noise=[], seed=seed)
    at_risk = outcomes["prior"].isna().to_numpy()
    parts, outcomes = parts[at_risk], outcomes[at_risk]
    truth = cumulative_incidence(
        target=parts["total"].to_numpy(), death=parts["death"].to_numpy(), intercepts=intercepts, days=HORIZONS
    )
    event = np.select([outcomes["target"] <= outcomes["end"], outcomes["death"] <= outcomes["end"]], [1, 2], 0)
    days = outcomes[["target", "end"]].min(axis=1).to_numpy()
    return parts[COLUMNS].to_numpy(), days, event, truth


def differences(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Absolute differences of mean prediction and mean truth in fifths of the predicted risk, (5, causes, horizons)."""
    found = np.zeros((GROUPS, *truth.shape[1:]))
    for cause, horizon in np.ndindex(truth.shape[1:]):
        risk, true = predicted[:, cause, horizon], truth[:, cause, horizon]
        for group, rows in enumerate(np.array_split(np.argsort(risk, kind="stable"), GROUPS)):
            found[group, cause, horizon] = abs(risk[rows].mean() - true[rows].mean())
    return found


def recover(names: list[str], subjects: int) -> None:
    """Print what each model makes of the planted incidences."""
    x, days, event, _ = draw(subjects, seed=1)
    x_new, _, _, truth = draw(subjects, seed=2)
    counts = ", ".join(f"{(event == k).sum()} {word}" for k, word in enumerate(("censored", "target", "death")))
    print(f"{len(x)} people to learn from ({counts}), {len(x_new)} others; points off the truth")
    heads = [f"{cause} {round(day / 365.25)}y" for cause in ("target", "death") for day in HORIZONS]
    print(f"{'model':24s}" + "".join(f"{head:>11s}" for head in heads) + f"{'worst':>8s}{'all':>8s}{'seconds':>9s}")
    part = len(x) // 5
    for name in names:
        model = TypeAdapter(Model).validate_python(MODELS[name])
        start = time.perf_counter()
        estimator = build_estimator(model=model, causes=CAUSES, seed=1, threads=1, columns=COLUMNS)
        estimator.fit(x[part:], days[part:], event[part:], x[:part], days[:part], event[:part])
        predicted = estimator.predict(x_new, list(HORIZONS))
        points = 100 * differences(predicted, truth)
        everybody = 100 * np.abs(predicted.mean(axis=0) - truth.mean(axis=0)).max()
        seconds = time.perf_counter() - start
        line = (
            "".join(f"{p:11.2f}" for p in points.mean(axis=0).ravel())
            + f"{points.max():8.2f}{everybody:8.2f}{seconds:9.1f}"
        )
        print(f"{name:24s}" + line, flush=True)


def null_model(subjects: int) -> float:
    """Largest difference of the null model and the Aalen-Johansen estimator over all event times."""
    x, days, event, _ = draw(subjects, seed=1)
    times, expected = cumulative_incidence_competing_risks(event, days)
    fitted = NullModel(causes=CAUSES).fit(x, days, event)
    return float(np.abs(fitted.predict(x[:1], list(times))[0] - expected[1:]).max())


def cause_specific_cox(subjects: int) -> float:
    """Largest difference of the Cox model's incidences and those from lifelines' hazards, at the event times."""
    x, days, event, _ = draw(subjects, seed=1)
    x, days = x[:, :4], np.ceil(days)  # whole days: there are ties
    new = x[: min(200, len(x))]
    penalty = 0.003
    model = TypeAdapter(Model).validate_python({"kind": "cox", "penalty": [penalty]})
    estimator = build_estimator(model=model, causes=CAUSES, seed=1, columns=COLUMNS[:4])
    estimator.fit(x, days, event, x, days, event)
    steps = []
    grid = np.unique(days[event > 0])
    for cause in (1, 2):
        frame = pd.DataFrame(x, columns=COLUMNS[:4]).assign(t=days, e=event == cause)
        fitted = CoxPHFitter(penalizer=penalty).fit(frame, "t", "e")
        hazard = fitted.predict_cumulative_hazard(pd.DataFrame(new, columns=COLUMNS[:4]), times=grid).to_numpy()
        steps.append(np.diff(hazard, axis=0, prepend=0))
    # F_k(t) = sum over event times of S(t-) dH_k, S = exp(-H_1 - H_2) (Kalbfleisch and Prentice 2002, section 8.2);
    # within a step both hazards grow in proportion.
    both = steps[0] + steps[1]
    before = np.exp(-(np.cumsum(both, axis=0) - both))
    share = np.where(both > 0, -np.expm1(-both) / np.where(both > 0, both, 1), 1)
    expected = np.stack([np.cumsum(before * share * step, axis=0).T for step in steps], axis=1)
    return float(np.abs(estimator.predict(new, list(grid)) - expected).max())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=5000, help="people to learn from, and others to predict for")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="models to run")
    arguments = parser.parse_args()
    recover(arguments.models, arguments.subjects)
    checks: list[tuple[str, Callable[[int], float]]] = [
        ("null model against Aalen-Johansen (scikit-survival)", null_model),
        ("cause-specific Cox against lifelines", cause_specific_cox),
    ]
    for what, check in checks:
        print(f"{what}: largest difference of incidences {check(arguments.subjects):.1e}")


if __name__ == "__main__":
    main()
