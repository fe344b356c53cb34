"""The planted truth: how much of what the demo cohort holds do experiments find, and what does less of it cost.

    python benchmarks/planted_truth.py FOLDER [--parts gap noise missing further] [--subjects 5000] [--folds 5]

Writes a study file for each part into the folder, runs `snakemake` there on each as a user does (what is done already
is not done again; the log is beside the study), reads the prediction tables and the truth that the pipeline never
reads, and prints:

gap
    Nobody lacks a modality. Concordance of every experiment, of age and sex alone and of the oracle (the true
    log-hazard), and the share of the gap between these two that the experiment closes (target: 90 % for the best). For
    experiments of one modality also (C - 0.5) / (C_oracle - 0.5) with that modality's own oracle, its true part of the
    log-hazard (target: 90 %); for a record with age and sex this is its part and that of age and sex together.
further
    The same with clinical notes and heart sounds, which add parts of their own.
noise
    One modality says nothing: the cost in concordance of having it (target: below 0.005).
missing
    Half of the same subjects lack one modality: the loss against the cohort of `gap`, beside that of an oracle that
    lacks the modality of the same subjects and averages the true five-year risk over its states (target: at most 0.01
    more than the oracle's).

All concordances of a part are on the same subjects, from risks at five years out of fold; intervals are 95 % percentile
intervals of 300 paired resamples.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from riskweave.evaluation.bootstrap import resamples
from riskweave.evaluation.metrics import harrell_c
from riskweave.synthetic.latent import FURTHER_LATENTS, LATENTS, SHARES, log_hazards
from riskweave.synthetic.outcomes import calibrate, cumulative_incidence

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("gap", "noise", "missing", "further")
HORIZON = 1826
RESAMPLES = 300
DRAWS = 200

VALUES = {"codes": ["LAB//", "VITAL//"], "by_code": True, "aggregates": ["mean"]}
EVER = {"codes": ["ICD10//", "ATC//"], "by_code": True, "aggregates": ["ever"]}
FEATURE_SETS = {
    "age_sex": {"modality": "ehr", "static": ["age", "sex"]},
    "record": {"modality": "ehr", "events": [VALUES, EVER]},
    "ehr": {"modality": "ehr", "static": ["age", "sex"], "events": [VALUES, EVER]},
    "ecg": {
        "modality": "ecg",
        "encoder": {
            "channels": 24,
            "training": {"epochs": 12, "patience": 4, "batch_size": 64, "learning_rate": 0.003},
        },
    },
    "image": {
        "modality": "image",
        "measurements": True,
        "local_measurements": True,
        "encoder": {"training": {"epochs": 20, "patience": 5, "batch_size": 64, "learning_rate": 0.002}},
    },
    "text": {"modality": "text", "codes": ["NOTE//"], "encoder": {"training": {"epochs": 20, "learning_rate": 0.003}}},
    "audio": {"modality": "audio", "encoder": {"training": {"epochs": 20, "learning_rate": 0.002}}},
}
MODELS = {
    "cox": {"kind": "cox", "penalty": [0.0025, 0.005, 0.01], "l1_ratio": [0.9]},
    "deep_surv": {"kind": "deep_surv", "hidden": [32], "dropout": 0.3},
    "boosting": {"kind": "gradient_boosting"},
    "stacked": {"kind": "stacked", "members": ["cox", "deep_surv", "boosting"], "parts": 3},
}
# Effects that only add up miss what two modalities mean together.
CROSSED = {"kind": "early", "products": 6}
# Which part of the log-hazard a feature set alone can know.
OWN = {name: (name,) for name in ("ecg", "image", "text", "audio")} | {
    "record": ("ehr",),
    "ehr": ("ehr", "demographic"),
}


@dataclass(frozen=True)
class Part:
    """One study: what is changed in the cohort, and what is trained on which feature sets."""

    cohort: dict
    alone: tuple[str, ...]
    together: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Found:
    """What one study left: risks of all experiments, outcomes and truth, on the same subjects in the same order."""

    risks: pd.DataFrame
    outcomes: pd.DataFrame
    truth: pd.DataFrame
    present: pd.DataFrame


def parts(noise: str, missing: str) -> dict[str, Part]:
    """Lay out the studies."""
    everybody = {f"missing_{name}": 0 for name in ("ecg", "image", "text", "audio")}
    three = ("ehr", "ecg", "image")
    return {
        "gap": Part(everybody, ("record", *three), (three,)),
        "noise": Part({**everybody, "noise": [noise]}, (), (tuple(n for n in three if n != noise), three)),
        "missing": Part({**everybody, f"missing_{missing}": 0.5}, (), (three,)),
        "further": Part({**everybody, "also": ["text", "audio"]}, ("text", "audio"), ((*three, "text", "audio"),)),
    }


def study_of(name: str, part: Part, options: argparse.Namespace) -> dict:
    """Make the study of a part as the content of its file."""
    used = {"age_sex", *part.alone, *(name for names in part.together for name in names)}
    experiments = {"age_sex": {"feature_sets": ["age_sex"], "models": ["cox"]}}
    experiments |= {one: {"feature_sets": [one], "models": ["cox"]} for one in part.alone}
    for names in part.together:
        block = {"feature_sets": list(names), "models": options.models}
        stem = "_".join(names)
        experiments[stem] = block
        for fusion in options.fusions:
            model = "deep_surv" if fusion in {"attention", "joint"} else "cox"
            experiments[f"{stem}_{fusion}"] = {"feature_sets": list(names), "models": [model], "fusion": fusion}
    needed = {"cox", "deep_surv", *options.models}
    needed |= set(MODELS["stacked"]["members"]) if "stacked" in needed else set()
    return {
        "study": f"truth_{name}",
        "question": "How much of what is planted do the experiments find?",
        "seed": 1,
        "cohort": {"source": "synthetic", "subjects": options.subjects, "seed": options.seed, **part.cohort},
        "endpoints": {
            "mi": {
                "kind": "codes",
                "target": ["ICD10//I21"],
                "competing": ["MEDS_DEATH"],
                "horizons": [1096, HORIZON],
            }
        },
        "folds": {"count": options.folds, "validation": 0.1},
        "feature_sets": {key: value for key, value in FEATURE_SETS.items() if key in used},
        "fusions": {"crossed": CROSSED} if "crossed" in options.fusions else {},
        "models": {key: value for key, value in MODELS.items() if key in needed},
        "experiments": experiments,
        "evaluation": {"reference": "age_sex.cox", "bootstrap": 100},
    }


def run(folder: Path, name: str, study: dict, cores: int) -> bool:
    """Write the study file and run it; tell whether it finished."""
    file, log = folder / f"truth_{name}.yaml", folder / f"truth_{name}.log"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", file.name,
        "--cores", str(cores),
    ]  # fmt: skip
    with log.open("w") as output:
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(f"{name}: snakemake did not finish, see {log}; what it made is read")
    return done.returncode == 0


def read(folder: Path, name: str) -> Found | None:
    """Read what a study left; None without a finished experiment beside that of age and sex."""
    results = folder / "results" / f"truth_{name}"
    tables = sorted(results.glob("experiments/mi/*/predictions.parquet"))
    if not any(table.parent.name == "age_sex.cox" for table in tables):
        return None
    outcomes = pd.read_parquet(results / "cohort/outcomes/mi.parquet").set_index("subject_id")
    truth = pd.read_parquet(results / "cohort/synthetic/truth.parquet").astype({"subject_id": str})
    truth = truth.set_index("subject_id").loc[outcomes.index]
    subjects = pd.read_parquet(results / "cohort/subjects.parquet").set_index("subject_id").loc[outcomes.index]
    truth["age"], truth["female"] = subjects["age"].astype(float), (subjects["sex"] == "female").astype(int)
    risks, present = {}, {}
    for table in tables:
        frame = pd.read_parquet(table).set_index("subject_id").loc[outcomes.index]
        risks[table.parent.name] = frame[f"risk_{HORIZON}"]
    for one in ("ecg", "image", "text", "audio"):
        features = results / f"features/{one}/features.parquet"
        if features.is_file():
            present[one] = outcomes.index.isin(pd.read_parquet(features, columns=["subject_id"])["subject_id"])
    return Found(pd.DataFrame(risks), outcomes, truth, pd.DataFrame(present, index=outcomes.index))


def concordances(found: Found, risks: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Concordance of each column of risks, and of each in paired resamples of the subjects, (resamples, columns)."""
    values = {"time": found.outcomes["time"].to_numpy(), "event": found.outcomes["event"].to_numpy()}
    estimate = pd.Series({name: harrell_c(**values, risk=risks[name].to_numpy()) for name in risks})
    rows = []
    for batch in resamples(people=np.arange(len(risks)), count=RESAMPLES, seed=1):
        rows += [[harrell_c(**values, risk=risks[name].to_numpy(), weights=w) for name in risks] for w in batch]
    return estimate, pd.DataFrame(rows, columns=list(risks))


