"""Nobody repeats a finished training unknowingly: what a training job asks, and may restore, before it trains.

A job that restores imports neither torch nor pandas: it compares digests and copies files.
"""

import getpass
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.study.raw import digests
from riskweave.tracking.earlier import EarlierRun, runs_in_store, runs_on_disk, sorted_out
from riskweave.tracking.fingerprints import EARLIER, asks_for_mixed, training_facts
from riskweave.tracking.provenance import MIXED, precision_here
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
    """

    facts: Mapping[str, str | None]
    results: Path
    records: list[Path]
    files: list[Path]
    store: Path
    reuse: bool
    mixed: bool = False

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
        if self.reuse and any(self._restore(run, context) for run in self._of_this_precision(same)):
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

    def _of_this_precision(self, runs: list[EarlierRun]) -> list[EarlierRun]:
        """Return the trainings that computed as this one would: on a CPU mixed precision is single precision."""
        if not (self.mixed and runs):
            return runs
        here = precision_here(apart=True)
        for run in runs:
            if run.precision != here:
                told = "the results of study %s are not reused: trained in precision %s, and here it would be %s"
                logger.warning(told, run.study, run.precision or "unknown", here)
        return [run for run in runs if run.precision == here]

    def _restore(self, run: EarlierRun, context: Mapping[str, Any]) -> bool:
        """Copy the outputs of a finished training; change nothing where one is missing or is not what it was."""
        paths = [*self.files, *self.records]
        try:
            with replacing(*paths) as copies:
                self._copy(run, dict(zip(paths, copies, strict=True)), context)
        except _NotWholeError as reason:
            logger.warning("the results of study %s are not reused: %s", run.study, reason)
            return False
        logger.info("restored %d files of a finished training, not trained again: %s", len(paths), run.told())
        return True

    def _copy(self, run: EarlierRun, copies: Mapping[Path, Path], context: Mapping[str, Any]) -> None:
        """Copy the outputs of a finished training to `copies`, and check them."""
        places = {path: path.relative_to(self.results) for path in copies}
        # In the other study's results the record lies where it lies in this one's.
        other = run.record.parents[len(places[self.records[0]].parts) - 1]
        for path, copy in copies.items():
            if not (other / places[path]).is_file():
                raise _NotWholeError(f"{path.name} is not there")
            # A link would let an edit in one study change the other.
            shutil.copyfile(other / places[path], copy)
        found = digests([copies[path] for path in self.files])
        stated = {path: run.outputs.get(places[path].as_posix()) for path in self.files}
        changed = sorted(path.name for path in self.files if found[copies[path]] != stated[path])
        if changed:
            raise _NotWholeError(f"{', '.join(changed)}: not what its training wrote")
        for record in self.records:
            _retold(copies[record], other / places[record], context)


class _NotWholeError(Exception):
    """Results that cannot be reused, and why."""


def beginning(
    *, rule: str, inputs: Mapping[str, Any], params: Mapping[str, Any], outputs: Mapping[str, Any]
) -> Training:
    """Describe the training that a job is about to do.

    Parameters
    ----------
    rule : str
        Name of the rule.
    inputs, params, outputs : mapping
        What Snakemake gives the job, by name. ``params["earlier"]`` holds ``results`` (``results/<study>``), ``store``
        (folder of the store of runs), ``reuse`` and ``blocks`` (the study's blocks behind the inputs).
    """
    about = params[EARLIER]
    named = {name: [Path(path) for path in _listed(value)] for name, value in outputs.items()}
    return Training(
        facts=training_facts(rule=rule, inputs=inputs, params=params),
        results=Path(about["results"]),
        records=named.pop(RECORD),
        files=[path for paths in named.values() for path in paths],
        store=Path(about["store"]),
        reuse=bool(about["reuse"]),
        mixed=asks_for_mixed(params),
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
