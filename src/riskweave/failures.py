"""Which jobs failed and why, in a file beside the log of each: what the report of a run without them tells.

The file is written when a job begins, so that one that is killed leaves it too, and removed when the job succeeds. It
holds a message only where that is made for users, which never quotes values of a subject.
"""

import contextlib
import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from riskweave.errors import DataError, ResourceError, StudyError
from riskweave.files import write_text

__all__ = [
    "Failure",
    "LeftOut",
    "Missing",
    "failure_file",
    "forget",
    "note_failure",
    "note_start",
    "pending_rules",
    "read_failure",
    "read_left_out",
    "write_left_out",
]

KILLED = "killed"


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Attributes
    ----------
    kind : str
        Type of the error, or ``killed`` for a job that ended without a word.
    reason : str
        What is told of it: the message of an error made for users, else in which words it ended.
    log : str
        Path of the log.
    """

    kind: str
    reason: str
    log: str


@dataclass(frozen=True)
class Missing:
    """An experiment that is left out, since its training, or one that it needs, failed."""

    endpoint: str
    experiment: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """What a comparison goes on without.

    Attributes
    ----------
    experiments : tuple of Missing
    records : frozenset of str
        Run records of the trainings that did not finish, encoders among them.
    """

    experiments: tuple[Missing, ...] = ()
    records: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.experiments or self.records)

    def has(self, endpoint: str, experiment: str) -> bool:
        """Return whether an experiment is left out."""
        return any((one.endpoint, one.experiment) == (endpoint, experiment) for one in self.experiments)

    def reasons(self, endpoint: str) -> dict[str, str]:
        """Return why experiments of an endpoint are left out, by name."""
        return {one.experiment: one.reason for one in self.experiments if one.endpoint == endpoint}


def read_left_out(path: str | Path | None) -> LeftOut:
    """Read what `write_left_out` wrote; nothing is left out where no file is named."""
    if path is None:
        return LeftOut()
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    return LeftOut(tuple(Missing(**one) for one in content["experiments"]), frozenset(content["records"]))


def write_left_out(left_out: LeftOut, path: Path) -> None:
    """Write what a comparison goes on without, as JSON."""
    experiments = [asdict(one) for one in left_out.experiments]
    write_text(json.dumps({"experiments": experiments, "records": sorted(left_out.records)}, indent=1) + "\n", path)


def pending_rules(summary: str) -> set[str]:
    """Return the rules of which some job would run, by what `snakemake --summary` prints."""
    rows = csv.DictReader(summary.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["rule"] for row in rows if row["plan"] != "no update"}


def failure_file(log: Path) -> Path:
    """Return the file beside a job's log."""
    log = Path(log)
    return log.with_name(f"{log.stem}.failure.json")


def note_start(log: Path) -> None:
    """Note that a job has begun: it was killed, if this is all that it leaves."""
    _write(
        Failure(KILLED, "the job was killed: for want of memory or time, by somebody, or with its machine", str(log))
    )


def note_failure(log: Path, error: Exception) -> None:
    """Note an error: its message where that is made for users, else its type alone."""
    told = isinstance(error, DataError | StudyError | ResourceError)
    kind = type(error).__name__
    _write(
        Failure(kind, str(error) if told else f"an error that the job does not know ({kind}); see its log", str(log))
    )


def forget(log: Path) -> None:
    """Remove what was noted: the job succeeded, or the user stopped it."""
    with contextlib.suppress(OSError):
        failure_file(log).unlink(missing_ok=True)


def read_failure(log: Path, *, since: float = 0.0) -> Failure | None:
    """Return why a job failed, or None where nothing is noted, or nothing after a time (of the file system's clock)."""
    try:
        if failure_file(log).stat().st_mtime < since:
            return None
        return Failure(**json.loads(failure_file(log).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(failure: Failure) -> None:
    # On a full disk the job's own error is the one to tell.
    with contextlib.suppress(OSError, ResourceError):
        write_text(json.dumps(asdict(failure), indent=1) + "\n", failure_file(Path(failure.log)))
