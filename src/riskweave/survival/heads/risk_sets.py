"""Partial likelihoods: of whole risk sets, and of risk sets sampled into a batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from riskweave.survival.heads.losses import CoxCCLoss, CoxPHLossSorted

__all__ = [
    "Pairs",
    "all_pairs",
    "case_control_loss",
    "comparable",
    "fixed_pairs",
    "partial_likelihood",
    "sampled_pairs",
]

_WHOLE = CoxPHLossSorted()
_SAMPLED = CoxCCLoss()

LARGEST = 80.0
"""Largest difference of log hazards that enters an exponential, as in pycox."""


@dataclass(frozen=True)
class Pairs:
    """Events, and with which rows each is compared.

    Attributes
    ----------
    cases : int64 tensor (E,)
        Rows with the events.
    of : int64 tensor (P,)
        For each comparison, the position of its event in `cases`.
    control : int64 tensor (P,)
        For each comparison, the row of a subject still at risk.
    """

    cases: Tensor
    of: Tensor
    control: Tensor


def sampled_pairs(time: Tensor, subject: Tensor, group: Tensor, case: Tensor) -> Pairs:
    """Return the comparisons of a batch of `riskweave.survival.training.batches.RiskSetBatches`, labels (m,) each."""
    cases = torch.nonzero(case > 0)[:, 0]
    others = torch.nonzero(case == 0)[:, 0]
    compared = (
        (group[cases, None] == group[others])
        & (time[others] >= time[cases, None])
        & (subject[others] != subject[cases, None])
    )
    of, position = torch.nonzero(compared, as_tuple=True)
    return Pairs(cases, of, others[position])


def all_pairs(time: Tensor, event: Tensor) -> Pairs:
    """Return the comparisons of each event with everybody else at risk, labels (n,) each."""
    cases = torch.nonzero(event > 0)[:, 0]
    compared = time >= time[cases, None]
    compared[torch.arange(len(cases), device=cases.device), cases] = False
    return Pairs(cases, *torch.nonzero(compared, as_tuple=True))


def comparable(time: np.ndarray, event: np.ndarray) -> bool:
    """Tell whether some event among rows with these labels, (n,) each, happens while another row is at risk."""
    at_risk = len(time) - np.searchsorted(np.sort(time), time[event > 0], side="left")
    return bool((at_risk > 1).any())


def fixed_pairs(time: Tensor, event: Tensor, *, controls: int) -> Pairs:
    """Return the comparisons of each event with `controls` random subjects at risk, the same ones in each call."""
    when = time.cpu().numpy()
    order = np.argsort(when, kind="stable")
    cases = np.flatnonzero(event.cpu().numpy() > 0)
    first = np.searchsorted(when[order], when[cases], side="left")
    drawn = np.random.default_rng(0).random((len(cases), controls))
    found = order[first[:, None] + (drawn * (len(order) - first)[:, None]).astype(np.int64)]
    of, position = np.nonzero(found != cases[:, None])
    tensors = (torch.from_numpy(each).to(time.device) for each in (cases, of, found[of, position]))
    return Pairs(*tensors)


def case_control_loss(log_hazard: Tensor, log_hazard_control: Tensor, pairs: Pairs) -> Tensor:
    """Return the mean negative log partial likelihood of events among their controls; that of equal hazards is 0.

    Parameters
    ----------
    log_hazard : Tensor (E,)
        Of the events' subjects, at their time.
    log_hazard_control : Tensor (P,)
        Of the compared subjects, at the time of the event.
    pairs : Pairs
        The comparisons.
    """
    difference = (log_hazard_control - log_hazard[pairs.of]).clamp(max=LARGEST)
    sums = torch.zeros_like(log_hazard).index_add(0, pairs.of, difference.exp())
    # All controls of an event as one, whose hazard is their sum: pycox's loss of a single control is then that of many.
    together = log_hazard + sums.clamp(min=1e-30).log()
    count = torch.bincount(pairs.of, minlength=len(log_hazard)).to(log_hazard)
    return _SAMPLED(log_hazard, together) - torch.log1p(count).mean()


def partial_likelihood(log_hazard: Tensor, time: Tensor, observed: Tensor) -> Tensor:
    """Return the summed negative log partial likelihood of all rows; that of equal hazards is 0.

    pycox's loss, with events after censorings of the same time, so that these are at risk. Tied events are taken one
    after the other.

    Parameters
    ----------
    log_hazard, time : Tensors (n,)
        Log hazards and times.
    observed : bool Tensor (n,)
        Whether the event happened at that time.
    """
    if not observed.any():
        return log_hazard.sum() * 0.0
    order = torch.argsort(observed.long(), stable=True)
    order = order[torch.argsort(time[order], descending=True, stable=True)]
    events = observed[order].to(log_hazard)
    at_risk = torch.arange(1, len(order) + 1, device=order.device).to(log_hazard)
    return _WHOLE(log_hazard[order], events) * events.sum() - (at_risk.log() * events).sum()
