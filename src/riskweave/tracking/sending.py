"""From the local store to the team's server: what the server lacks, now or when it can be reached again.

The local store is the queue. A run is known by its step and the sha256 of its record, so that sending is repeated
without harm, and what could not be sent is simply still missing there.
"""

import configparser
import hashlib
import json
import logging
import os
import platform
import stat
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from riskweave.errors import DataError, nearest
from riskweave.files import write_text
from riskweave.tracking.database import locked, open_store
from riskweave.tracking.reading import read_trees
from riskweave.tracking.remote import BEGUN, SENDER, Server, ServerError
from riskweave.tracking.sql import SqlStore
from riskweave.tracking.trees import CURRENT, EVALUATION, FINGERPRINT, PARENT, RECORD, STATUS, SUPERSEDED, StoredRun

__all__ = ["ADDRESS", "CREDENTIALS", "Target", "pending", "send", "send_or_keep", "target_of"]

logger = logging.getLogger(__name__)

ADDRESS = "RISKWEAVE_TRACKING_URI"
CREDENTIALS = "RISKWEAVE_TRACKING_CREDENTIALS"
"""Names of the environment's variables: the server, and the file with name and password for it."""
PENDING = "pending"
TOGETHER = 4
"""Connections at once: the server spends its time waiting for its disk."""

LEFT_BEHIND = 3600
"""Seconds after which nobody still writes a run that another store began."""

Step = tuple[str, str | None]
"""Key of a training step and sha256 of its record."""


@dataclass(frozen=True)
class Target:
    """A server, and who is known there."""

    address: str
    username: str
    password: str


def target_of(environment: Mapping[str, str] = os.environ) -> Target | None:
    """Return the server that the environment names; None where it names none.

    The credentials are a file in MLflow's own form (``[mlflow]``, ``mlflow_tracking_username``,
    ``mlflow_tracking_password``), by default ``~/.mlflow/credentials``.

    Raises
    ------
    ServerError
        When the file is missing, incomplete, or others may read it.
    """
    address = environment.get(ADDRESS, "").strip()
    if not address:
        return None
    path = Path(environment.get(CREDENTIALS, "~/.mlflow/credentials"))
    remedy = "Ask who runs the server for the file that `python -m riskweave.tracking user` writes"
    try:
        path = path.expanduser()
        mode = path.stat().st_mode
        file = configparser.ConfigParser(interpolation=None)
        file.read_string(path.read_text(encoding="utf-8"))
        known = file["mlflow"]
        target = Target(address, known["mlflow_tracking_username"], known["mlflow_tracking_password"])
    except RuntimeError:  # ~ of somebody whom this machine does not know
        raise ServerError(str(path), "there is no such home folder", f"Name the file in {CREDENTIALS}") from None
    except OSError as error:
        raise ServerError(str(path), f"the credentials cannot be read: {error.strerror}", remedy) from None
    except (configparser.Error, KeyError, UnicodeDecodeError):
        raise ServerError(str(path), "is no file of credentials", remedy) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ServerError(str(path), "others than you may read the credentials", f"chmod 600 {path}")
    return target


def send(*, directory: Path, target: Target, studies: Iterable[str] | None = None) -> dict[str, int]:
    """Bring the server up to date with the local store.

    On the server the runs of a study are in the experiment ``<study>/<username>``: who made it may write, all others
    read.

    Parameters
    ----------
    directory : Path
        Folder of the local store.
    target : Target
    studies : iterable of str, optional
        Names of experiments of the local store; all by default.

    Returns
    -------
    dict of str to int
        Number of runs (of whole steps) ``sent`` and ``unchanged``.

    Raises
    ------
    DataError
        When the store has no such study.
    ServerError
        When the server is down or refuses. What was sent before stays; call again for the rest.
    """
    server = Server(target.address, target.username, target.password)
    counts = {"sent": 0, "unchanged": 0}
    # Another collection does not wait for the network; another sender does, and finds it done.
    with locked(Path(directory) / PENDING), _opened(directory) as store:
        for study in _chosen(store, directory, studies):
            sent, unchanged = _send_study(store, server, study, _sender(directory))
            counts["sent"] += sent
            counts["unchanged"] += unchanged
            _pending_file(directory, study).unlink(missing_ok=True)
    logger.info("%d runs sent to %s, %d were there", counts["sent"], target.address, counts["unchanged"])
    return counts


