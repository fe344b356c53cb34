"""The whole of a deployed model as one ONNX graph: for those who rather run it with ONNX Runtime.

The graph begins where values are known: columns of the feature tables, recordings as encoders read them. Design, risks
and their mean are computed in double precision, networks in single precision, as everywhere.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from riskweave.deployment.networks import to_onnx
from riskweave.deployment.recipe import Boosted, Cox, Member, Network, Recipe, Trees, Weibull
from riskweave.survival.competing import at_times

__all__ = ["export_onnx", "onnx_inputs"]

_WITHOUT_EVENTS = {"count": 0.0, "ever": 0.0}
"""Values of columns that tell nothing of a person: nothing was counted. Of all others, a missing one."""


def export_onnx(recipe: Recipe) -> bytes:
    """Return a model as an ONNX file; the same recipe gives the same bytes.

    Inputs are ``columns`` (double, the recipe's columns in their order, NaN where one is missing), and where encoders
    read recordings ``ecg`` (float, (1, 12, samples) in mV) with ``has_ecg`` and ``image`` (float, (1, size, size)) with
    ``has_image`` (double, (1,), 1 where there is a recording; else 0, and the recording is not looked at). A study that
    measures recordings without encoding them has ``has_ecg`` or ``has_image`` alone. The output is ``risks`` (double,
    (causes, times)).

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    bytes
    """
    return to_onnx(_Deployed(recipe).eval(), onnx_inputs(recipe), result="risks").SerializeToString(deterministic=True)


def onnx_inputs(recipe: Recipe) -> dict[str, Tensor]:
    """Return inputs of the graph by name, of right sizes and types: nothing is known of this person."""
    made = {"columns": torch.full((len(recipe.columns),), torch.nan, dtype=torch.float64)}
    read = {encoder.recording for member in recipe.members for encoder in member.encoders}
    if recipe.ecg is not None:
        samples = round(recipe.ecg.seconds * recipe.ecg.sampling_rate)
        made |= {"ecg": torch.zeros(1, 12, samples)} if "ecg" in read else {}
        made["has_ecg"] = torch.zeros(1, dtype=torch.float64)
    if recipe.image is not None:
        size = recipe.image.size
        made |= {"image": torch.zeros(1, size, size)} if "image" in read else {}
        made["has_image"] = torch.zeros(1, dtype=torch.float64)
    return made


class _Constants(nn.Module):
    """Keeps arrays as buffers, which travel into the graph."""

    def _keep(self, **arrays: object) -> None:
        for name, values in arrays.items():
            self.register_buffer(name, torch.as_tensor(np.asarray(values)))


class _Deployed(_Constants):
    """A recipe as a module: from the inputs of `onnx_inputs`, in their order, to risks (causes, times)."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.names = tuple(onnx_inputs(recipe))
        sets, columns = recipe.feature_sets, recipe.columns
        self._keep(
            nothing=[_WITHOUT_EVENTS.get(column.made, np.nan) for column in columns],
            always=[float(each.presence == "always") for each in sets],
            of_ecg=[float(each.presence == "ecg") for each in sets],
            of_image=[float(each.presence == "image") for each in sets],
            measured=[
                [float(each.presence == "measured" and column.feature_set == place) for column in columns]
                for place, each in enumerate(sets)
            ],
            modality=[[float(each.modality == modality) for each in sets] for modality in recipe.modalities],
        )
        self.members = nn.ModuleList(_Member(recipe, member) for member in recipe.members)

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.names, inputs, strict=True))
        columns = given["columns"]
        tells = torch.logical_not(torch.isnan(columns) | (columns == self.nothing)).double()
        rows = self.always + self.measured @ tells
        for name in ("ecg", "image"):
            if f"has_{name}" in given:
                rows = rows + getattr(self, f"of_{name}") * given[f"has_{name}"]
        present = self.modality @ rows > 0
        return torch.stack([member(given, present) for member in self.members]).mean(dim=0)


