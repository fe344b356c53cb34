"""Where the numbers come from: runs, code, data, software and the content of every file that was read."""

from typing import Any

import pandas as pd

from riskweave.study_report.inputs import Content
from riskweave.study_report.words import NOTHING, duration
from riskweave.tracking.ids import PARENT
from riskweave.tracking.record import RunRecord, fingerprint

__all__ = ["hardware", "other_data", "runs_shown", "runs_table", "short", "software_table"]

SHOWN_DIGITS = 12
IDS = "tracking/runs.csv"


def short(digest: object) -> str:
    """Return the first digits of a digest or commit; empty where there is none."""
    return str(digest or "")[:SHOWN_DIGITS]


def hardware(facts: dict[str, Any]) -> str:
    """Name processor and accelerators of a run; neither host nor user."""
    gpus = [str(gpu.get("name", "GPU")) for gpu in facts.get("gpus", [])]
    model, cpus = facts.get("cpu_model", ""), facts.get("cpus", "")
    return ", ".join([f"{cpus} x {model}" if cpus else model, *gpus]).strip(", ")


def _version(run: RunRecord) -> str:
    """Return the commit, and whether the checkout differed from it."""
    git = run.provenance.get("git", {})
    commit = str(git.get("commit") or "")
    return f"{commit}, changed" if commit and git.get("dirty") else commit


def _ids(content: Content) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return MLflow's ids of experiment and run, by kind, endpoint, name and fingerprint of the step."""
    if content.files.optional(IDS) is None:
        return {}
    table = content.files.text(IDS)
    steps = table[table["fold"] == PARENT]
    keys = steps[["kind", "endpoint", "name", "fingerprint"]].itertuples(index=False, name=None)
    return dict(zip(keys, zip(steps["mlflow_experiment"], steps["mlflow_run"], strict=True), strict=True))


def _with_ids(row: dict[str, Any], ids: dict[tuple[str, ...], tuple[str, str]]) -> dict[str, Any]:
    """Add MLflow's ids to the facts of a run: empty where the store holds another version of the record, or none."""
    found = ids.get((row["kind"], row["endpoint"], row["name"], row["fingerprint"]), ("", ""))
    return row | dict(zip(("mlflow_experiment", "mlflow_run"), found, strict=True))


def runs_table(content: Content) -> pd.DataFrame:
    """Return the facts of each run record, one row per training step.

    Returns
    -------
    DataFrame
        kind, endpoint, name, seed, commit (with ``, changed`` where the checkout had changes), code (sha256 of the
        code that ran), data (fingerprint), started (UTC), seconds, hardware, record (name below the results),
        fingerprint (the sha256 of the record, the tag ``riskweave.fingerprint`` of its run in MLflow), and the ids that
        MLflow gave to the study and the run: mlflow_experiment, mlflow_run. Those are new when the store is made again.
    """
    ids = _ids(content)
    rows = [
        {
            "kind": run.kind,
            "endpoint": run.endpoint,
            "name": run.name,
            "seed": run.seed,
            "commit": _version(run),
            "code": run.provenance.get("code", ""),
            "data": run.data.get("fingerprint", ""),
            "started": run.started,
            "seconds": run.duration,
            "hardware": hardware(run.hardware),
            "record": name,
            "fingerprint": fingerprint(content.files.path(name)),
        }
        for name, run in content.records.items()
    ]
    return pd.DataFrame([_with_ids(row, ids) for row in rows])


def runs_shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs as text with short digests, for the page."""
    commits = [commit.split(", ") for commit in table["commit"]]
    return pd.DataFrame(
        {
            "trained": table["name"],
            "endpoint": table["endpoint"],
            "seed": table["seed"].astype(str),
            "commit": [", ".join([short(first), *rest]) for first, *rest in commits],
            "data": table["data"].map(short),
            "duration": table["seconds"].map(duration),
            "hardware": table["hardware"],
            "fingerprint": table["fingerprint"].map(short),
            "MLflow run id": table["mlflow_run"].replace("", NOTHING),
        }
    )


def other_data(content: Content) -> list[str]:
    """Return the names of the runs that were trained on another version of the data than the one described."""
    known = content.data.get("fingerprint")
    return [run.name for run in content.records.values() if known and run.data.get("fingerprint", known) != known]


def software_table(content: Content) -> pd.DataFrame:
    """Return the versions of Python and the packages of all runs: package, version (several where runs differ)."""
    found: dict[str, list[str]] = {}
    for run in content.records.values():
        versions = {"python": run.provenance.get("python", ""), **run.provenance.get("packages", {})}
        for name, version in versions.items():
            if version and version not in found.setdefault(name, []):
                found[name].append(version)
    return pd.DataFrame([(name, ", ".join(found[name])) for name in sorted(found)], columns=["package", "version"])