def send_or_keep(*, directory: Path, study: str, environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Send a study where the environment names a server; where that fails, warn and list what is pending.

    A study never fails by its tracking server. The list, ``pending/<study>.json`` in the store's folder, is for people:
    the next call sends whatever the server lacks.
    """
    try:
        target = target_of(environment)
        return {} if target is None else send(directory=directory, target=target, studies=[study])
    except DataError as error:
        with _opened(directory) as store:
            # What the server has cannot be asked now: all of the study that is not known to be there.
            waiting = sorted(f"{key} {digest}" for key, digest in _tops(store, study))
        path = _pending_file(directory, study)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps({"problem": str(error), "runs": waiting}, indent=1) + "\n", path)
        logger.warning("%s. The study goes on; `python -m riskweave.tracking send` sends its runs later", error)
        return {"pending": len(waiting)}


def pending(directory: Path) -> list[str]:
    """Return the names of the studies whose last sending failed."""
    return sorted(path.stem.replace("%2F", "/") for path in (Path(directory) / PENDING).glob("*.json"))


def _chosen(store: SqlStore, directory: Path, studies: Iterable[str] | None) -> list[str]:
    """Return the studies to be sent, when the store has all of them."""
    known = store.experiments()
    chosen = known if studies is None else list(studies)
    for study in chosen:
        if study not in known:
            remedy = f"Studies there: {', '.join(known) or 'none'}.{nearest(study, known)}"
            raise DataError(str(directory), f"the store has no study {study!r}", remedy)
    return chosen


def _sender(directory: Path) -> str:
    """Return the id of this store on this machine, which tells neither."""
    return hashlib.sha256(os.fsencode(f"{platform.node()}:{Path(directory).resolve()}")).hexdigest()[:16]


def _opened(directory: Path) -> SqlStore:
    """Open the local store to be read, which needs no lock once its tables are there."""
    with locked(directory):
        return open_store(directory)


def _pending_file(directory: Path, study: str) -> Path:
    return Path(directory) / PENDING / f"{study.replace('/', '%2F')}.json"


def _tops(store: SqlStore, study: str) -> dict[Step, StoredRun]:
    runs = store.runs(store.experiment(study), (FINGERPRINT, STATUS, EVALUATION))
    return {_step(run): run for run in runs if PARENT not in run.tags}


def _step(run: StoredRun) -> Step:
    return run.tags[RECORD], run.tags.get(FINGERPRINT)


def _is_left_behind(run: StoredRun, sender: str) -> bool:
    """Return whether nobody writes a run any more that was not finished."""
    if run.tags.get(SENDER) == sender:
        return True  # one process at a time sends from a store: now it is this one
    begun = run.tags.get(BEGUN, "")
    return not begun.isdecimal() or time.time() - int(begun) / 1000 > LEFT_BEHIND


def _there(server: Server, experiment: str, sender: str) -> dict[Step, StoredRun]:
    """Return the runs that the server has, after deleting those that broke off or that two senders wrote at once."""
    there: dict[Step, StoredRun] = {}
    gone: list[str] = []
    # By id, since a run that another sender adds meanwhile moves others onto the next page once more.
    known = {run.run_id: run for run in server.runs(experiment, f"tags.`{FINGERPRINT}` LIKE '%'")}
    for run in known.values():
        if not run.finished:
            gone += [run.run_id] if _is_left_behind(run, sender) else []
        elif _step(run) in there:
            gone.append(run.run_id)
        else:
            there[_step(run)] = run
    for run_id in gone:
        server.delete(server.below(experiment, run_id))
    return there


def _send_study(store: SqlStore, server: Server, study: str, sender: str) -> tuple[int, int]:
    """Send what the server lacks of a study; return how many runs were sent, and how many were there."""
    local = _tops(store, study)
    if not local:
        return 0, 0
    experiment = server.experiment(f"{study}/{server.username}")
    there = _there(server, experiment, sender)
    missing = [run.run_id for step, run in local.items() if step not in there]
    with ThreadPoolExecutor(TOGETHER) as together:
        for first in range(0, len(missing), 100):
            trees = read_trees(store, missing[first : first + 100])
            list(together.map(lambda tree: server.write(experiment, tree, sender=sender), trees))
    _update(store, server, experiment, local, there)
    return len(missing), len(local) - len(missing)


def _update(
    store: SqlStore, server: Server, experiment: str, local: Mapping[Step, StoredRun], there: Mapping[Step, StoredRun]
) -> None:
    """Bring status and final metrics of the runs that the server had up to date."""
    current = {step[0] for step, run in local.items() if run.tags.get(STATUS) == CURRENT}
    for step, run in there.items():
        own, status = local.get(step), run.tags.get(STATUS)
        # One that the local store does not know was made elsewhere, or before the store was made again.
        told = own.tags.get(STATUS) if own else SUPERSEDED if step[0] in current and status == CURRENT else status
        if told and told != status:
            server.set_tag(server.below(experiment, run.run_id), STATUS, told)
        digest = own.tags.get(EVALUATION) if own else None
        # A store that was made again from the records alone has no final metrics; the server keeps those it has.
        if digest and digest != run.tags.get(EVALUATION):
            (tree,) = read_trees(store, [own.run_id])
            server.log(run.run_id, points=[point for point in tree.timed if point[2] != tree.start + point[3]])
            server.set_tag([run.run_id], EVALUATION, digest)
