"""Estimators as torch modules, one subject at a time in double precision, to be exported as a part of an ONNX graph."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from riskweave.deployment.recipe import Boosted, Cox, Network, Recalibrated, Trees, Weibull
from riskweave.evaluation.cloglog import INCIDENCE_FLOOR
from riskweave.survival.competing import at_times

__all__ = ["Constants", "RecalibratedRisks", "estimator"]


class Constants(nn.Module):
    """Keeps arrays as buffers, which travel into the graph."""

    def keep(self, **arrays: object) -> None:
        """Register arrays by their names."""
        for name, values in arrays.items():
            self.register_buffer(name, torch.as_tensor(np.asarray(values)))


def estimator(model: Cox | Boosted | Weibull | Network, times: Sequence[float]) -> nn.Module:
    """Return what makes risks (causes, times) of a design row (columns,), or of what a network made of it."""
    if isinstance(model, Network):
        return _DeepSurv(model, times) if model.kind == "deep_surv" else _Discrete(model, times)
    return {Cox: _Cox, Boosted: _Boosted, Weibull: _Weibull}[type(model)](model, times)


class _Proportional(Constants):
    """`riskweave.survival.proportional.proportional_incidence` of one subject."""

    def __init__(self, baselines: Sequence[tuple[np.ndarray, np.ndarray]], times: Sequence[float]):
        super().__init__()
        wanted = np.asarray(times, dtype=float)
        steps = [(np.asarray(days, dtype=float), np.asarray(hazard, dtype=float)) for days, hazard in baselines]
        # Of one cause the hazards at the times suffice: the file does not tell the days of single events then.
        grid = np.unique(wanted if len(steps) == 1 else np.concatenate([*(days for days, _ in steps), [0.0]]))
        grid = grid[grid <= wanted.max()]
        hazards = np.stack(
            [at_times(hazard, grid=days, times=grid) if len(days) else np.zeros(len(grid)) for days, hazard in steps]
        )
        self.keep(increments=np.diff(hazards, prepend=0.0), places=np.searchsorted(grid, wanted, side="right"))

    def forward(self, log_ratio: Tensor) -> Tensor:
        increments = torch.exp(log_ratio.clamp(-50.0, 50.0)).unsqueeze(1) * self.increments
        return _incidence(increments)[:, self.places]


class _Cox(Constants):
    def __init__(self, model: Cox, times: Sequence[float]):
        super().__init__()
        self.keep(coefficients=model.coefficients, means=model.means)
        self.risks = _Proportional(model.baselines, times)

    def forward(self, design: Tensor) -> Tensor:
        return self.risks(((design - self.means) * self.coefficients).sum(dim=1))


class _Trees(Constants):
    """The log hazard ratio of one cause from its trees, all of which are gone down at once."""

    def __init__(self, trees: Trees):
        super().__init__()
        splits, leaves = len(trees.columns), len(trees.leaves)
        # Splits, then leaves, at which a walk stays. One more leaf of nothing: a cause may have no trees.
        ends = np.arange(splits, splits + leaves + 1)
        places = [np.where(each >= 0, each, splits - 1 - each) for each in (trees.roots, trees.left, trees.right)]
        roots, left, right = (each.astype(np.int64) for each in places)
        self.keep(
            roots=np.append(roots, ends[-1]),
            columns=np.concatenate([trees.columns, np.zeros(len(ends), dtype=np.int64)]),
            thresholds=np.concatenate([trees.thresholds, np.zeros(len(ends), dtype=np.float32)]),
            left=np.concatenate([left, ends]),
            right=np.concatenate([right, ends]),
            values=np.concatenate([np.zeros(splits), trees.leaves, [0.0]]),
            # As an array: a plain number would be rounded to single precision.
            centre=np.float64(trees.centre),
        )
        self.depth, reached = 0, roots[roots < splits]
        while len(reached):
            reached = np.unique(np.concatenate([left[reached], right[reached]]))
            reached, self.depth = reached[reached < splits], self.depth + 1

    def forward(self, design: Tensor) -> Tensor:
        place = self.roots
        for _ in range(self.depth):
            leftwards = design[self.columns[place]] <= self.thresholds[place]
            place = torch.where(leftwards, self.left[place], self.right[place])
        return self.values[place].sum() - self.centre


class _Boosted(nn.Module):
    def __init__(self, model: Boosted, times: Sequence[float]):
        super().__init__()
        self.trees = nn.ModuleList(map(_Trees, model.trees))
        self.risks = _Proportional(model.baselines, times)

    def forward(self, design: Tensor) -> Tensor:
        single = design.float()
        return self.risks(torch.stack([trees(single) for trees in self.trees]))


class _Weibull(Constants):
    """`riskweave.survival.weibull.CauseSpecificWeibull.predict` of one subject."""

    def __init__(self, model: Weibull, times: Sequence[float]):
        super().__init__()
        with np.errstate(divide="ignore"):
            logarithms = np.log(model.days)
        self.keep(
            intercepts=model.intercepts,
            slopes=model.slopes,
            shapes=model.shapes[:, None],
            logarithms=logarithms,
            places=np.searchsorted(model.days, np.asarray(times, dtype=float), side="right"),
        )

    def forward(self, design: Tensor) -> Tensor:
        location = (self.intercepts + self.slopes @ design).unsqueeze(1)
        hazards = torch.exp((self.shapes * (self.logarithms - location)).clamp(max=50.0))
        before = torch.cat([torch.zeros_like(hazards[:, :1]), hazards[:, :-1]], dim=1)
        return _incidence(hazards - before)[:, self.places]


class _DeepSurv(nn.Module):
    def __init__(self, model: Network, times: Sequence[float]):
        super().__init__()
        self.network = model.module
        self.risks = _Proportional(model.learnt["baselines"], times)

    def forward(self, design: Tensor) -> Tensor:
        return self.risks(self.network(design.float().unsqueeze(0))[0].double())


class _Discrete(Constants):
    """A network whose outputs mean hazards of intervals, and `riskweave.survival.discrete.cumulative_incidence`."""

    def __init__(self, model: Network, times: Sequence[float]):
        super().__init__()
        self.network, self.kind = model.module, model.kind
        cuts, wanted = np.asarray(model.cuts, dtype=float), np.asarray(times, dtype=float)
        places = np.clip(np.searchsorted(cuts[1:], wanted, side="left"), 0, len(cuts) - 2)
        self.keep(places=places, fraction=(wanted - cuts[places]) / np.diff(cuts)[places])

    def hazards(self, output: Tensor) -> Tensor:
        """Return what ``-log(1 - h)`` is of the discrete hazards h (causes, intervals) that outputs mean."""
        if self.kind in {"logistic_hazard", "pc_hazard"}:
            return output.clamp(min=0.0) + torch.log1p(torch.exp(-output.abs()))
        if self.kind in {"pmf", "deep_hit"}:
            return _rates(output)
        score = torch.flip(torch.cumsum(torch.flip(output, [1]), dim=1), [1])
        return torch.cat([_rates(score[k : k + 1]) for k in range(len(score))])

    def forward(self, design: Tensor) -> Tensor:
        hazard = self.hazards(self.network(design.float().unsqueeze(0))[0].double())
        total = hazard.sum(dim=0)
        share = _share(hazard, total)
        survival = torch.exp(total - torch.cumsum(total, dim=0))
        growth = share * (survival * -torch.expm1(-total))
        incidence = torch.cumsum(growth, dim=1) - growth
        part = survival[self.places] * -torch.expm1(-total[self.places] * self.fraction)
        return (incidence[:, self.places] + share[:, self.places] * part).clamp(max=1.0)


class RecalibratedRisks(Constants):
    """`riskweave.evaluation.recalibration.apply_recalibrations` of one subject."""

    def __init__(self, learnt: Sequence[Recalibrated]):
        super().__init__()
        self.keep(
            reference=[each.reference for each in learnt],
            intercept=[[float(each.intercept)] for each in learnt],
            slope=[[float(each.slope)] for each in learnt],
            # ONNX has no highest value so far: it is the highest of those up to each time.
            so_far=np.tri(len(learnt[0].reference), dtype=bool),
        )

    def forward(self, risks: Tensor) -> Tensor:
        """Move risks (causes, times), as `riskweave.evaluation.recalibration` does."""
        kept = risks.clamp(INCIDENCE_FLOOR, 1 - INCIDENCE_FLOOR)
        centred = torch.log(-torch.log1p(-kept)) - self.reference
        moved = (self.reference + self.intercept + self.slope * centred).clamp(max=700.0)
        made = -torch.expm1(-torch.exp(moved))
        made = torch.where(self.so_far, made.unsqueeze(1), 0.0).amax(dim=2)
        return made / made[:, -1].sum().clamp(min=1.0)


def _incidence(increments: Tensor) -> Tensor:
    """Return cumulative incidences (causes, n + 1), 0 first, from steps of cumulative hazards (causes, n).

    See `riskweave.survival.competing.cumulative_incidence`, ``exponential``.
    """
    total = increments.sum(dim=0)
    after = torch.exp(-torch.cumsum(total, dim=0))
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    growth = before * -torch.expm1(-total) * _share(increments, total)
    incidence = torch.cumsum(growth, dim=1).clamp(max=1.0)
    return torch.cat([torch.zeros_like(incidence[:, :1]), incidence], dim=1)


def _share(parts: Tensor, total: Tensor) -> Tensor:
    """Return each cause's share (causes, n) of a total (n,); 0 where the total is."""
    return torch.where(total > 0, parts / torch.where(total > 0, total, 1.0), 0.0)


def _rates(score: Tensor) -> Tensor:
    """Return the cumulative hazard of each interval from scores (causes, intervals) of a softmax with no event at 0.

    See `riskweave.survival.heads.pmf.probabilities` and `riskweave.survival.heads.intervals.hazards_of_incidence`.
    """
    highest = score.amax(dim=(0, 1)).clamp(min=0.0)
    weight, rest = torch.exp(score - highest), torch.exp(-highest)
    whole = weight.sum() + rest
    probability, after = weight / whole, (rest / whole).reshape(1)
    total = probability.sum(dim=0)
    left = torch.flip(torch.cumsum(torch.cat([after, torch.flip(total, [0])]), dim=0), [0])
    rate = torch.log(left[:-1]) - torch.log(left[1:])
    return rate * _share(probability, total)
