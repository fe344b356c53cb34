"""Cox-Time: relative hazards that depend on time, one network output for each cause."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from riskweave.study.models import CoxTimeModel
from riskweave.survival.competing import CELLS, at_times, cumulative_incidence
from riskweave.survival.discrete import check_events
from riskweave.survival.heads.base import Head, RiskSets
from riskweave.survival.heads.risk_sets import (
    Pairs,
    all_pairs,
    case_control_loss,
    comparable,
    fixed_pairs,
    sampled_pairs,
)

__all__ = ["HEAD", "CoxTimeHead"]

STEPS = 256
"""Most times at which the baseline hazard is estimated: quantiles of the event times where there are more."""

AT_RISK = 2048
"""Most subjects of a risk set whose mean relative hazard stands for it in the baseline."""

VALIDATION_CONTROLS = 16
"""Controls of each event in the validation loss, the same ones in each epoch."""


class CoxTimeHead(Head):
    r"""Relative hazard :math:`\exp g_k(t, z)` of each cause, from a hidden layer that sees z and the time.

    Kvamme, Borgan and Scheel 2019 (JMLR 20(129)): the hazard is :math:`\lambda_0(t) \exp g(t, x)`, trained on sampled
    risk sets with pycox's loss, the time of a comparison being that of its event, standardised over the training rows.
    Here :math:`g = w \cdot \mathrm{relu}(A z + a t + b)`; with the columns themselves as z this is pycox's network of
    one hidden layer. The part before z is the same for all times, so that a subject passes through it once. Without
    hidden units, :math:`g = w \cdot z + t\, v \cdot z`: a Cox model with effects that change linearly in time.

    Parameters
    ----------
    causes : int
        Causes K.
    controls : int
        Subjects at risk that each event is compared with in a batch.
    hidden : int
        Units of the hidden layer of each cause.
    dropout : float
        Dropout of the hidden layer (0 to 1).
    """

    kind = "cox_time"
    needs_outputs = True

    def __init__(self, *, causes: int, controls: int, hidden: int, dropout: float):
        super().__init__(causes=causes, controls=controls, hidden=hidden, dropout=dropout)
        self.risk_sets = RiskSets(controls=controls)
        self.hidden = hidden
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def options_of(cls, model: CoxTimeModel) -> dict:
        """Return the options that a model block of the study gives: the last hidden layer is the head's."""
        return {
            "controls": model.controls,
            "hidden": model.hidden[-1] if model.hidden else 0,
            "dropout": model.dropout,
        }

    @staticmethod
    def body_layers(hidden: Sequence[int]) -> Sequence[int]:
        """Return all hidden layers but the last, which is the head's."""
        return hidden[:-1]

    def learn(self, time: np.ndarray, event: np.ndarray) -> None:
        """Take the mean and the standard deviation of the times; refuse rows without events (DataError)."""
        check_events(event)
        self.learnt["mean"], self.learnt["std"] = float(np.mean(time)), float(np.std(time)) or 1.0

    def layers(self, features: int, *, zero: bool) -> None:
        """Make the layers."""
        width = self.hidden or 2
        self.enter = nn.Linear(features, self.causes * width, bias=self.hidden > 0)
        if not self.hidden:
            nn.init.zeros_(self.enter.weight)
            return
        bound = (features + 1) ** -0.5
        self.time = nn.Parameter(torch.empty(self.causes, width).uniform_(-bound, bound))
        self.leave = nn.Parameter(torch.empty(self.causes, width).uniform_(-(width**-0.5), width**-0.5))
        if zero:
            nn.init.zeros_(self.leave)

    def scaled(self, time: np.ndarray) -> np.ndarray:
        """Return days on the scale of the network."""
        return (np.asarray(time, dtype=np.float64) - self.learnt["mean"]) / self.learnt["std"]

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return scaled times and event codes, (n,) each."""
        return self.scaled(time), np.asarray(event, dtype=np.int64)

    def forward(self, z: Tensor) -> Tensor:
        """Return the inputs of the hidden layer but for the time, (n, causes, width), for `z` (n, features)."""
        return self.enter(z).view(len(z), self.causes, -1)

    def log_hazard(self, output: Tensor, time: Tensor, cause: Tensor | int) -> Tensor:
        """Return g (m,) for outputs of one cause each (m, width), scaled times (m,) and causes (m,) or one, from 0."""
        time = time.to(output)[:, None]
        if not self.hidden:
            return output[:, 0] + output[:, 1] * time[:, 0]
        return (self.dropout(torch.relu(output + self.time[cause] * time)) * self.leave[cause]).sum(dim=1)

    def _loss(self, output: Tensor, time: Tensor, event: Tensor, pairs: Pairs) -> Tensor:
        if not len(pairs.cases):
            return output.sum() * 0.0
        cause = event[pairs.cases] - 1
        case = self.log_hazard(output[pairs.cases, cause], time[pairs.cases], cause)
        cause, when = cause[pairs.of], time[pairs.cases][pairs.of]
        return case_control_loss(case, self.log_hazard(output[pairs.control, cause], when, cause), pairs)

    def loss(self, output: Tensor, time: Tensor, event: Tensor, *sampled: Tensor) -> Tensor:
        """Return the mean loss per event, of whole risk sets, or of sampled ones where the batch holds them."""
        pairs = sampled_pairs(time, *sampled) if sampled else all_pairs(time, event)
        return self._loss(output, time, event, pairs)

    def validation_loss(self, output: Tensor, time: Tensor, event: Tensor) -> Tensor:
        """Return the mean loss per event, each compared with `VALIDATION_CONTROLS` subjects at risk."""
        return self._loss(output, time, event, fixed_pairs(time, event, controls=VALIDATION_CONTROLS))

    def judged_by(self, *labels: np.ndarray) -> bool:
        """Tell whether validation rows with these labels have an event to compare."""
        return comparable(*labels)

    @torch.no_grad()
    def _relative(self, output: np.ndarray, times: np.ndarray, cause: int) -> np.ndarray:
        """Return exp g (n, times) in double precision, for outputs (n, causes, width) and days."""
        rows = torch.from_numpy(np.ascontiguousarray(output[:, cause]))
        each = [self.log_hazard(rows, torch.full((len(rows),), float(t)), cause) for t in self.scaled(times)]
        g = torch.stack(each, dim=1).double() if each else torch.zeros(len(rows), 0, dtype=torch.float64)
        return g.clamp(-50, 50).exp().numpy()

    def finish(self, output: np.ndarray, time: np.ndarray, event: np.ndarray) -> None:
        r"""Estimate each cause's baseline hazard.

        At an event time it is events over the sum of relative hazards at risk, as in pycox. That is the Nelson-Aalen
        increment over the mean relative hazard of those at risk. The mean is taken at no more than `STEPS` event times,
        each standing for its neighbours, and over no more than `AT_RISK` random subjects at risk.
        """
        time, event = np.asarray(time, dtype=float), np.asarray(event)
        order = np.argsort(time, kind="stable")
        generator = np.random.default_rng(0)
        self.learnt["baselines"] = []
        for cause in range(self.causes):
            times, events = np.unique(time[event == cause + 1], return_counts=True)
            first = np.searchsorted(time[order], times, side="left")
            increments = events / (len(time) - first)
            parts = np.array_split(np.arange(len(times)), min(STEPS, len(times))) if len(times) else []
            middle = np.array([part[len(part) // 2] for part in parts], dtype=int)
            for part, m in zip(parts, middle, strict=True):
                at_risk = order[first[m] :]
                if len(at_risk) > AT_RISK:
                    at_risk = generator.choice(at_risk, size=AT_RISK, replace=False)
                increments[part] /= self._relative(output[at_risk], times[[m]], cause).mean()
            self.learnt["baselines"].append(
                {
                    "times": times.tolist(),
                    "increments": increments.tolist(),
                    "step": np.repeat(np.arange(len(parts)), [len(part) for part in parts]).tolist(),
                    "at": times[middle].tolist(),
                }
            )

    def incidence(self, output: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the cumulative incidences (n, causes, times)."""
        times = np.asarray(times, dtype=float)
        jumps = [np.array(each["at"], dtype=float) for each in self.learnt["baselines"]]
        grid = np.unique(np.concatenate([times, *(jumps if self.causes > 1 else []), [0.0]]))
        spread = [self._spread(each, grid) for each in self.learnt["baselines"]]
        found = np.zeros((len(output), self.causes, len(times)))
        chunk = max(1, CELLS // (self.causes * max(len(grid), STEPS)))
        for start in range(0, len(output), chunk):
            rows = output[start : start + chunk]
            hazards = [self._relative(rows, jumps[k], k) @ spread[k] for k in range(self.causes)]
            found[start : start + chunk] = at_times(
                cumulative_incidence(np.stack(hazards, axis=1)), grid=grid, times=times
            )
        return found

    @staticmethod
    def _spread(baseline: dict, grid: np.ndarray) -> np.ndarray:
        """Return the baseline hazard of each step until each day of the grid, (steps, grid)."""
        until = np.searchsorted(grid, np.array(baseline["times"], dtype=float), side="left")
        spread = np.zeros((len(baseline["at"]), len(grid) + 1))
        np.add.at(spread, (np.array(baseline["step"], dtype=int), until), np.array(baseline["increments"]))
        return np.cumsum(spread[:, :-1], axis=1)


HEAD = CoxTimeHead
