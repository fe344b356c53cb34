"""Antolini's concordance against pycox, a plain double loop, and Harrell's for curves that do not cross."""

import numpy as np
import pytest
from survival_samples import simulate

from riskweave.evaluation.antolini import antolini_c
from riskweave.evaluation.metrics import harrell_c


def crossing_curves(risk, times, seed):
    """Incidences whose order changes over time, with ties."""
    shape = np.random.default_rng(seed).choice([0.5, 1.0, 2.0], len(risk))
    scale = np.exp(np.round(risk, 1))
    return 1 - np.exp(-((np.asarray(times) / np.max(times))[None, :] ** shape[:, None]) * scale[:, None])


def plain_antolini(time, event, risk, times):
    """Pair by pair."""
    concordant = pairs = 0.0
    for i in np.flatnonzero((event == 1) & (time <= times[-1])):
        column = np.flatnonzero(np.asarray(times) >= time[i])[0]
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and event[j] == 0) or event[j] == 2:
                pairs += 1
                mine, other = risk[i, column], risk[j, column]
                concordant += 1.0 if mine > other else 0.5 if mine == other else 0.0
    return concordant / pairs


@pytest.mark.parametrize("competing", [False, True])
@pytest.mark.parametrize("days", [None, 7])
def test_equals_pair_by_pair(competing, days):
    time, event, risk = simulate(21, 180, competing=competing, days=days)
    times = np.quantile(time, [0.2, 0.5, 0.9])
    curves = crossing_curves(risk, times, 22)
    found = antolini_c(time=time, event=event, risk=curves, times=times)
    assert found == pytest.approx(plain_antolini(time, event, curves, times), abs=1e-14)
    rows = np.stack([np.bincount(np.random.default_rng(s).integers(0, 180, 180), minlength=180) for s in (1, 2)])
    resampled = antolini_c(time=time, event=event, risk=curves, times=times, weights=rows)
    for row, value in zip(rows, resampled, strict=True):
        drawn = np.repeat(np.arange(180), row)
        assert value == pytest.approx(plain_antolini(time[drawn], event[drawn], curves[drawn], times), abs=1e-14)
        assert antolini_c(time=time, event=event, risk=curves, times=times, weights=row) == value


def test_equals_pycox_where_no_two_events_share_a_time():
    # pycox's adjusted form counts two events of the same time by a rule of its own
    concordance = pytest.importorskip("pycox.evaluation.concordance").concordance_td
    time, event, risk = simulate(23, 300)
    times = np.sort(time)
    curves = crossing_curves(risk, times, 24)
    columns = np.searchsorted(times, time)
    theirs = concordance(time, event, 1 - curves.T, columns, method="adj_antolini")
    assert antolini_c(time=time, event=event, risk=curves, times=times) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("competing", [False, True])
def test_equals_harrell_for_proportional_hazards_and_chance_for_a_constant(competing):
    time, event, risk = simulate(25, 500, competing=competing, days=15, levels=3)
    times = np.arange(1.0, time.max() + 1)
    curves = 1 - np.exp(-np.outer(np.exp(risk / 3), times / 20))
    expected = harrell_c(time=time, event=event, risk=risk)
    assert antolini_c(time=time, event=event, risk=curves, times=times) == pytest.approx(expected, abs=1e-14)
    constant = np.broadcast_to(np.linspace(0.1, 0.8, len(times)), curves.shape)
    assert antolini_c(time=time, event=event, risk=constant, times=times) == 0.5


def test_permuted_curves_are_near_chance_and_no_pair_gives_none():
    time, event, risk = simulate(26, 3000, days=20)
    times = np.arange(5.0, 40.0, 5.0)
    curves = np.random.default_rng(27).permutation(crossing_curves(risk, times, 28))
    assert antolini_c(time=time, event=event, risk=curves, times=times) == pytest.approx(0.5, abs=0.03)
    assert np.isnan(antolini_c(time=np.ones(3), event=np.ones(3, int), risk=np.ones((3, 1)), times=[1.0]))
    with pytest.raises(ValueError, match="risks"):
        antolini_c(time=time, event=event, risk=curves[:, ::-1], times=times[::-1])
