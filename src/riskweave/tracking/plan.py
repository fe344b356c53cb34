"""The plan of a study: what would run, what is done, what was trained before by whom, and what it will cost.

It reads: run records and benchmark files on this disk, the store of runs. It runs and changes nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from riskweave.errors import DataError
from riskweave.study.raw import digests
from riskweave.tracking.costs import Cost, PastRuns, kind_of, read_past_runs
from riskweave.tracking.earlier import EarlierRun, runs_in_store, runs_on_disk, runs_on_server, sorted_out
from riskweave.tracking.fingerprints import EARLIER, Digests
from riskweave.tracking.reuse import Training, beginning, candidates

__all__ = ["ADDRESS", "PlannedJob", "plan"]

ADDRESS = "RISKWEAVE_TRACKING_URI"
"""Variable of the environment that names the team's server."""


@dataclass(frozen=True)
class PlannedJob:
    """A job of the study.

    Attributes
    ----------
    rule : str
        Name of its rule.
    wildcards : dict of str to str
        Its wildcards.
    runs : bool
        Whether it would run; it is done otherwise.
    threads : int
        Cores that it takes.
    inputs, params, outputs : mapping
        By name, as Snakemake gives them to the job.
    after : tuple of int
        Places in the list of jobs of those that it waits for.
    gpus : int
        GPUs that it asks for.
    """

    rule: str
    wildcards: Mapping[str, str]
    runs: bool
    threads: int
    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    outputs: Mapping[str, Any]
    after: tuple[int, ...]
    gpus: int

    @property
    def trains(self) -> bool:
        """Whether it is a training that a store may know."""
        return EARLIER in self.params

    @property
    def name(self) -> str:
        """What tells it from the other jobs of its rule."""
        return ", ".join(self.wildcards.values())


