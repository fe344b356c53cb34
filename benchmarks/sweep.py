"""What a sweep of small experiments takes beside its training: imports and starts of jobs are the enemy.

One study of 64 experiments (eight feature sets of a record, eight models) on the synthetic cohort, on two cores. Its
trainings are run by themselves, after all that they wait for, and then all of the study that is left. Told are

- wall time over the sum of the training seconds (`duration` in the run records, begun once everything is imported);
- the same times the cores: the share of the cores' time that is not training is what remains above 1;
- how the median job divides into training, imports and what else its process does, and Snakemake's own part.

Read the ratios of one run: seconds depend on the machine and its load, which is printed before and after.

    OMP_NUM_THREADS=1 python benchmarks/sweep.py [--folder FOLDER] [--subjects 2000] [--experiments 64]
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]
PARTS = ("LICENSE", "Snakefile", "config", "envs", "profiles", "src", "workflow")
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
CODES = ("LAB//", "VITAL//", "ICD10//", "ATC//")
AT_MOST = 1.10


def study(subjects: int, experiments: int) -> dict:
    """Return a study of so many experiments: feature sets of more and more of the record, models of eight penalties."""
    sets = {}
    for number in range(8):
        codes = [code for place, code in enumerate(CODES) if number >> (place % 3) & 1 or place == number % 4]
        aggregates = ["last", "mean"] if number % 2 else ["last"]
        events = [
            {"codes": [code], "by_code": True, "aggregates": aggregates if code in CODES[:2] else ["ever"]}
            for code in codes
        ]
        sets[f"record_{number}"] = {"modality": "ehr", "static": ["age", "sex"], "events": events}
    # Three penalties each, as the demo study's model: choosing one is part of a training.
    models = {
        f"cox_{number}": {"kind": "cox", "penalty": [value / 2, value, value * 2]}
        for number, value in enumerate(PENALTIES)
    }
    chosen = [(name, model) for name in sets for model in models][:experiments]
    return {
        "study": "sweep",
        "question": "What does a sweep take beside its training?",
        "cohort": {"source": "synthetic", "subjects": subjects, "centres": 4},
        "endpoints": {
            "mi": {
                "kind": "codes",
                "target": ["ICD10//I21"],
                "competing": ["MEDS_DEATH"],
                "horizons": [1096, 1826],
            }
        },
        "folds": {"strategy": "stratified", "count": 5},
        "feature_sets": {name: sets[name] for name, _ in chosen},
        "models": {model: models[model] for _, model in chosen},
        "experiments": {
            name: {"feature_sets": [name], "models": [model for other, model in chosen if other == name]}
            for name in dict.fromkeys(name for name, _ in chosen)
        },
        "evaluation": {"reference": ".".join(chosen[0]), "bootstrap": 100},
    }


def snakemake(folder: Path, *targets: str) -> float:
    """Run snakemake in a copy of the pipeline, and return its wall seconds."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all", "--", *targets]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-6000:])
    return seconds


def divided(results: Path) -> tuple[list[float], list[float]]:
    """Return the training seconds and the wall seconds of each training job."""
    trained, jobs = [], []
    for record in sorted((results / "experiments").rglob("run.json")):
        trained.append(json.loads(record.read_text(encoding="utf-8"))["duration"])
        endpoint, name = record.parts[-3:-1]
        with (results / f"benchmarks/train_experiment/{endpoint}/{name}.tsv").open(encoding="utf-8") as file:
            jobs.append(float(next(csv.DictReader(file, delimiter="\t"))["s"]))
    return trained, jobs


def load() -> str:
    """Return the load of this machine, over one and five minutes."""
    return "load {:.1f}, {:.1f}".format(*os.getloadavg()[:2])


def measure(folder: Path, subjects: int, experiments: int, *, whole: bool) -> float:
    """Run the sweep in a folder, print what it took, and return wall over training seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / part)
    content = study(subjects, experiments)
    (folder / "config/config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    results = folder / "results/sweep"
    names = [f"{name}.{model}" for name, block in content["experiments"].items() for model in block["models"]]
    print(f"{len(names)} experiments, {subjects} subjects, 5 folds; {load()}")
    before = snakemake(folder, *(f"results/sweep/cohort/checks/mi/{name}" for name in content["feature_sets"]))
    wall = snakemake(folder, *(f"results/sweep/experiments/mi/{name}/predictions.parquet" for name in names))
    trained, jobs = divided(results)
    total = sum(trained)
    ratio = wall / total
    print(f"trainings: {wall:.0f} s of wall time for {total:.0f} s of training on two cores; {load()}")
    print(f"  wall / training {ratio:.3f} (at most {AT_MOST}); two cores: {2 * ratio:.3f}")
    print(
        f"  median job {statistics.median(jobs):.2f} s, of it training {statistics.median(trained):.2f} s; outside of "
        f"jobs {2 * wall - sum(jobs):.0f} s of the two cores, {(2 * wall - sum(jobs)) / len(jobs):.2f} s for each"
    )
    spent = statistics.median(job - training for job, training in zip(jobs, trained, strict=True))
    print(
        f"  imports and start of the median job {spent:.2f} s: the ratio is below {AT_MOST} for trainings above "
        f"{(spent + (2 * wall - sum(jobs)) / len(jobs)) / (2 * AT_MOST - 1):.1f} s on this machine"
    )
    if whole:
        after = snakemake(folder)
        print(f"whole study: {before + wall + after:.0f} s, before the trainings {before:.0f} s, after {after:.0f} s")
    return ratio


def main() -> int:
    """Return 1 where the sweep takes more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="an empty folder to work in and keep; otherwise a temporary one")
    parser.add_argument("--subjects", type=int, default=2000)
    parser.add_argument("--experiments", type=int, default=64)
    parser.add_argument("--trainings", action="store_true", help="leave out what comes after the trainings")
    options = parser.parse_args()
    sizes = (options.subjects, options.experiments)
    if options.folder is not None:
        return int(measure(options.folder, *sizes, whole=not options.trainings) > AT_MOST)
    with tempfile.TemporaryDirectory() as folder:
        return int(measure(Path(folder), *sizes, whole=not options.trainings) > AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
