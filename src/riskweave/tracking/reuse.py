"""Nobody repeats a finished training unknowingly: what a training job asks, and may restore, before it trains.

A job that restores imports neither torch nor pandas: it compares digests and copies files.
"""

import getpass
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.study.raw import digests
from riskweave.tracking.earlier import EarlierRun, runs_in_store, runs_on_disk, sorted_out
from riskweave.tracking.fingerprints import EARLIER, Digests, asks_for_mixed, training_facts
from riskweave.tracking.provenance import MIXED, SINGLE, precision_here
from riskweave.tracking.record import fingerprint, read_record, write_record

__all__ = ["Training", "beginning", "candidates"]

logger = logging.getLogger(__name__)

RECORD = "record"
"""Name of the rules' output that is the run record, or the records."""


@dataclass(frozen=True)
class Training:
    """A training that is about to begin.

    Attributes
    ----------
    facts : dict
        Its fingerprint and parts (`riskweave.tracking.fingerprints.training_facts`).
    results : Path
        ``results/<study>``.
    records : list of Path
        Run records to write.
    files : list of Path
        All other outputs.
    store : Path
        Folder of the store of runs.
    reuse : bool
        Whether to restore a finished training with the same fingerprint.
    mixed : bool
        Whether the study asks for mixed precision: a training that got another one than this machine gives is not
        restored.
    gpus : int
        GPUs that the job asks for; without any it computes in single precision.
    """

    facts: Mapping[str, str | None]
    results: Path
    records: list[Path]
    files: list[Path]
    store: Path
    reuse: bool
    mixed: bool
    gpus: int

    def context(self) -> dict[str, Any]:
        """Return what the run record tells of this training: fingerprint, parts, and which files it made."""
        files = {path.relative_to(self.results).as_posix(): str(path) for path in self.files}
        asked = {"precision": MIXED} if self.mixed else {}
        return {"training": {**self.facts, **asked, "outputs": files}}

    def restored(self, context: Mapping[str, Any]) -> bool:
        """Tell the log of finished trainings with the same fingerprint, and restore one where that is asked for.

        Parameters
        ----------
        context : mapping
            ``study``, ``rule`` and ``wildcards`` of this job, for the records that are restored.

        Returns
        -------
        bool
            Whether all outputs are there now: each file has the sha256 that the record of its training states, and the
            records say that they were reused, and from where. False where there is nothing to restore, or it is not
            whole: the job then trains.
        """
        settings = self.facts["settings"] or ""
        on_disk = runs_on_disk(candidates(self.results, self.records[0]), settings)
        same, _, _ = sorted_out(on_disk, self.facts)
        if self.reuse and any(self._restore(run, context) for run in same):
            return True
        try:
            stored, _, _ = sorted_out(runs_in_store(self.store, [settings])[settings], self.facts)
        except DataError as error:
            logger.warning("whether this training was done before is not known: %s", error)
            stored = []
        for run in [*stored, *same][:1]:
            told = "this training was done before, with the same data, settings, code and packages: %s. %s"
            logger.warning(told, run.told(), _advice(reuse=self.reuse, on_disk=bool(same)))
        return False

    def obstacle(self, run: EarlierRun, *, digests_of: Digests = digests) -> str:
        """Return why the results of a finished training on this disk are not restored; empty where they are.

        Parameters
        ----------
        run : EarlierRun
            With the fingerprint of this training.
        digests_of : callable, optional
            Returns the sha256 of files; a plan remembers them.
        """
        sources = self._sources(run)
        return (
            self._other_precision(run)
            or _missing(sources)
            or self._changed(run, {path: sources[path] for path in self.files}, digests_of)
        )

    def _sources(self, run: EarlierRun) -> dict[Path, Path]:
        """Return where the other study has each output of this training."""
        places = {path: path.relative_to(self.results) for path in [*self.files, *self.records]}
        # In the other study's results the record lies where it lies in this one's.
        other = run.record.parents[len(places[self.records[0]].parts) - 1]
        return {path: other / place for path, place in places.items()}

    def _other_precision(self, run: EarlierRun) -> str:
        """Tell of a training that computed as this one would not: on a CPU mixed precision is single precision."""
        if not self.mixed:
            return ""
        here = precision_here(apart=True) if self.gpus else SINGLE
        told = f"trained in precision {run.precision or 'unknown'}, and here it would be {here}"
        return told if run.precision != here else ""

    def _changed(self, run: EarlierRun, files: Mapping[Path, Path], digests_of: Digests) -> str:
        """Tell which files, given for the outputs of this training, are not what the record says that they were."""
        try:
            found = digests_of(list(files.values()))
        except OSError as error:
            # The other study's: of somebody else, or gone since it was looked at.
            return f"cannot be read ({error.strerror})"
        stated = {path: run.outputs.get(path.relative_to(self.results).as_posix()) for path in files}
        changed = sorted(path.name for path, file in files.items() if found[file] != stated[path])
        return f"{', '.join(changed)}: not what its training wrote" if changed else ""

    def _restore(self, run: EarlierRun, context: Mapping[str, Any]) -> bool:
        """Copy the outputs of a finished training; change nothing where one is missing or is not what it was."""
        paths = [*self.files, *self.records]
        try:
            with replacing(*paths) as copies:
                self._copy(run, dict(zip(paths, copies, strict=True)), context)
        except _NotReusedError as reason:
            logger.warning("the results of study %s are not reused: %s", run.study, reason)
            return False
        logger.info("restored %d files of a finished training, not trained again: %s", len(paths), run.told())
        return True

    def _copy(self, run: EarlierRun, copies: Mapping[Path, Path], context: Mapping[str, Any]) -> None:
        """Copy the outputs of a finished training to `copies`, and check them."""
        sources = self._sources(run)
        if reason := self._other_precision(run) or _missing(sources):
            raise _NotReusedError(reason)
        for path, copy in copies.items():
            # A link would let an edit in one study change the other.
            with _readable(sources[path]) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
        # What was copied is compared: the other study may change meanwhile.
        if reason := self._changed(run, {path: copies[path] for path in self.files}, digests):
            raise _NotReusedError(reason)
        for record in self.records:
            _retold(copies[record], sources[record], context)


