"""One network for all endpoints of a study: a shared body, discrete-time hazards for each, and a risk set for each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from riskweave.networks.mlp import MLP
from riskweave.study.models import MultiEndpointModel
from riskweave.survival.discrete import cut_points, discretise, null_hazards
from riskweave.survival.heads.base import Head
from riskweave.survival.heads.intervals import IntervalLayer
from riskweave.survival.heads.logistic_hazard import LogisticHazardHead
from riskweave.survival.heads.losses import NLLLogistiHazardLoss
from riskweave.survival.neural import NeuralModel
from riskweave.survival.training import Prune, Whole, fit

__all__ = ["OUTSIDE", "AllEndpoints", "EndpointHead"]

OUTSIDE = -1
"""Event of a row that is not in an endpoint's risk set."""

_LOSS = NLLLogistiHazardLoss(reduction="none")


class EndpointHead(Head):
    """Logits of the discrete-time hazards of every endpoint and cause, each endpoint on its own time axis.

    The loss is pycox's of LogisticHazard (Kvamme and Borgan 2021, Lifetime Data Analysis 27:710, equation 6), summed
    over the causes of an endpoint and over its own risk set alone. A row that is not at risk for an endpoint adds
    nothing to it, and nothing to its gradients. In training it is the likelihood of all endpoints together, so that
    each event counts the same; on validation rows the mean over the endpoints of the loss relative to the null model's,
    so that an endpoint with many events does not decide alone when training stops.

    Outcomes are arrays with a column for each endpoint: time in days (> 0) and event, 0 censored, 1 target, 2..
    competing, or `OUTSIDE` where a row is not at risk for the endpoint.

    Parameters
    ----------
    causes_of : sequence of int
        Causes of each endpoint.
    intervals : int
        Intervals of each time axis asked for; see `riskweave.survival.discrete.cut_points`.
    """

    kind = "multi_endpoint"
    needs_outputs = True

    def __init__(self, *, causes_of: Sequence[int], intervals: int):
        super().__init__(causes=sum(causes_of), causes_of=list(causes_of), intervals=intervals)
        ends = np.cumsum(causes_of)
        self.places = [slice(int(end - causes), int(end)) for end, causes in zip(ends, causes_of, strict=True)]

    @property
    def cuts(self) -> list[np.ndarray]:
        """Cut points of each endpoint (J + 1,) in days."""
        return [np.array(cuts) for cuts in self.learnt["cuts"]]

    def learn(self, time: np.ndarray, event: np.ndarray) -> None:
        """Take the cut points of each endpoint from the training rows in its risk set.

        Raises
        ------
        DataError
            When an endpoint has no event.
        """
        columns = [(time[:, e], event[:, e]) for e in range(len(self.places))]
        self.learnt["cuts"] = [
            cut_points(when[what != OUTSIDE], what[what != OUTSIDE], intervals=self.options["intervals"]).tolist()
            for when, what in columns
        ]

    def layers(self, features: int, *, zero: bool) -> None:
        """Make the layer of all endpoints, as wide as the longest time axis."""
        intervals = max(len(cuts) for cuts in self.learnt["cuts"]) - 1
        self.layer = IntervalLayer(features, causes=self.causes, intervals=intervals, zero=zero)
        self.register_buffer("null", torch.zeros(self.causes, intervals))
        self.register_buffer("unit", torch.ones(()))

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the last interval that a row counts in and whether its event is in it, for all causes (n, causes).

        The interval is -1 where a row tells nothing: outside the endpoint's risk set, or censored early.
        """
        index = np.full((len(time), self.causes), -1, dtype=np.int64)
        observed = np.zeros((len(time), self.causes), dtype=np.float32)
        for e, (place, cuts) in enumerate(zip(self.places, self.cuts, strict=True)):
            rows = event[:, e] != OUTSIDE
            found = discretise(time[rows, e], event[rows, e], cuts=cuts, causes=place.stop - place.start)
            index[rows, place], observed[rows, place] = found
        return index, observed

    @torch.no_grad()
    def null_start(self, index: np.ndarray, observed: np.ndarray) -> None:
        """Start from the hazards of each endpoint's training rows together, whose loss is the unit from here on."""
        for place, cuts in zip(self.places, self.cuts, strict=True):
            hazards = null_hazards(index[:, place], observed[:, place], intervals=len(cuts) - 1)
            self.null[place, : len(cuts) - 1] = torch.from_numpy(np.log(hazards) - np.log1p(-hazards)).float()
        self.layer.baseline.copy_(self.null)
        lost = self.null_losses(torch.from_numpy(index), torch.from_numpy(observed)).sum() / len(index)
        self.unit.copy_(lost.clamp(min=1e-12))

    def forward(self, z: Tensor) -> Tensor:
        """Return the logits (n, causes of all endpoints, intervals) for `z` (n, features)."""
        return self.layer(z)

    def _losses(self, output: Tensor, index: Tensor, observed: Tensor) -> Tensor:
        """Return the loss of each cause, summed over its rows (causes,)."""
        each = _LOSS(output.flatten(0, 1), index.flatten().clamp(min=0), observed.flatten()).view_as(index)
        return (each * (index >= 0)).sum(dim=0)

    def null_losses(self, index: Tensor, observed: Tensor) -> Tensor:
        """Return what the null model of the training rows loses, for each cause, summed over the rows (causes,)."""
        return self._losses(self.null.expand(len(index), -1, -1), index, observed)

    def loss(self, output: Tensor, index: Tensor, observed: Tensor) -> Tensor:
        """Return the mean loss of rows over all endpoints; 1 is that of the null model on the training rows."""
        return self._losses(output, index, observed).sum() / len(output) / self.unit

    def validation_loss(self, output: Tensor, index: Tensor, observed: Tensor) -> Tensor:
        """Return the mean over the endpoints of the loss, relative to the null model's on the same rows."""
        loss, null = self._losses(output, index, observed), self.null_losses(index, observed)
        ratios = [loss[place].sum() / null[place].sum() for place in self.places if null[place].sum() > 0]
        return torch.stack(ratios).mean()

    @torch.no_grad()
    def finish(self, output: np.ndarray, time: np.ndarray, event: np.ndarray) -> None:
        """Estimate each endpoint's baselines from the outputs (n, causes, intervals) of the training rows."""
        for e, (place, cuts) in enumerate(zip(self.places, self.cuts, strict=True)):
            rows, kept = event[:, e] != OUTSIDE, slice(0, len(cuts) - 1)
            head = self.of_endpoint(e)
            labels = head.prepare(time[rows, e], event[rows, e])
            shifts = head.shifts(output[rows][:, place, kept], *labels)
            self.layer.baseline[place, kept] += torch.from_numpy(shifts).to(self.layer.baseline)

    def of_endpoint(self, endpoint: int) -> LogisticHazardHead:
        """Return the trained head of one endpoint, by its position, as that of a model of its own."""
        place, cuts, features = self.places[endpoint], self.learnt["cuts"][endpoint], self.features
        head = LogisticHazardHead(causes=place.stop - place.start, intervals=self.options["intervals"])
        head.learnt = {"cuts": cuts}
        head.connect(features)
        kept = slice(0, len(cuts) - 1)
        with torch.no_grad():
            varying = self.layer.varying.weight.view(self.causes, -1, features)[place, kept]
            head.layer.baseline.copy_(self.layer.baseline[place, kept])
            head.layer.shared.weight.copy_(self.layer.shared.weight[place])
            head.layer.varying.weight.copy_(varying.reshape(-1, features))
        return head.eval()


