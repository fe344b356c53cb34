"""All runs of a store on one page: read by SQL in a moment, written as one HTML file that needs nothing else."""

import base64
import hashlib
import html
import json
import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from riskweave.errors import DataError
from riskweave.tracking.database import ARTIFACTS, DATABASE, address_of
from riskweave.tracking.sql import SqlStore
from riskweave.tracking.trees import CURRENT, FINGERPRINT, PARENT, STATUS

__all__ = ["Comparison", "compare", "compare_or_warn", "read_comparison", "render"]

logger = logging.getLogger(__name__)

KINDS = ("experiment", "neptune")
TEXTS = {
    "study": "study",
    "endpoint": "endpoint",
    "experiment": "experiment",
    "feature_sets": "feature sets",
    "user": "person",
    "data": "data version",
    STATUS: "status",
    "report": "report",
    FINGERPRINT: "fingerprint",
}
"""Tags that the page tells, and their names on it."""
PREFERRED = ("harrell_c", "uno_c", "auc", "antolini_c", "ipa", "brier")
LOWER_IS_BETTER = ("brier", "brier_null", "ibs", "ibs_null", "ici", "e50", "e90")
NEITHER = ("observed_expected", "calibration_intercept", "calibration_slope", "d_calibration", "a_calibration")
"""Of these, neither more nor less is better: they are ordered by size."""
ENDLESS = 1e300
"""The store keeps infinity as the largest number, which rounds to infinity again and which no page can draw."""