def interval(values: pd.Series, digits: int = 3) -> str:
    """95 % percentile interval."""
    low, high = np.quantile(values, [0.025, 0.975])
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def own_oracle(experiment: str, truth: pd.DataFrame) -> pd.Series | None:
    """Return the true part of the log-hazard that an experiment of one feature set can know."""
    known = OWN.get(experiment.partition(".")[0])
    return None if known is None else sum(truth[f"log_hazard_{name}"] for name in known)


def print_gap(found: Found) -> None:
    """Print concordances, shares of the gap, and shares of the own oracle."""
    risks = found.risks.assign(oracle=found.truth["log_hazard"])
    own = {name: own_oracle(name, found.truth) for name in found.risks}
    risks = risks.assign(**{f"own {name}": values for name, values in own.items() if values is not None})
    estimate, resampled = concordances(found, risks)
    low, high = estimate["age_sex.cox"], estimate["oracle"]
    print(f"oracle {high:.4f} {interval(resampled['oracle'])}, age and sex {low:.4f}, gap {high - low:.4f}")
    print(f"{'experiment':44s}{'C':>8s}  {'closes of the gap':24s}{'of its own oracle':24s}")
    for name in found.risks.columns[np.argsort(-estimate[found.risks.columns])]:
        share = (resampled[name] - resampled["age_sex.cox"]) / (resampled["oracle"] - resampled["age_sex.cox"])
        line = f"{name:44s}{estimate[name]:8.4f}  {(estimate[name] - low) / (high - low):6.3f} {interval(share):17s}"
        if own[name] is not None:
            best = f"own {name}"
            shares = (resampled[name] - 0.5) / (resampled[best] - 0.5)
            line += f"{(estimate[name] - 0.5) / (estimate[best] - 0.5):6.3f} {interval(shares):17s}"
            line += f" of {estimate[best]:.4f}"
        print(line)