class AllEndpoints:
    """An estimator of all endpoints at once; a fusion fits it like any other (`riskweave.survival.registry.Estimator`).

    Parameters
    ----------
    block : MultiEndpointModel
        Block of the study.
    causes : mapping of endpoint to int
        Causes of each endpoint, in the order of the columns of the outcomes.
    seed, threads : int
        Seed of weights, batches and dropout; CPU threads.
    body : callable, optional
        Makes the layers below the head from the number of columns; see `riskweave.survival.neural.NeuralModel`.
    checkpoint, prune
        See `riskweave.survival.training.fit`.
    columns : list of str, optional
        Names of the columns, which a network has no use for.

    Attributes
    ----------
    models : dict of endpoint to NeuralModel
        After the fit: a model for each, of the shared body and the endpoint's own head. Their curves are those of the
        whole network.
    """

    def __init__(
        self,
        block: MultiEndpointModel,
        *,
        causes: Mapping[str, int],
        seed: int = 0,
        threads: int = 1,
        body: Callable[[int], nn.Module] | None = None,
        checkpoint: Path | None = None,
        prune: Prune | None = None,
        columns: list[str] | None = None,  # noqa: ARG002
    ):
        self.block, self.causes, self.seed, self.threads = block, causes, seed, threads
        self._body = body or (lambda p: MLP(p, hidden=block.hidden, dropout=block.dropout))
        self._further: dict[str, Any] = {"checkpoint": checkpoint, "prune": prune}
        self.models: dict[str, NeuralModel] = {}

    def fit(  # noqa: PLR0917 - the protocol of all estimators
        self,
        x_train: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        x_val: np.ndarray,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "AllEndpoints":
        """Train on everybody who is at risk for some endpoint, and stop early on such validation rows.

        Parameters
        ----------
        x_train, x_val : arrays (n, p)
            Columns, numeric, finite and scaled.
        time, event, time_val, event_val : arrays (n, E)
            Outcomes as `EndpointHead` takes them.

        Returns
        -------
        AllEndpoints
            Itself.

        Raises
        ------
        DataError
            When an endpoint has no event among its training rows, or inputs are not finite.
        """
        head = EndpointHead(causes_of=list(self.causes.values()), intervals=self.block.intervals)
        fitted = fit(
            lambda: self._body(x_train.shape[1]),
            head,
            inputs=x_train,
            time=time,
            event=event,
            inputs_val=x_val,
            time_val=time_val,
            event_val=event_val,
            training=self.block.training,
            seed=self.seed,
            threads=self.threads,
            zero_head=True,
            **self._further,
        )
        for position, (endpoint, causes) in enumerate(self.causes.items()):
            model = self.models[endpoint] = NeuralModel(self.block, causes=causes, seed=self.seed, threads=self.threads)
            model.network = Whole(fitted.net, head.of_endpoint(position))
            model.curves, model.best_epoch, model.architecture = fitted.curves, fitted.best_epoch, str(fitted.network)
        return self