def _readable(source: Path) -> BinaryIO:
    """Open a file of the other study, which may be another user's."""
    try:
        return source.open("rb")
    except OSError as error:
        raise _NotReusedError(f"{source.name}: cannot be read ({error.strerror})") from None


class _NotReusedError(Exception):
    """Results that are not reused, and why."""


def beginning(
    *,
    rule: str,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    outputs: Mapping[str, Any],
    gpus: int,
    known: Callable[[Path], bool] = Path.is_file,
    digests_of: Digests = digests,
) -> Training:
    """Describe the training that a job is about to do.

    Parameters
    ----------
    rule : str
        Name of the rule.
    inputs, params, outputs : mapping
        What Snakemake gives the job, by name. ``params["earlier"]`` holds ``results`` (``results/<study>``), ``store``
        (folder of the store of runs), ``reuse`` and ``blocks`` (the study's blocks behind the inputs).
    gpus : int
        GPUs that the job asks for.
    known, digests_of : callable, optional
        As of `riskweave.tracking.fingerprints.training_facts`: a plan is made before the inputs are.
    """
    about = params[EARLIER]
    named = {name: [Path(path) for path in _listed(value)] for name, value in outputs.items()}
    return Training(
        facts=training_facts(rule=rule, inputs=inputs, params=params, known=known, digests_of=digests_of),
        results=Path(about["results"]),
        records=named.pop(RECORD),
        files=[path for paths in named.values() for path in paths],
        store=Path(about["store"]),
        reuse=bool(about["reuse"]),
        mixed=asks_for_mixed(params),
        gpus=gpus,
    )


def candidates(results: Path, record: Path) -> Iterable[Path]:
    """Return the records at the same place in the results of other studies on this disk."""
    place = record.relative_to(results)
    return sorted(path for path in results.parent.glob(f"*/{place.as_posix()}") if path != record)


def _advice(*, reuse: bool, on_disk: bool) -> str:
    if reuse:
        return "Its results are not on this disk, not whole, or of another precision: training again"
    return "`reuse: true` in the study restores it" if on_disk else "Its results are not on this disk: training again"


def _listed(value: Any) -> list:
    return [value] if isinstance(value, (str, Path)) else list(value)


def _missing(sources: Mapping[Path, Path]) -> str:
    """Tell of which outputs the other study has no file."""
    missing = sorted(path.name for path, source in sources.items() if not source.is_file())
    return f"{', '.join(missing)}: not there" if missing else ""


def _retold(copy: Path, source: Path, context: Mapping[str, Any]) -> None:
    """Say in a copied record whose job restored it, and from where; all else it tells is of the training itself."""
    run = read_record(copy)
    reused = {
        "from": source.as_posix(),
        "study": run.context.get("study", ""),
        "record": fingerprint(source),
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "by": _user(),
        "at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
    }
    run.context = {**run.context, **{key: context[key] for key in ("study", "rule", "wildcards")}}
    run.provenance = {**run.provenance, "reused": reused}
    write_record(run, copy)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