def print_noise(found: Found, noise: str) -> None:
    """Print what the modality of noise costs each kind of experiment."""
    estimate, resampled = concordances(found, found.risks)
    print(f"{noise} without any signal: oracle of the rest against experiments without and with it")
    print(f"{'experiment':44s}{'C':>8s}{'without':>9s}{'cost':>9s}")
    without = [name for name in estimate.index if not _has(name, noise) and not name.startswith("age_sex")]
    for name in (n for n in estimate.index if _has(n, noise)):
        model = name.partition(".")[2]
        alike = [n for n in without if n.partition(".")[2] == model] or without
        best = max(without, key=estimate.get)
        for what, other in (("same kind", alike[0]), ("best subset", best)):
            cost, costs = estimate[other] - estimate[name], resampled[other] - resampled[name]
            line = f"{name:44s}{estimate[name]:8.4f}{estimate[other]:9.4f}{cost:9.4f} {interval(costs, 4)}"
            print(f"{line} against the {what}: {other}")


def _has(experiment: str, modality: str) -> bool:
    return modality in experiment.partition(".")[0].split("_")


def print_missing(whole: Found, half: Found, missing: str) -> None:
    """Print the loss of each experiment beside the oracle's, on the same subjects of two cohorts."""
    if not whole.outcomes[["time", "event"]].equals(half.outcomes[["time", "event"]]):
        print("the cohorts of `gap` and `missing` differ: run both parts with the same options")
        return
    lacking = ~half.present[missing].to_numpy()
    oracle = pd.DataFrame({"whole": whole.truth["log_hazard"], "half": expected_risk(half.truth, missing, lacking)})
    names = [name for name in half.risks if name in whole.risks and _has(name, missing)]
    risks = oracle.join(whole.risks[names].add_prefix("whole ")).join(half.risks[names].add_prefix("half "))
    estimate, resampled = concordances(whole, risks)
    loss, losses = estimate["whole"] - estimate["half"], resampled["whole"] - resampled["half"]
    print(f"{lacking.mean():.0%} of {len(lacking)} subjects lack {missing}")
    print(f"oracle {estimate['whole']:.4f}, with the same missing {estimate['half']:.4f}, loses {loss:.4f}")
    print(f"{'experiment':44s}{'whole':>8s}{'half':>8s}{'loss':>8s}  more than the oracle (at most 0.01)")
    for name in names:
        own = estimate[f"whole {name}"] - estimate[f"half {name}"]
        more = resampled[f"whole {name}"] - resampled[f"half {name}"] - losses
        line = f"{name:44s}{estimate[f'whole {name}']:8.4f}{estimate[f'half {name}']:8.4f}{own:8.4f}"
        print(f"{line}  {own - loss:7.4f} {interval(more, 4)}")


