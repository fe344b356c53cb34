"""Event times, competing death, censoring and prevalent cases, drawn from the planted hazards."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from riskweave.synthetic.latent import STREAMS, draw_latents, log_hazards

__all__ = ["HORIZONS", "YEAR", "Intercepts", "calibrate", "cumulative_incidence", "draw_outcomes"]

YEAR = 365.25
HORIZONS = (365, 1096, 1826)

SHAPE_TARGET, SHAPE_DEATH = 1.2, 1.4
INCIDENCE_TARGET, INCIDENCE_DEATH = 0.30, 0.10
PREVALENT = 0.03
DROPOUT_PER_YEAR = 0.03
FIRST_INDEX, LAST_INDEX = np.datetime64("2011-01-03", "s"), np.datetime64("2018-12-21", "s")
STUDY_END = np.datetime64("2021-12-31", "s")
# Shortest time between the index time, the target event and death, in days: 15 minutes.
GAP = 15 / (24 * 60)


@dataclass(frozen=True)
class Intercepts:
    """Intercepts of the two log-hazards (time in years)."""

    target: float
    death: float


def cumulative_incidence(
    *, target: np.ndarray, death: np.ndarray, intercepts: Intercepts, days: Collection[float]
) -> np.ndarray:
    """Evaluate the true cumulative incidences of the target event and of death without it.

    Parameters
    ----------
    target, death : numpy.ndarray
        Log-hazards without intercepts, shape (n,).
    intercepts : Intercepts
        Intercepts of the log-hazards.
    days : collection of float
        Times in days.

    Returns
    -------
    numpy.ndarray
        Probabilities, shape (n, 2, len(days)); first the target event, then death. Within each of some 60 intervals the
        ratio of the two hazards is held at its mean, so that no probability leaves [0, 1] however large a hazard is.
    """
    wanted = np.asarray(list(days), dtype=float)
    # Quadratic steps: the earliest years matter most to those at the highest risk.
    edges = np.union1d(wanted.max() * np.linspace(0, 1, 61) ** 2, wanted)
    clock_target, clock_death = (edges / YEAR) ** SHAPE_TARGET, (edges / YEAR) ** SHAPE_DEATH
    rate_target = np.exp(target + intercepts.target)[:, None]
    rate_death = np.exp(death + intercepts.death)[:, None]
    step_target, step_death = rate_target * np.diff(clock_target), rate_death * np.diff(clock_death)
    survival = np.exp(-rate_target * clock_target - rate_death * clock_death)
    share = -np.diff(survival, axis=1) / (step_target + step_death)
    cumulative = np.stack([(share * step_target).cumsum(axis=1), (share * step_death).cumsum(axis=1)], axis=1)
    return cumulative[:, :, np.searchsorted(edges, wanted) - 1]


def calibrate(*, noise: Collection[str], also: Collection[str] = ()) -> Intercepts:
    """Find the intercepts that give a fixed reference population its five-year cumulative incidences.

    The population does not depend on the cohort's size or seed, so neither does the hazard.
    """
    latents = draw_latents(subjects=4000, centres=1, seed=0, also=also)
    parts = log_hazards(latents, noise=noise, also=also)
    target, death = parts["total"].to_numpy(), parts["death"].to_numpy()
    intercepts = Intercepts(target=-4.0, death=-5.0)
    for _ in range(12):
        reached = cumulative_incidence(target=target, death=death, intercepts=intercepts, days=[5 * YEAR])
        first, second = reached.mean(axis=0)[:, 0]
        intercepts = Intercepts(
            target=intercepts.target + 1.7 * float(np.log(INCIDENCE_TARGET / first)),
            death=intercepts.death + 1.2 * float(np.log(INCIDENCE_DEATH / second)),
        )
    return Intercepts(target=round(intercepts.target, 6), death=round(intercepts.death, 6))


def draw_outcomes(*, parts: pd.DataFrame, intercepts: Intercepts, noise: Collection[str], seed: int) -> pd.DataFrame:
    """Draw index times, event times and the end of follow-up.

    Parameters
    ----------
    parts : pandas.DataFrame
        As `log_hazards` returns it, n rows.
    intercepts : Intercepts
        Intercepts of the log-hazards.
    noise : collection of str
        Modalities that carry no signal. Prior events are part of the health record: with "ehr" they befall anybody.
    seed : int
        Seed of the generator.

    Returns
    -------
    pandas.DataFrame
        n rows: index_time (datetime64[s]); days from the index time to target, death (both whether observed or not) and
        end (of follow-up: death, drop-out or the end of the study); prior (days, negative: myocardial infarction before
        the index time; NaN for most); history (days of record before the index time).
    """
    rng = np.random.default_rng([seed, STREAMS["outcome"]])
    n = len(parts)
    span = int((LAST_INDEX - FIRST_INDEX) / np.timedelta64(1, "D"))
    # Index visits are on whole minutes of office hours.
    minute = rng.integers(0, span, n) * 1440 + rng.integers(8 * 60, 17 * 60, n)
    index_time = FIRST_INDEX + minute * np.timedelta64(60, "s")

    target = (rng.exponential(size=n) / np.exp(parts["total"] + intercepts.target)) ** (1 / SHAPE_TARGET)
    rate = np.exp(parts["death"] + intercepts.death)
    threshold = rng.exponential(size=n)
    death = (threshold / rate) ** (1 / SHAPE_DEATH)
    # Having survived the target event, death comes at twice the hazard: what is left of the threshold goes faster.
    at_target = rate * target**SHAPE_DEATH
    faster = ((at_target + (threshold - at_target).clip(lower=0) / 2) / rate) ** (1 / SHAPE_DEATH)
    target_days = np.maximum(target.to_numpy() * YEAR, 2 * GAP)
    death_days = np.where(target < death, faster, death) * YEAR
    death_days = np.where(target < death, np.maximum(death_days, target_days + GAP), np.maximum(death_days, GAP))

    study_end = (STUDY_END - index_time) / np.timedelta64(1, "D")
    dropout = rng.exponential(YEAR / DROPOUT_PER_YEAR, n)
    end = np.minimum(np.minimum(study_end, np.maximum(dropout, GAP)), death_days)

    # Prevalent cases are drawn without replacement, more often where the hazard is high (Gumbel top-k).
    preference = 0.0 if "ehr" in noise else 0.7
    rank = np.argsort(-(preference * parts["total"].to_numpy() + rng.gumbel(size=n)))
    prevalent = np.zeros(n, dtype=bool)
    prevalent[rank[: round(PREVALENT * n)]] = True
    history = rng.uniform(2 * YEAR, 8 * YEAR, n)
    prior = np.where(prevalent, -rng.uniform(30, history - 30), np.nan)
    return pd.DataFrame(
        {
            "index_time": index_time,
            "target": target_days,
            "death": death_days,
            "end": end,
            "prior": prior,
            "history": history,
        }
    )
