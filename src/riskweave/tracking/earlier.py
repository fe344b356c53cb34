"""Trainings of before that a training would repeat: in the store of runs, by whoever's study, and on this disk.

The store is read by SQL and never written; it is not opened through MLflow, which takes seconds to import.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riskweave.errors import DataError
from riskweave.tracking.fingerprints import PARTS

if TYPE_CHECKING:
    from riskweave.tracking.remote import Server

__all__ = ["TAGS", "EarlierRun", "runs_in_store", "runs_on_disk", "runs_on_server", "sorted_out"]

DATABASE = "mlflow.db"
ADDRESS = "database.url"
"""File in the store's folder with the address of a shared database, where there is one (`make server`)."""

TAGS = {part: f"training.{part}" for part in ("fingerprint", *PARTS)}
"""Tags of a parent run that hold the fingerprint of its training, and its parts."""

_ABOUT = ("study", "user", "host", "status")
_AT_ONCE = 500


@dataclass(frozen=True)
class EarlierRun:
    """A finished training.

    Attributes
    ----------
    parts : dict of str to str
        ``fingerprint``, and its parts (`riskweave.tracking.fingerprints.PARTS`).
    study, user, host : str
        In which study, by whom, where.
    started : str
        ISO 8601, UTC.
    result : str
        One metric in words; empty where there is none.
    status : str
        ``current`` or ``superseded`` in the store; ``on this disk`` of a record.
    record : Path or None
        The record, of a training on this disk.
    outputs : dict of str to str
        The sha256 of each file that it made, of a training on this disk.
    precision : str
        In which it computed, of a training on this disk whose study asks for mixed precision; empty otherwise.
    """

    parts: Mapping[str, str]
    study: str
    user: str
    host: str
    started: str
    result: str
    status: str
    record: Path | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    precision: str = ""

    def told(self) -> str:
        """Return who trained it, when, and with what result."""
        day = self.started[:16].replace("T", " ")
        told = f"study {self.study}, by {self.user or 'unknown'} on {self.host or 'unknown'}, {day} UTC"
        return f"{told}{f', {self.result}' if self.result else ''} ({self.status})"


def sorted_out(
    runs: Iterable[EarlierRun], facts: Mapping[str, str | None]
) -> tuple[list[EarlierRun], list[EarlierRun], dict[str, EarlierRun]]:
    """Sort earlier runs by what they share with a training.

    Parameters
    ----------
    runs : iterable of EarlierRun
    facts : mapping
        Of the training (`riskweave.tracking.fingerprints.training_facts`).

    Returns
    -------
    same : list of EarlierRun
        Those with its fingerprint, the latest first.
    perhaps : list of EarlierRun
        Those that are the same as far as is known before its inputs are made, the latest first.
    differing : dict of str to EarlierRun
        The latest of those that differ, by the names of the parts in which they do, such as ``code, packages``.
    """
    same, perhaps, differing = [], [], {}
    for run in sorted(runs, key=lambda run: run.started, reverse=True):
        different = [part for part in PARTS if facts[part] is not None and run.parts.get(part) != facts[part]]
        if different:
            differing.setdefault(", ".join(different), run)
        elif facts["fingerprint"] is None:
            perhaps.append(run)
        elif run.parts.get("fingerprint") == facts["fingerprint"]:
            same.append(run)
    return same, perhaps, differing


