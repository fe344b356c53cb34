"""What every training job does around its one call: a log, the question whether it was done before, and its GPUs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from riskweave.devices import leased_device
from riskweave.jobs import job_log
from riskweave.tracking.record import context_of
from riskweave.tracking.reuse import beginning

__all__ = ["Job", "ToTrain", "training_job"]


class Job(Protocol):
    """What is read of the object ``snakemake`` that Snakemake gives a script.

    Attributes
    ----------
    rule : str
        Name of the rule.
    wildcards, input, output, params : mapping
        By name. ``input["data"]`` is the cohort's ``data.json``, ``params["study"]`` the study's name, and
        ``params["earlier"]`` as for `riskweave.tracking.reuse.beginning`.
    resources : mapping
        ``gpu``, and where a profile says so ``jobs_per_gpu``.
    log : sequence of str
        The log file first.
    """

    rule: str
    wildcards: Mapping[str, str]
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    params: Mapping[str, Any]
    resources: Mapping[str, Any]
    log: Any


@dataclass(frozen=True)
class ToTrain:
    """A training that has to be done.

    Attributes
    ----------
    context : dict
        For its run record (`riskweave.tracking.record.recording`).
    devices : tuple of str
        GPUs that are this job's own, as `riskweave.devices.leased_device` yields them.
    """

    context: dict[str, Any]
    devices: tuple[str, ...]


@contextmanager
def training_job(job: Job) -> Iterator[ToTrain | None]:
    """Log a training job, restore its results where a finished training has them, and lease its GPUs otherwise.

    A job that restores leases nothing, and imports nothing that trains as long as the body does so only where it has
    something to train.

    Parameters
    ----------
    job : Job
        The script's ``snakemake``.

    Yields
    ------
    ToTrain or None
        None where all outputs are there already: restored, and not to be trained.

    Examples
    --------
    ::

        with training_job(snakemake) as training:
            if training is not None:
                from riskweave.survival.experiment import train_experiment

                train_experiment(..., context=training.context)
    """
    with job_log(Path(job.log[0])):
        inputs, params = dict(job.input), dict(job.params)
        about = {"study": params["study"], "rule": job.rule, "wildcards": dict(job.wildcards)}
        context = context_of(**about, data=Path(inputs["data"]))
        gpus = job.resources["gpu"]
        training = beginning(rule=job.rule, inputs=inputs, params=params, outputs=dict(job.output), gpus=gpus)
        if training.restored(context):
            yield None
            return
        with leased_device(gpus, job.resources.get("jobs_per_gpu", 1)) as devices:
            yield ToTrain(context | training.context(), devices)