class _Member(_Constants):
    """One fitted model: encoders, design, risks."""

    def __init__(self, recipe: Recipe, member: Member):
        super().__init__()
        terms = member.terms
        width = max((len(term.categories) for term in terms), default=0)
        self._keep(
            places=np.array(
                [t.column if t.column >= 0 else len(recipe.columns) - 1 - t.column for t in terms], dtype=np.int64
            ),
            # -2 is no place: it fills the rows.
            categories=np.array([[*t.categories, *[-2] * (1 + width - len(t.categories))] for t in terms], dtype=float),
            is_missing=[term.kind == "missing" for term in terms],
            is_category=[term.kind == "category" for term in terms],
            lower=[term.lower for term in terms],
            upper=[term.upper for term in terms],
            fill=[term.fill for term in terms],
            mean=[term.mean for term in terms],
            scale=[term.scale for term in terms],
            modality=np.array([term.modality for term in terms], dtype=np.int64),
            masks=np.array(member.masks, dtype=np.int64),
        )
        self.embeddings = member.embeddings
        self.encoders = nn.ModuleList(encoder.module for encoder in member.encoders)
        self.encoded = [(each.recording, each.first, each.count) for each in member.encoders]
        self.model = _model(member.model, recipe.times)

    def _embedded(self, given: dict[str, Tensor]) -> list[Tensor]:
        """Return the embeddings in parts: missing where the recording is, 0 where no encoder has signal."""
        parts, end = [], 0
        pairs = zip(self.encoded, self.encoders, strict=True)
        for (recording, first, count), encoder in sorted(pairs, key=lambda pair: pair[0][1]):
            found = encoder(given[recording])[0].double()
            found = torch.where(given[f"has_{recording}"] > 0, found, torch.full_like(found, torch.nan))
            parts += [torch.zeros(first - end, dtype=torch.float64), found]
            end = first + count
        parts.append(torch.zeros(self.embeddings - end, dtype=torch.float64))
        return [part for part in parts if len(part)]

    def forward(self, given: dict[str, Tensor], present: Tensor) -> Tensor:
        values = torch.cat([given["columns"], *self._embedded(given)])[self.places]
        missing = torch.isnan(values)
        numbers = torch.where(missing, self.fill, torch.minimum(torch.maximum(values, self.lower), self.upper))
        place = torch.where(missing, -1.0, values)
        within = (place.unsqueeze(1) == self.categories).double().amax(dim=1)
        made = torch.where(self.is_missing, missing.double(), torch.where(self.is_category, within, numbers))
        made = torch.where(present[self.modality], (made - self.mean) / self.scale, 0.0)
        return self.model(torch.cat([made, present[self.masks].double()]))


def _model(model: Cox | Boosted | Weibull | Network, times: Sequence[float]) -> nn.Module:
    if isinstance(model, Network):
        return _DeepSurv(model, times) if model.kind == "deep_surv" else _Discrete(model, times)
    return {Cox: _Cox, Boosted: _Boosted, Weibull: _Weibull}[type(model)](model, times)


class _Proportional(_Constants):
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
        self._keep(increments=np.diff(hazards, prepend=0.0), places=np.searchsorted(grid, wanted, side="right"))

    def forward(self, log_ratio: Tensor) -> Tensor:
        increments = torch.exp(log_ratio.clamp(-50.0, 50.0)).unsqueeze(1) * self.increments
        return _incidence(increments)[:, self.places]


class _Cox(_Constants):
    def __init__(self, model: Cox, times: Sequence[float]):
        super().__init__()
        self._keep(coefficients=model.coefficients, means=model.means)
        self.risks = _Proportional(model.baselines, times)

    def forward(self, design: Tensor) -> Tensor:
        return self.risks(((design - self.means) * self.coefficients).sum(dim=1))


class _Trees(_Constants):
    """The log hazard ratio of one cause from its trees, all of which are gone down at once."""

    def __init__(self, trees: Trees):
        super().__init__()
        splits, leaves = len(trees.columns), len(trees.leaves)
        # Splits, then leaves, at which a walk stays. One more leaf of nothing: a cause may have no trees.
        ends = np.arange(splits, splits + leaves + 1)
        places = [np.where(each >= 0, each, splits - 1 - each) for each in (trees.roots, trees.left, trees.right)]
        roots, left, right = (each.astype(np.int64) for each in places)
        self._keep(
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


class _Weibull(_Constants):
    """`riskweave.survival.weibull.CauseSpecificWeibull.predict` of one subject."""

    def __init__(self, model: Weibull, times: Sequence[float]):
        super().__init__()
        with np.errstate(divide="ignore"):
            logarithms = np.log(model.days)
        self._keep(
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


class _Discrete(_Constants):
    """A network whose outputs mean hazards of intervals, and `riskweave.survival.discrete.cumulative_incidence`."""

    def __init__(self, model: Network, times: Sequence[float]):
        super().__init__()
        self.network, self.kind = model.module, model.kind
        cuts, wanted = np.asarray(model.cuts, dtype=float), np.asarray(times, dtype=float)
        places = np.clip(np.searchsorted(cuts[1:], wanted, side="left"), 0, len(cuts) - 2)
        self._keep(places=places, fraction=(wanted - cuts[places]) / np.diff(cuts)[places])

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