def runs_on_disk(records: Iterable[Path], settings: str) -> list[EarlierRun]:
    """Return those finished trainings of these records that had these settings; what is no record is passed over."""
    found = []
    for path in records:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            provenance = content["provenance"]
            training = provenance["training"]
            parts = {part: str(training[part]) for part in TAGS}
            outputs = dict(training["outputs"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if parts["settings"] == settings:
            metrics = content.get("metrics") or {}
            found.append(
                EarlierRun(
                    parts=parts,
                    study=str(content.get("context", {}).get("study", "")),
                    user=str(provenance.get("user", "")),
                    host=str(provenance.get("host", "")),
                    started=str(content.get("started", "")),
                    result=_result({f"training.{key}": value for key, value in metrics.items()}),
                    status="on this disk",
                    record=path,
                    outputs=outputs,
                    precision=str(training.get("precision", "")),
                )
            )
    return found


def runs_in_store(directory: Path, settings: Iterable[str]) -> dict[str, list[EarlierRun]]:
    """Return the finished trainings in the store that had these settings, replaced ones included.

    Parameters
    ----------
    directory : Path
        Folder of the store; where there is none, nothing was trained as far as it knows.
    settings : iterable of str
        Digests of settings.

    Returns
    -------
    dict of str to list of EarlierRun
        By digest of settings.

    Raises
    ------
    DataError
        When the store cannot be read.
    """
    wanted = sorted(set(settings))
    found: dict[str, list[EarlierRun]] = {digest: [] for digest in wanted}
    with _reading(directory) as select:
        if select is None:
            return found
        runs = _rows(select, "SELECT run_uuid, value FROM tags WHERE key = :key AND value IN ({})", wanted)
        ids = [run for run, _ in runs]
        about = _by_run(_rows(select, "SELECT run_uuid, key, value FROM tags WHERE run_uuid IN ({})", ids))
        values = _by_run(_rows(select, "SELECT run_uuid, key, value FROM latest_metrics WHERE run_uuid IN ({})", ids))
        query = "SELECT run_uuid, start_time FROM runs WHERE status = 'FINISHED' AND lifecycle_stage = 'active'"
        for run, start in _rows(select, query + " AND run_uuid IN ({})", ids):
            earlier = _earlier(about[run], values.get(run, {}), start or 0)
            found[earlier.parts["settings"]].append(earlier)
    return found


def runs_on_server(server: "Server", settings: Iterable[str]) -> dict[str, list[EarlierRun]]:
    """Return the finished trainings on a team's server that had these settings, as `runs_in_store` does.

    Raises
    ------
    DataError
        When the server cannot be asked.
    """
    found: dict[str, list[EarlierRun]] = {}
    for digest in sorted(set(settings)):
        condition = f"attributes.status = 'FINISHED' AND tags.`{TAGS['settings']}` = '{digest}'"
        found[digest] = [_of_interface(run) for run in server.everywhere(condition)]
    return found


def _of_interface(run: Mapping[str, Any]) -> EarlierRun:
    tags = {tag["key"]: tag.get("value", "") for tag in run["data"].get("tags", [])}
    metrics = {metric["key"]: metric["value"] for metric in run["data"].get("metrics", [])}
    return _earlier(tags, metrics, int(run["info"].get("start_time") or 0))


def _earlier(tags: Mapping[str, str], metrics: Mapping[str, Any], start: int) -> EarlierRun:
    """Return the run of these tags and metrics that began so many milliseconds after 1970."""
    return EarlierRun(
        parts={part: tags.get(tag, "") for part, tag in TAGS.items()},
        started=datetime.fromtimestamp(start / 1000, tz=UTC).isoformat(timespec="seconds"),
        result=_result(metrics),
        **{name: tags.get(name, "") for name in _ABOUT},
    )


def _by_run(rows: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for run, key, value in rows:
        table.setdefault(run, {})[key] = value
    return table


def _rows(select: Any, query: str, values: list[str]) -> list[tuple]:
    """Return the rows of a query whose ``{}`` takes these values, some hundred at a time."""
    rows: list[tuple] = []
    for first in range(0, len(values), _AT_ONCE):
        chosen = {f"v{number}": value for number, value in enumerate(values[first : first + _AT_ONCE])}
        places = ", ".join(f":{name}" for name in chosen)
        key = {"key": TAGS["settings"]} if ":key" in query else {}
        rows += select(query.format(places), {**key, **chosen})
    return rows


@contextlib.contextmanager
def _reading(directory: Path) -> Iterator[Any]:
    """Yield a function that selects rows from the store, or None where there is no store yet."""
    directory = Path(directory)
    where = f"{directory.name}/{DATABASE}"
    remedy = "Look whether `make ui` opens the store; `snakemake track` makes a new one once this one is moved away"
    if (address := directory / ADDRESS).is_file():
        import sqlalchemy  # only where a database is shared: the rest of the module is light

        engine = sqlalchemy.create_engine(address.read_text(encoding="utf-8").strip())
        try:
            with engine.connect() as connection:
                yield lambda query, values: [tuple(row) for row in connection.execute(sqlalchemy.text(query), values)]
        except sqlalchemy.exc.SQLAlchemyError as error:
            # Its text may quote the address, and with it the password.
            raise DataError(where, f"the shared database cannot be read: {type(error).__name__}", remedy) from None
        finally:
            engine.dispose()
    elif (database := directory / DATABASE).is_file():
        try:
            with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                yield lambda query, values: connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise DataError(where, f"the store cannot be read: {error}", remedy) from None
    else:
        yield None


def _result(metrics: Mapping[str, Any]) -> str:
    """Return the concordance in words: the evaluated one at the last horizon, or the mean over folds of training."""
    final = {key: key.removeprefix("harrell_c_") for key in metrics if key.startswith("harrell_c_")}
    days = {int(rest): key for key, rest in final.items() if rest.isdigit()}
    if days:
        return f"concordance {float(metrics[days[max(days)]]):.3f} at {max(days)} days"
    for key, name in (("training.test_harrell_c", "test"), ("training.validation_harrell_c", "validation")):
        if isinstance(value := metrics.get(key), int | float):
            return f"{name} concordance {value:.3f} in training"
    return ""