def expected_risk(truth: pd.DataFrame, missing: str, lacking: np.ndarray) -> np.ndarray:
    """Return the true five-year risk; of those who lack a modality, its mean over the states of that modality."""
    also = [name for name in FURTHER_LATENTS if f"log_hazard_{name}" in truth]
    risk, part, rng = np.zeros(len(truth)), truth[lacking].copy(), np.random.default_rng(0)
    intercepts = calibrate(noise=[], also=also)

    def risk_of(frame: pd.DataFrame) -> np.ndarray:
        hazards = log_hazards(frame, noise=[], also=also)
        target, death = hazards["total"].to_numpy(), hazards["death"].to_numpy()
        return cumulative_incidence(target=target, death=death, intercepts=intercepts, days=[HORIZON])[:, 0, 0]

    risk[~lacking] = risk_of(truth[~lacking])
    for _ in range(DRAWS):
        for name in {**LATENTS, **FURTHER_LATENTS}[missing]:
            binary = name in SHARES
            part[name] = rng.random(len(part)) < SHARES[name] if binary else rng.normal(size=len(part))
        risk[lacking] += risk_of(part.astype(dict.fromkeys(LATENTS[missing], float))) / DRAWS
    return risk


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where studies and results go")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["gap", "noise", "missing", "further"])
    parser.add_argument("--subjects", type=int, default=5000)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="seed of the cohort")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["cox"], help="of fused experiments")
    fusions = ["crossed", "attention", "late", "joint"]
    parser.add_argument("--fusions", nargs="*", choices=fusions, default=["crossed", "late"])
    parser.add_argument("--noise", choices=["ecg", "image"], default="image", help="modality without signal")
    parser.add_argument("--missing", choices=["ecg", "image"], default="image", help="modality that half lack")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--read", action="store_true", help="run nothing, only read what is there")
    options = parser.parse_args()
    if options.folder is None:
        print("Name a folder for studies and results (hours on two cores, --help tells more). Nothing was measured.")
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, part in parts(options.noise, options.missing).items():
        needed = name in options.parts or (name == "gap" and "missing" in options.parts)
        if needed and not options.read:
            run(options.folder, name, study_of(name, part, options), options.cores)
        found[name] = read(options.folder, name) if needed else None
    for name in options.parts:
        print(f"\n{name}" + ("" if found[name] is None else f": {len(found[name].risks)} subjects at risk"))
        if found[name] is None or (name == "missing" and found["gap"] is None):
            print("no predictions of age_sex.cox: nothing was measured")
        elif name in {"gap", "further"}:
            print_gap(found[name])
        elif name == "noise":
            print_noise(found[name], options.noise)
        else:
            print_missing(found["gap"], found["missing"], options.missing)


if __name__ == "__main__":
    main()
