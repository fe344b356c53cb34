"""A small study as the pipeline leaves it, with a planted leaderboard, for the tests of the study report."""

import json
from pathlib import Path

import pandas as pd
import yaml
from evaluation_study import ENDPOINT, evaluated, write_study

from riskweave.drawing import draw_sentence
from riskweave.study.evaluation import Evaluation
from riskweave.study.study import Study
from riskweave.tracking.record import FoldRecord, RunRecord, write_record

__all__ = ["EXPERIMENTS", "inputs_of", "study_block", "write_results"]

EXPERIMENTS = ("true.cox", "half.cox", "constant.null")
FIGURES = ("calibration", "calibration_curve", "decision_curve")


def study_block(**evaluation) -> dict:
    """Return the study file, with keys of `evaluation` changed."""
    sets = {name: {"modality": "ehr", "static": ["age"]} for name in ("true", "half", "constant")}
    return {
        "study": "planted",
        "question": "Is the <whole> signal better than half of it?",
        "objectives": {
            "better": {
                "description": "The whole signal beats half of it.",
                "endpoint": "mace",
                "experiment": "true.cox",
                "compared_with": "half.cox",
                "metric": "harrell_c",
                "above": 0.0,
            }
        },
        "cohort": {"source": "tables", "subjects": "subjects.csv"},
        "endpoints": {"mace": ENDPOINT.model_dump(mode="json") | {"description": "First major event."}},
        "feature_sets": sets,
        "models": {"cox": {"kind": "cox"}, "null": {"kind": "cox"}},
        "experiments": {
            name: {"feature_sets": [name], "models": ["null" if name == "constant" else "cox"]} for name in sets
        },
        "evaluation": {"reference": "half.cox", "bootstrap": 50, "subgroups": ["centre", "sex"]} | evaluation,
    }


def _csv(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def _write_cohort(root: Path, n: int, events: int) -> None:
    report = root / "cohort/report"
    steps = [("subjects", "Subjects in the table", 0, n + 40), ("free", "Free of the endpoint", 40, n)]
    _csv(
        report / "mace/attrition.csv",
        [{"step": s, "description": d, "excluded": e, "remaining": r} for s, d, e, r in steps],
    )
    ways = [("target event", events), ("death", 60), ("followed to day 360, no event", n - events - 60)]
    _csv(report / "mace/outcomes.csv", [{"outcome": o, "subjects": s, "percent": "1.0"} for o, s in ways])
    follow = [("subjects at risk", n), ("median follow-up [quartiles], days", "500 [300, 700]")]
    _csv(report / "mace/follow_up.csv", [{"what": what, "value": value} for what, value in follow])
    _csv(report / "mace/table1.csv", [{"variable": "subjects", "level": "n", "all": n}])
    _csv(report / "missingness.csv", [{"feature_set": "true", "column": "age", "percent": "12.5"}])
    _csv(report / "data.csv", [{"table": "subjects", "rows": n, "people": n, "sha256": "ab" * 6, "changed": "no"}])
    for name in ("mace/flow", "mace/curves", "availability"):
        draw_sentence(name, report / f"{name}.svg")
    source = root / "cohort/source/data.json"
    source.parent.mkdir(parents=True)
    tables = {"subjects": {"rows": n, "subjects": n, "sha256": "ab" * 32}}
    source.write_text(json.dumps({"source": "tables", "fingerprint": "cd" * 32, "tables": tables, "changed": {}}))
    finding = dict.fromkeys(("gate", "name", "place", "problem", "subjects", "remedy", "allowed", "why"), "")
    _csv(root / "cohort/leaks/findings.csv", [finding | {"gate": "name", "allowed": "yes"}])


def _write_runs(root: Path) -> None:
    for number, name in enumerate(EXPERIMENTS):
        counts = {f"{p}_subjects": 100 for p in ("train", "validation", "test")}
        counts |= {f"{p}_events_cause_1": 30 for p in ("train", "validation", "test")}
        record = RunRecord(
            kind="experiment",
            name=name,
            endpoint="mace",
            feature_sets={name.split(".")[0]: ["age"]},
            params={},
            seed=7 + number,
            data={"fingerprint": "cd" * 32},
            folds=[FoldRecord(fold, counts=counts) for fold in range(2)],
            hardware={"cpu_model": "Processor", "cpus": 2, "gpus": [{"name": "Accelerator"}]},
            provenance={
                "git": {"commit": "0123456789abcdef", "dirty": number == 2},
                "code": "ef" * 32,
                "python": "3.11.7",
                "packages": {"riskweave": "0.1.0"},
                "host": "secrethost",
                "user": "secretuser",
            },
            started="2026-01-02T03:04:05.000+00:00",
            duration=75.0,
        )
        folder = root / "experiments/mace" / name
        folder.mkdir(parents=True)
        write_record(record, folder / "run.json")


def write_results(folder: Path, **evaluation) -> Path:
    """Write ``results/planted`` below a folder and return it; keys of the study's `evaluation` may be changed."""
    study = Study.model_validate(study_block(**evaluation))
    root = folder / "results/planted"
    root.mkdir(parents=True)
    (root / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    planted = write_study(folder, n=400)
    made = evaluated(planted, evaluation=Evaluation.model_validate(study.evaluation.model_dump()))
    (root / "evaluation").mkdir()
    made["metrics"].parent.rename(root / "evaluation/mace")
    for figure in FIGURES:
        draw_sentence(figure, root / f"evaluation/mace/{figure}.svg")
    verdict = {"objective": "better", "description": "The whole signal beats half of it.", "endpoint": "mace"}
    verdict |= {"experiment": "true.cox", "compared_with": "half.cox", "metric": "harrell_c", "horizon": 360}
    verdict |= {"criterion": "above 0", "n": 400, "events": 7, "estimate": 0.1, "lower": 0.05, "upper": 0.15}
    _csv(root / "evaluation/objectives.csv", [verdict | {"verdict": "met", "sentence": "Met."}])
    reached = (planted["time"] <= 360) & (planted["event"] == 1)
    _write_cohort(root, 400, int(reached.sum()))
    _write_runs(root)
    return root


def inputs_of(root: Path) -> list[Path]:
    """Return all files of the results but those of a report made before."""
    return [path for path in root.rglob("*") if path.is_file() and root / "report" not in path.parents]