@dataclass
class Comparison:
    """What the page tells of the runs, one entry per run in each list.

    Attributes
    ----------
    texts : dict of str to list of str
        By name on the page; empty where a run has none. `model`, `date` and `name` are among them.
    metrics : dict of str to list of (float, float, float) or None
        Estimate with lower and upper end of its interval; the ends are None where there is no interval.
    """

    texts: dict[str, list[str]] = field(default_factory=dict)
    metrics: dict[str, list[tuple[float, float | None, float | None] | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts.get("name", ()))


def compare(*, directory: Path, page: Path) -> int:
    """Write the page that compares all runs of a store.

    Parameters
    ----------
    directory : Path
        Folder of the store; it is read only.
    page : Path
        The page; links to the reports of the studies are relative to its folder. Written whole or not at all.

    Returns
    -------
    int
        Number of runs.

    Raises
    ------
    DataError
        When there is no store, or it cannot be read.
    """
    page = Path(page)
    found = read_comparison(Path(directory))
    found.texts["report"] = [_link(report, page.parent) for report in found.texts["report"]]
    page.parent.mkdir(parents=True, exist_ok=True)
    partial = page.with_name(f".{page.name}.{os.getpid()}.partial")
    try:
        partial.write_text(render(found), encoding="utf-8")
        partial.replace(page)
    finally:
        partial.unlink(missing_ok=True)
    return len(found)


def compare_or_warn(*, directory: Path, page: Path) -> None:
    """Write the page as `compare` does; warn where that fails, since no result depends on it."""
    try:
        compare(directory=directory, page=page)
    except (OSError, ValueError) as error:
        logger.warning("%s: the page that compares all runs was not written: %s", page, error)


def read_comparison(directory: Path) -> Comparison:
    """Read the experiments of all studies, and runs imported from elsewhere: tags, final metrics and no curves.

    Metrics and ends of intervals that are infinite or no numbers are left out.
    """
    url = address_of(directory)
    if url.startswith("sqlite"):
        database = directory.resolve() / DATABASE
        if not database.is_file():
            raise DataError(str(directory), "there is no store of runs", "Run `snakemake track`, which makes it")
        url = f"sqlite:///{database.as_uri()}?mode=ro&uri=true"
    try:
        with SqlStore(url, directory / ARTIFACTS, proxied=False) as store, store.engine.connect() as connection:
            return _read(connection, store.tables)
    except sa.exc.SQLAlchemyError as error:
        problem = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DataError(str(directory), f"the store cannot be read: {problem}", "Collect the runs anew") from None


def _read(connection: sa.Connection, tables: Mapping[str, sa.Table]) -> Comparison:
    runs, tags, params, latest = (tables[name] for name in ("runs", "tags", "params", "latest_metrics"))
    kind = sa.select(tags.c.run_uuid).where(tags.c.key == "kind", tags.c.value.in_(KINDS))
    below = sa.select(tags.c.run_uuid).where(tags.c.key == PARENT)
    mine = sa.and_(runs.c.lifecycle_stage == "active", runs.c.run_uuid.in_(kind), runs.c.run_uuid.not_in(below))
    rows = connection.execute(
        sa.select(runs.c.run_uuid, runs.c.name, runs.c.start_time).where(mine).order_by(runs.c.start_time.desc())
    ).all()
    place = {run_id: number for number, (run_id, _, _) in enumerate(rows)}
    found = Comparison({name: [""] * len(rows) for name in TEXTS.values()})
    found.texts["name"] = [name or "" for _, name, _ in rows]
    found.texts["date"] = [_date(start) for _, _, start in rows]
    found.texts["model"] = [""] * len(rows)
    # Whole tables are read where a list of ten thousand ids would be asked for: runs below others are left out here.
    for table, keys in ((tags, tuple(TEXTS)), (params, ("model",))):
        query = sa.select(table.c.run_uuid, table.c.key, table.c.value).where(table.c.key.in_(keys))
        for run_id, key, value in connection.execute(query.where(table.c.run_uuid.in_(kind))):
            if run_id in place:
                found.texts[TEXTS.get(key, key)][place[run_id]] = value
    found.texts["experiment"] = [
        own or name for own, name in zip(found.texts["experiment"], found.texts["name"], strict=True)
    ]
    query = sa.select(latest.c.run_uuid, latest.c.key, latest.c.value).where(
        latest.c.run_uuid.in_(kind),
        sa.not_(latest.c.is_nan),
        sa.func.abs(latest.c.value) < ENDLESS,
        sa.not_(latest.c.key.like("hardware.%")),
    )
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for run_id, key, value in connection.execute(query):
        if run_id in place:
            values[key][place[run_id]] = value
    found.metrics = _with_intervals(values, len(rows))
    return found


def _with_intervals(
    values: Mapping[str, Mapping[int, float]], count: int
) -> dict[str, list[tuple[float, float | None, float | None] | None]]:
    """Join each metric with the ends of its interval, the metrics that people look at first."""
    ends = {f"{key}{end}" for key in values for end in ("_lower", "_upper")} & set(values)
    metrics = {}
    for key in sorted(set(values) - ends, key=_order):
        lower, upper = values.get(f"{key}_lower", {}), values.get(f"{key}_upper", {})
        own: list[tuple[float, float | None, float | None] | None] = [None] * count
        for number, value in values[key].items():
            own[number] = (value, lower.get(number), upper.get(number))
        metrics[key] = own
    return metrics


def _base(metric: str) -> tuple[str, int]:
    """Return a metric without its horizon, and the horizon (days; 0 without)."""
    found = re.fullmatch(r"(.+)_(\d+)", metric)
    return (found[1], int(found[2])) if found else (metric, 0)


def _order(metric: str) -> tuple[int, str, int]:
    base, horizon = _base(metric)
    first = PREFERRED.index(base) if base in PREFERRED else len(PREFERRED) + metric.startswith("training.")
    return first + (metric == "duration"), base, horizon


def _direction(metric: str) -> int:
    """Return 1 where more is better, -1 where less is, 0 where neither is."""
    base = _base(metric)[0].removeprefix("training.")
    if base in NEITHER or base.startswith(("d_", "a_")):
        return 0
    return -1 if base in LOWER_IS_BETTER or base == "duration" or base.endswith("loss") else 1


def _date(milliseconds: int | None) -> str:
    return "" if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat()[:16]


def _link(report: str, folder: Path) -> str:
    """Return the way from the page to a report; empty where the results of its study are not there."""
    # The report itself, <results>/report/index.html, is written after the runs are collected.
    above = Path(report).parents
    if len(above) < 2 or not above[1].is_dir():
        return ""
    return quote(Path(os.path.relpath(report, folder)).as_posix())


def _coded(values: Sequence[str]) -> dict[str, Any]:
    """Return a column of texts as its distinct values and their places."""
    known = {value: number for number, value in enumerate(sorted(set(values)))}
    return {"values": list(known), "codes": [known[value] for value in values]}


def _short(values: Iterable[tuple[float, float | None, float | None] | None]) -> list[list[float] | None]:
    return [None if value is None else [float(f"{end:.4g}") for end in value if end is not None] for value in values]


def render(found: Comparison) -> str:
    """Return the page: data, style and script within it, named by its policy by their hashes."""
    data = {
        "made": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "current": CURRENT,
        "texts": {name: _coded(values) for name, values in found.texts.items()},
        "metrics": {name: _short(values) for name, values in found.metrics.items()},
        "directions": {name: _direction(name) for name in found.metrics},
    }
    # `<` cannot end the script element where it is written as an escape; JSON reads it the same.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    files = resources.files("riskweave.tracking") / "page"
    style, script, body = ((files / f"compare.{end}").read_text(encoding="utf-8") for end in ("css", "js", "html"))
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Studies and runs</title><style>{style}</style></head>\n{body}"
        f'<script type="application/json" id="data">{text}</script>\n<script>{script}</script></html>\n'
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
