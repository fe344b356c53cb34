"""DeepSurv: cause-specific proportional hazards with the network's output as log hazard ratio."""

import numpy as np
from torch import Tensor, nn

from riskweave.study.models import NetworkModel
from riskweave.survival.discrete import check_events
from riskweave.survival.heads.base import Head, RiskSets
from riskweave.survival.heads.risk_sets import case_control_loss, comparable, partial_likelihood, sampled_pairs
from riskweave.survival.proportional import Baseline, breslow, proportional_incidence

__all__ = ["HEAD", "DeepSurvHead"]


class DeepSurvHead(Head):
    """One log hazard ratio for each cause.

    The partial likelihood of a network (Faraggi and Simon 1995, Statistics in Medicine 14:73; Katzman et al. 2018, BMC
    Medical Research Methodology 18:24) with pycox's losses. Events of other causes are censorings of a cause. Training
    batches hold sampled risk sets; the validation loss is that of the whole risk sets. Losses are per event, less those
    of equal hazards: 0 is the null model.
    """

    kind = "deep_surv"
    risk_sets = RiskSets(controls=3, group=8)
    needs_outputs = True

    @classmethod
    def options_of(cls, model: NetworkModel) -> dict:  # noqa: ARG003
        """Return the options that a model block of the study gives: none."""
        return {}

    def learn(self, time: np.ndarray, event: np.ndarray) -> None:  # noqa: ARG002
        """Refuse training rows without events (DataError); there is nothing to learn yet."""
        check_events(event)

    def layers(self, features: int, *, zero: bool) -> None:
        """Make the layer: linear without a constant, which the baseline hazard holds."""
        self.layer = nn.Linear(features, self.causes, bias=False)
        if zero:
            nn.init.zeros_(self.layer.weight)

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return days and event codes, (n,) each."""
        return np.asarray(time, dtype=np.float64), np.asarray(event, dtype=np.int64)

    def forward(self, z: Tensor) -> Tensor:
        """Return the log hazard ratios (n, causes) for `z` (n, features)."""
        return self.layer(z)

    def loss(self, output: Tensor, time: Tensor, event: Tensor, *sampled: Tensor) -> Tensor:
        """Return the mean loss per event: of whole risk sets, or of sampled ones where the batch holds them."""
        if sampled:
            pairs = sampled_pairs(time, *sampled)
            cause = event[pairs.cases] - 1
            return case_control_loss(output[pairs.cases, cause], output[pairs.control, cause[pairs.of]], pairs)
        total = sum(partial_likelihood(output[:, k], time, event == k + 1) for k in range(self.causes))
        return total / (event > 0).sum().clamp(min=1)

    def judged_by(self, *labels: np.ndarray) -> bool:
        """Tell whether validation rows with these labels have an event to compare."""
        return comparable(*labels)

    def finish(self, output: np.ndarray, time: np.ndarray, event: np.ndarray) -> None:
        """Estimate each cause's baseline hazard."""
        baselines = [breslow(output[:, k], np.asarray(time, dtype=float), event == k + 1) for k in range(self.causes)]
        self.learnt["baselines"] = [(each.times.tolist(), each.cumulative.tolist()) for each in baselines]

    def incidence(self, output: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the cumulative incidences (n, causes, times)."""
        baselines = [
            Baseline(np.array(days), np.array(cumulative)) if days else None
            for days, cumulative in self.learnt["baselines"]
        ]
        return proportional_incidence(np.asarray(output, dtype=np.float64), baselines, times)

    def linear_predictor(self, output: np.ndarray) -> np.ndarray:
        """Return the log hazard ratio of the target (n,)."""
        return np.asarray(output[:, 0], dtype=np.float64)


HEAD = DeepSurvHead
