"""What jobs will cost, told from past runs of their kind: benchmark files and run records on this disk."""

import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["RECORDS", "Cost", "PastRuns", "kind_of", "read_past_runs"]

ANY = ""
"""Stands for all kinds of a rule."""

RECORDS = {
    "train_experiment": "experiments/{0}/{1}/run.json",
    # One training, and a record of each endpoint, which all tell the same.
    "train_endpoints": "experiments/*/{0}/run.json",
    "train_encoder": "features/{0}/{1}/run.json",
    "pretrain_encoder": "features/{0}/pre-training/run.json",
    "refit_experiment": "deployment/{0}/{1}/run.json",
    "refit_encoder": "deployment/{1}/encoders/{0}/run.json",
}
"""Where the record of a job lies whose benchmark file is ``benchmarks/<rule>/{0}/{1}.tsv``."""


@dataclass(frozen=True)
class Cost:
    """What a job of a kind has cost: medians over `runs` past ones.

    Attributes
    ----------
    seconds : float
        Wall time of the job.
    memory : float
        Largest resident memory, bytes.
    gpu_seconds : float
        Seconds times the number of GPUs; 0 without one.
    runs : int
        Number of past runs.
    same_kind : bool
        Whether they were of the same kind of model or modality, or any of that rule.
    """

    seconds: float
    memory: float
    gpu_seconds: float
    runs: int
    same_kind: bool


class PastRuns:
    """Past runs of jobs, by rule and kind."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)

    def add(self, rule: str, kind: str, *, seconds: float, memory: float, gpus: int) -> None:
        """Add a run: wall seconds, bytes of memory, number of GPUs."""
        for key in {(rule, kind), (rule, ANY)}:
            self._runs[key].append((seconds, memory, seconds * gpus))

    def cost(self, rule: str, kind: str) -> Cost | None:
        """Return what jobs of this rule and kind cost; of any kind where none was of this one; None without any."""
        for key in (kind, ANY):
            if runs := self._runs.get((rule, key)):
                seconds, memory, gpu_seconds = (statistics.median(values) for values in zip(*runs, strict=True))
                return Cost(seconds, memory, gpu_seconds, len(runs), same_kind=key == kind)
        return None


def kind_of(params: Mapping[str, Any]) -> str:
    """Return the kind of job that its parameters tell: model and fusion, or modality; nothing for other rules."""
    if isinstance(model := params.get("model"), Mapping):
        return f"{model['kind']}, {params['experiment']['fusion']}"
    if isinstance(features := params.get("features"), Mapping):
        return str(features.get("modality", ANY))
    return ANY


def read_past_runs(results: Path) -> PastRuns:
    """Read what jobs have cost in all studies below a folder.

    Parameters
    ----------
    results : Path
        ``results/``, with ``<study>/benchmarks/<rule>[/...].tsv`` as Snakemake writes them, and the run records.

    Returns
    -------
    PastRuns
        Runs that restored a finished training, and files that cannot be read, are left out.
    """
    past = PastRuns()
    for folder in sorted(results.glob("*/benchmarks")):
        for path in sorted(folder.rglob("*.tsv")):
            rule, _, rest = path.relative_to(folder).with_suffix("").as_posix().partition("/")
            # `with_suffix` of a name with dots (ehr.cox.tsv) takes the last one away, and only that.
            record = _record(folder.parent, rule, rest)
            if "reused" in record.get("provenance", {}):
                continue
            kind = _kind_of_record(rule, record)
            gpus = sum(bool(gpu.get("memory_peak", True)) for gpu in record.get("hardware", {}).get("gpus", []))
            for seconds, memory in _benchmarks(path):
                past.add(rule, kind, seconds=seconds, memory=memory, gpus=gpus)
    return past


def _kind_of_record(rule: str, record: Mapping[str, Any]) -> str:
    params = record.get("params", {})
    if rule.endswith("_encoder"):
        return str(params.get("modality", ANY))
    return f"{params['kind']}, {params.get('fusion', '')}" if "kind" in params else ANY


def _record(study: Path, rule: str, rest: str) -> dict[str, Any]:
    """Return the run record behind a benchmark file; empty where the rule trains nothing."""
    if rule not in RECORDS:
        return {}
    try:
        path = next(iter(sorted(study.glob(RECORDS[rule].format(*rest.split("/"))))), None)
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError, IndexError):  # no record, or not a benchmark file of this version
        return {}
    return content if isinstance(content, dict) else {}


def _benchmarks(path: Path) -> Iterable[tuple[float, float]]:
    """Yield wall seconds and largest resident bytes of each line of a benchmark file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError:
        return
    for row in rows:
        try:
            seconds = float(row["s"])
        except (KeyError, TypeError, ValueError):
            continue
        try:
            memory = float(row["max_rss"]) * 2**20
        except (KeyError, TypeError, ValueError):
            # A job of less than a second is not looked at: Snakemake writes NA.
            memory = 0.0
        yield seconds, memory