def plan(
    jobs: Sequence[PlannedJob],
    *,
    study: str,
    results: Path,
    store: Path,
    cores: int,
    cache: Path,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return the plan of a study as text.

    Parameters
    ----------
    jobs : sequence of PlannedJob
        All jobs of the study, done ones included.
    study : str
        Its name.
    results : Path
        Folder of the results of all studies, whose past runs tell what jobs cost.
    store : Path
        Folder of the store of runs.
    cores : int
        Cores that jobs may use together.
    cache : Path
        SQLite file that remembers the digests of files (`riskweave.study.raw.digests`).
    environment : mapping, optional
        Names the team's server, where there is one (`riskweave.tracking.sending.target_of`); by default none.

    Notes
    -----
    A store or a server that cannot be asked is told of in the plan.
    """
    waiting = [job for job in jobs if job.runs]
    done = Counter(job.rule for job in jobs if not job.runs)
    lines = [f"Plan of study {study}: {len(waiting)} jobs to run, {sum(done.values())} done."]
    if done:
        lines.append(f"Done: {_counted(done)}.")
    if waiting:
        past = read_past_runs(results)
        lines += [
            "",
            *_by_rule(waiting, past),
            "",
            *_trainings(jobs, past, store, cache, environment or {}),
            "",
            *_sums(jobs, past, cores),
        ]
    return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} {number}" if number > 1 else rule for rule, number in sorted(counts.items()))


def _by_rule(waiting: Sequence[PlannedJob], past: PastRuns) -> list[str]:
    """Return a table of the jobs that would run."""
    groups: dict[tuple[str, str], list[PlannedJob]] = defaultdict(list)
    for job in waiting:
        groups[job.rule, kind_of(job.params)].append(job)
    rows = [("would run", "kind", "jobs", "time each", "memory", "told by past runs")]
    for (rule, kind), jobs in sorted(groups.items()):
        cost = past.cost(rule, kind)
        told = ("?", "?", "none") if cost is None else (_time(cost.seconds), _memory(cost.memory), _basis(cost))
        rows.append((rule, kind, str(len(jobs)), *told))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _trainings(
    jobs: Sequence[PlannedJob], past: PastRuns, store: Path, cache: Path, environment: Mapping[str, str]
) -> list[str]:
    """Return what is known of each training that would run: its cost, and earlier runs that it would repeat."""
    pending = {path for job in jobs if job.runs for value in job.outputs.values() for path in _paths(value)}
    trainings = [job for job in jobs if job.runs and job.trains]
    if not trainings:
        return ["Trainings that would run: none."]
    digests_of = partial(digests, cache=cache)
    beginnings = [
        beginning(
            rule=job.rule,
            inputs=job.inputs,
            params=job.params,
            outputs=job.outputs,
            gpus=job.gpus,
            known=lambda path: path not in pending and path.is_file(),
            digests_of=digests_of,
        )
        for job in trainings
    ]
    settings = [each.facts["settings"] or "" for each in beginnings]
    stored, untold = _stored(store, settings, environment)
    lines = [f"Not asked: {problem}" for problem in untold] + ["Trainings that would run:"]
    for job, each, digest in zip(trainings, beginnings, settings, strict=True):
        cost = past.cost(job.rule, kind_of(job.params))
        expected = "" if cost is None else f": about {_time(cost.seconds)}"
        lines.append(f"  {job.rule} {job.name}{expected}")
        lines += [f"    {line}" for line in _known(each, stored[digest], digests_of)]
    return lines


def _stored(
    store: Path, settings: Sequence[str], environment: Mapping[str, str]
) -> tuple[dict[str, list[EarlierRun]], list[str]]:
    """Return the runs in the store and on the team's server, each once, and what could not be asked."""
    found: dict[str, dict[tuple, EarlierRun]] = {digest: {} for digest in settings}
    untold = []
    for ask in (partial(runs_in_store, store), partial(_on_server, environment)):
        try:
            runs = ask(settings)
        except DataError as error:
            untold.append(str(error))
            continue
        for digest, each in runs.items():
            # A run that was sent to the server is in both.
            for run in each:
                found[digest].setdefault((run.parts["fingerprint"], run.user, run.host, run.started), run)
    return {digest: list(runs.values()) for digest, runs in found.items()}, untold


def _on_server(environment: Mapping[str, str], settings: Sequence[str]) -> dict[str, list[EarlierRun]]:
    if not environment.get(ADDRESS):
        return {}
    # Only here: the client of a server takes longer to import than the rest of the plan.
    from riskweave.tracking.remote import Server
    from riskweave.tracking.sending import target_of

    target = target_of(environment)
    return runs_on_server(Server(target.address, target.username, target.password), settings)


def _known(training: Training, stored: Sequence[EarlierRun], digests_of: Digests) -> list[str]:
    """Return what to say of earlier runs of a training; those in the store and their records are told once."""
    on_disk = runs_on_disk(candidates(training.results, training.records[0]), training.facts["settings"] or "")
    same, perhaps, differing = sorted_out([*stored, *on_disk], training.facts)
    if same:
        return [f"done before: {_once(same)}{_advice(training, same, digests_of)}"]
    if perhaps:
        told = _advice(training, perhaps, digests_of)
        return [f"done before, if its inputs come out the same: {_once(perhaps)}{told}"]
    lines = [f"with other {parts}: {run.told()}" for parts, run in differing.items()]
    return lines or ["not known to have been done before"]


def _advice(training: Training, runs: Sequence[EarlierRun], digests_of: Digests) -> str:
    """Return whether the job will restore one of these runs, by what it will ask itself."""
    refused = []
    for run in (run for run in runs if run.record is not None):
        obstacle = training.obstacle(run, digests_of=digests_of)
        if not obstacle:
            how = "will be restored" if training.reuse else "`reuse: true` in the study restores it"
            return f"; {how} from this disk"
        refused.append(f"the results of study {run.study} are not reused: {obstacle}")
    return f"; will be trained again, as {'; '.join(refused)}" if refused else "; its results are not on this disk"


def _once(runs: Sequence[EarlierRun]) -> str:
    """Return the latest run, and how many there are; one in the store tells its final result, and counts once."""
    stored = [run for run in runs if run.record is None] or list(runs)
    return stored[0].told() + (f", and {len(stored) - 1} before it" if len(stored) > 1 else "")


def _sums(jobs: Sequence[PlannedJob], past: PastRuns, cores: int) -> list[str]:
    """Return what all jobs that would run take together."""
    costs = [past.cost(job.rule, kind_of(job.params)) if job.runs else None for job in jobs]
    known = [(job, cost) for job, cost in zip(jobs, costs, strict=True) if cost is not None]
    unknown = Counter(job.rule for job, cost in zip(jobs, costs, strict=True) if job.runs and cost is None)
    if not known:
        return ["Cost: not known, no job like these has run here."]
    busy = sum(cost.seconds * min(job.threads, cores) for job, cost in known)
    least = max(busy / cores, _longest(jobs, costs))
    total, largest = sum(cost.seconds for _, cost in known), max(cost.memory for _, cost in known)
    on = "1 core" if cores == 1 else f"{cores} cores"
    lines = [
        f"Cost of {len(known)} jobs: {_time(total)} one after another, at least {_time(least)} on {on}; "
        f"up to {_memory(largest)} in one job; {sum(cost.gpu_seconds for _, cost in known) / 3600:.2f} GPU hours."
    ]
    if unknown:
        lines.append(f"Not in it, not having run here or too short to be measured: {_counted(unknown)}.")
    lines.append("Told from medians of past runs on this disk; other sizes of data and other machines cost otherwise.")
    return lines


def _longest(jobs: Sequence[PlannedJob], costs: Sequence[Cost | None]) -> float:
    """Return the seconds of the longest chain of jobs that wait for each other."""
    ends: dict[int, float] = {}

    def end(place: int) -> float:
        if place not in ends:
            cost = costs[place]
            before = max((end(other) for other in jobs[place].after), default=0.0)
            ends[place] = before + (0.0 if cost is None else cost.seconds)
        return ends[place]

    return max(map(end, range(len(jobs))), default=0.0)


def _basis(cost: Cost) -> str:
    return f"{cost.runs}" + ("" if cost.same_kind else " of other kinds")


def _paths(value: Any) -> list[Path]:
    return [Path(value)] if isinstance(value, (str, Path)) else [Path(path) for path in value]


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def _memory(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
