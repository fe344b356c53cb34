"""Order of the rows in training: plain batches, and risk-set batches for Cox losses."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from riskweave.survival.heads.base import RiskSets
from riskweave.survival.training.inputs import Inputs

__all__ = ["Batches", "RiskSetBatches"]

Batch = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


class Batches:
    """Batches of nearly equal size: a loader without a call for each row.

    Batch normalisation fails on a batch of one row, which a fixed size can leave at the end.

    Parameters
    ----------
    inputs : Inputs
        Of n subjects.
    labels : tuple of arrays (n, ...)
        What the head's loss takes.
    size : int
        Most subjects of a batch.
    seed : int, optional
        With it the rows are shuffled, in an order that depends on the seed and the epoch alone; without it they come
        in their own.
    ahead : bool
        Read the next batches in a thread while a batch is in use.

    Attributes
    ----------
    epoch : callable
        Returns the number of the epoch when a pass begins.
    part : tuple of int
        Which of how many nearly equal parts of each batch's rows is read; the labels are those of the whole batch.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: tuple[np.ndarray, ...],
        *,
        size: int,
        seed: int | None = None,
        ahead: bool = False,
    ):
        self.inputs, self.seed, self.ahead = inputs, seed, ahead
        self.labels = tuple(torch.from_numpy(np.ascontiguousarray(label)) for label in labels)
        self.count = max(1, -(-len(inputs) // size))
        self.epoch: Callable[[], int] = int
        self.part = 0, 1

    def __len__(self) -> int:
        return self.count

    def generator(self) -> np.random.Generator:
        """Return the generator of this epoch's order."""
        return np.random.default_rng([self.seed, self.epoch()])

    def rows(self) -> Iterator[tuple[np.ndarray, tuple[Tensor, ...]]]:
        """Yield the positions and the labels of each batch of a pass."""
        order = np.arange(len(self.inputs))
        if self.seed is not None:
            order = self.generator().permutation(order)
        for rows in np.array_split(order, self.count):
            taken = torch.from_numpy(rows)
            yield rows, tuple(label[taken] for label in self.labels)

    def _batches(self) -> Iterator[Batch]:
        own, parts = self.part
        for rows, labels in self.rows():
            yield self.inputs.batch(rows if parts == 1 else np.array_split(rows, parts)[own]), labels

    def __iter__(self) -> Iterator[Batch]:
        return _ahead(self._batches()) if self.ahead else self._batches()


class RiskSetBatches(Batches):
    r"""Batches of events and of controls from their risk sets, for the losses of relative risk models.

    The partial likelihood compares who has an event with everybody at risk at that time. In a batch of random rows few
    rows have events, and late events find nobody to be compared with. Here a batch is made of events (each event comes
    once in an epoch) and, for each group of events that are neighbours in time, controls drawn at random from the risk
    set of the group's first event. Those of them who are still at risk at a later event are a random sample of its risk
    set as well. So each event is compared with a simple random sample of its own risk set, whatever the size of the
    batch: nested case-control sampling, whose partial likelihood has the same maximum in expectation and loses about
    one part in (controls + 1) of the information near the null (Goldstein and Langholz 1992, Annals of Statistics
    20:1903; Borgan, Goldstein and Langholz 1995, 23:1749).

    The labels of a batch are ``time, event`` of its rows, then ``subject`` (the position of the row's subject),
    ``group`` and ``case``, int64 arrays (m,): see `riskweave.survival.heads.risk_sets.sampled_pairs`.

    Parameters
    ----------
    inputs : Inputs
        Of n subjects.
    labels : tuple
        time (n,) on any scale, event (n,): 0 censored, 1.. the cause.
    size : int
        Most rows of a batch (about).
    seed : int
        Of the order and of the controls.
    risk_sets : RiskSets
        Controls of each event and events of a group.
    ahead : bool
        As in `Batches`.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: tuple[np.ndarray, np.ndarray],
        *,
        size: int,
        seed: int,
        risk_sets: RiskSets,
        ahead: bool = False,
    ):
        super().__init__(inputs, labels, size=size, seed=seed, ahead=ahead)
        time, event = labels
        self.time, self.risk_sets = time, risk_sets
        self.order = np.argsort(time, kind="stable")
        # Position in the order from which everybody is at risk at a row's time.
        self.first = np.searchsorted(time[self.order], time, side="left")
        self.cases = np.flatnonzero(event > 0)
        self.count = max(1, -(-len(self.cases) // max(1, size // (1 + risk_sets.controls))))

    def rows(self) -> Iterator[tuple[np.ndarray, tuple[Tensor, ...]]]:
        """Yield the positions and the labels of each batch of a pass."""
        generator = self.generator()
        for cases in np.array_split(generator.permutation(self.cases), self.count):
            cases = cases[np.argsort(self.time[cases], kind="stable")]  # noqa: PLW2901
            if self.risk_sets.group == 1:
                groups, controls = cases[:, None], self._own_controls(cases, generator)
            else:
                groups = np.array_split(cases, max(1, len(cases) // self.risk_sets.group))
                controls = [self._controls(members, generator) for members in groups]
            parts = [*groups, *controls]
            number = np.repeat([*range(len(groups)), *range(len(groups))], [len(part) for part in parts])
            rows = np.concatenate(parts)
            case = np.arange(len(rows)) < len(cases)
            taken = torch.from_numpy(rows)
            structure = (taken, torch.from_numpy(number), torch.from_numpy(case.astype(np.int64)))
            yield rows, (*(label[taken] for label in self.labels), *structure)

    def _own_controls(self, cases: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return controls of each event (events, controls), drawn from its risk set with replacement, as pycox does."""
        first = self.first[cases][:, None]
        drawn = generator.random((len(cases), self.risk_sets.controls)) * (len(self.order) - first)
        return self.order[first + drawn.astype(np.int64)]

    def _controls(self, members: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return subjects drawn from those at risk at the first event of a group; the event's own may be among them."""
        first = self.first[members[0]]
        at_risk = len(self.order) - first
        wanted = min(at_risk, self.risk_sets.controls * len(members))
        return self.order[first + generator.choice(at_risk, size=wanted, replace=False)]


def _pinned(batches: Iterator[Batch]) -> Batch | None:
    """Return the next batch in page-locked memory, or None when there is none left."""
    batch = next(batches, None)
    return None if batch is None else tuple(tuple(tensor.pin_memory() for tensor in part) for part in batch)


def _ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """Yield the same batches, made by a thread that is up to `depth` of them ahead."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(_pinned, batches) for _ in range(depth))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(_pinned, batches))
            yield batch
