"""Joint fusion: attention fusion first, then its network and the encoders together, end to end."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from riskweave.fusion import attention
from riskweave.fusion.recordings import Encoded, JointInputs, open_encoded
from riskweave.modalities.registry import find_modality
from riskweave.networks.fusion import Joint as JointNetwork
from riskweave.study.fusions import JointFusion
from riskweave.study.models import NetworkModel
from riskweave.study.training import Training
from riskweave.survival.design import Design
from riskweave.survival.heads import build_head
from riskweave.survival.preprocessing import DesignMatrix
from riskweave.survival.registry import Estimator
from riskweave.survival.sets import RecordedFiles
from riskweave.survival.training import fit, outputs

__all__ = ["Joint", "from_block"]


class Joint:
    """Encoders and attention fusion, trained end to end from the weights that each has found alone.

    First the attention fusion is trained on the design, whose embeddings of training rows come from networks that have
    not seen them. Then the embeddings are replaced by the encoders themselves, and all is trained on, the encoders more
    slowly. The weights before that count as its epoch 0: where training end to end does not help on the validation
    rows, the attention fusion stays as it was. Encoders without signal, whose columns the design has dropped, are left
    out.

    Parameters
    ----------
    first : Attention
        The unfitted attention fusion.
    encoded : sequence of Encoded
        The encoders of the fold.
    preprocessing : DesignMatrix
        The one that made the designs.
    model : NetworkModel
        Block of the study.
    training : Training
        How the whole is trained.
    encoder_rate : float
        Learning rate of the encoders, as a share of the others'.
    causes, seed, threads : int
    checkpoint : Path, optional
        Folder that keeps the training while it runs.

    Attributes
    ----------
    curves : DataFrame
        epoch, metric, value; of the training end to end the metrics are ``joint:<metric>``.
    params : dict
        ``joint_best_epoch``: 0 where the attention fusion stays as it was.
    """

    def __init__(
        self,
        first: attention.Attention,
        *,
        encoded: Sequence[Encoded],
        preprocessing: DesignMatrix,
        model: NetworkModel,
        training: Training,
        encoder_rate: float,
        causes: int,
        seed: int,
        threads: int,
        checkpoint: Path | None = None,
    ):
        self.first, self.encoded, self.preprocessing = first, list(encoded), preprocessing
        self.model, self.training, self.encoder_rate, self.causes = model, training, encoder_rate, causes
        self.seed, self.threads, self._checkpoint = seed, threads, checkpoint
        self.params: dict = {}

    def fit(  # noqa: PLR0917 - the protocol of all fusions
        self,
        design: Design,
        time: np.ndarray,
        event: np.ndarray,
        design_val: Design,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "Joint":
        """Train the fusion, then the whole, on the training rows; stop early on the validation rows.

        Raises
        ------
        DataError
            When an encoder was fitted on other rows than the training rows.
        """
        for encoded in self.encoded:
            encoded.check(design.subjects)
        self.first.fit(design, time, event, design_val, time_val, event_val)
        self.curves, self.network = self.first.curves, None
        names = set(design.columns)
        self.encoded = [encoded for encoded in self.encoded if names & set(encoded.columns)]
        if self.encoded:
            self._train(design, time, event, design_val, time_val, event_val)
        return self

    def predict(self, design: Design, times: list[int]) -> np.ndarray:
        """Return cumulative incidences of shape (n, causes, times), of every row whatever it lacks."""
        if self.network is None:
            return self.first.predict(design, times)
        return self.network[1].incidence(self._outputs(design), np.asarray(times, dtype=float))

    def linear_predictor(self, design: Design) -> np.ndarray | None:
        """Return the log hazard ratio of the target, of shape (n,), or None."""
        if self.network is None:
            return self.first.linear_predictor(design)
        return self.network[1].linear_predictor(self._outputs(design))

    def connect(self, encoded: Sequence[Encoded]) -> "Joint":
        """Return the model with inputs to read, after it was loaded: the encoders' own weights are not used."""
        used = [each.name for each in self.encoded]
        self.encoded = [each for name in used for each in encoded if each.name == name]
        return self

    @property
    def architecture(self) -> str:
        """What was fitted."""
        return self.first.architecture if self.network is None else str(self.network)

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the attention fusion whose weights were kept; None where there are no columns."""
        return self.first.best_epoch

    def __getstate__(self) -> dict:
        """Return what a fitted model needs: inputs and how it was to be trained stay behind."""
        names = [_Name(each.name) for each in self.encoded]
        return {**self.__dict__, "encoded": names, "preprocessing": None, "_checkpoint": None}

    def _train(  # noqa: PLR0917 - the protocol of all fusions
        self,
        design: Design,
        time: np.ndarray,
        event: np.ndarray,
        design_val: Design,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> None:
        body, head = self.first.estimator.network
        inputs, inputs_val = self._inputs(design), self._inputs(design_val)
        fitted = fit(
            lambda: self._network(body, self.first.names(design), inputs.widths()),
            build_head(self.model, causes=self.causes),
            inputs=inputs,
            time=time,
            event=event,
            inputs_val=inputs_val,
            time_val=time_val,
            event_val=event_val,
            training=self.training,
            seed=self.seed,
            threads=self.threads,
            augment=self._augment(inputs.widths()),
            parameter_groups={"encoders.": self.encoder_rate},
            head_weights={name: tensor.clone() for name, tensor in head.state_dict().items()},
            checkpoint=self._checkpoint,
        )
        self.network, self.params = fitted.network, {"joint_best_epoch": fitted.best_epoch}
        curves = fitted.curves.assign(metric="joint:" + fitted.curves["metric"])
        self.curves = pd.concat([self.curves, curves], ignore_index=True)
        # What the whole has learnt on is part of it.
        self.first.estimator.network = None

    def _network(self, body: torch.nn.Module, names: list[str], widths: list[int]) -> JointNetwork:
        """Return the network end to end; `names` are the columns of the body's rows."""
        columns, scales = [], []
        for encoded in self.encoded:
            table = self.preprocessing.scales(encoded.columns)
            used = [number for number, name in enumerate(encoded.columns) if name in table.index]
            table = table.loc[[encoded.columns[number] for number in used]]
            columns.append((used, [names.index(name) for name in table.index]))
            scales.append(torch.tensor(table.to_numpy().T, dtype=torch.float32))
        encoders = [encoded.encoder for encoded in self.encoded]
        # Parts that were trained before are in evaluation mode.
        return JointNetwork(body, encoders, columns=columns, scales=scales, widths=widths).train()

    def _inputs(self, design: Design) -> JointInputs:
        return JointInputs(self.first.rows(design), design.subjects, self.encoded)

    def _outputs(self, design: Design) -> np.ndarray:
        return outputs(self.network, self._inputs(design), threads=self.threads)

    def _augment(self, widths: list[int]) -> Callable[..., tuple[Tensor, ...]]:
        """Return the random change of a batch: of each modality's inputs its own."""
        changes = [find_modality(encoded.modality).augmentation() for encoded in self.encoded]

        def change_recordings(rows: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
            found, start = [rows], 0
            for change, width in zip(changes, widths, strict=True):
                own = inputs[start + 1 : start + 1 + width]
                found += [inputs[start], *(own if change is None else change(*own))]
                start += 1 + width
            return tuple(found)

        return change_recordings


class _Name:
    """What is left of an encoder whose inputs stayed behind."""

    def __init__(self, name: str):
        self.name = name


def from_block(
    fusion: JointFusion,
    *,
    model: NetworkModel,
    build: Callable[..., Estimator],
    causes: int,
    seed: int,
    threads: int,
    recorded: Mapping[str, RecordedFiles],
    fold: int,
    preprocessing: DesignMatrix,
    checkpoint: Path | None = None,
    **further: object,
) -> Joint:
    """Return the unfitted fusion of a study block.

    Parameters
    ----------
    fusion, model, build, causes, seed, threads
        See `riskweave.fusion.registry.build_fusion`.
    recorded : mapping of feature set to RecordedFiles
        Files of the feature sets that have an encoder.
    fold : int
        Whose encoders are trained on.
    preprocessing : DesignMatrix
        The one that makes the designs.
    checkpoint : Path, optional
        Folder that keeps the training while it runs.
    """
    first = attention.from_block(fusion, model=model, build=build, causes=causes, seed=seed, threads=threads, **further)
    return Joint(
        first,
        encoded=open_encoded(recorded, fold=fold),
        preprocessing=preprocessing,
        model=model,
        training=fusion.training,
        encoder_rate=fusion.encoder_rate,
        causes=causes,
        seed=seed,
        threads=threads,
        checkpoint=None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}_joint"),
    )
