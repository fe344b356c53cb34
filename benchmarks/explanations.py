"""Whether explanations of the demo study find what its generator planted.

Reads a finished study of the synthetic cohort (`make demo`) and its truth, and prints, for one explained experiment,

- the columns by their permutation importance beside what they tell of the true log-hazard, and where columns without
  any signal rank;
- the slopes of effect curves beside those of the true log-hazard: its ridge regression on the record's columns;
- the Shapley shares of the feature sets beside those of an oracle that knows the true log-hazards of each subset.

A study whose `cohort.noise` names a modality shows whether its share covers 0; noise_modality.yaml is one.

    python benchmarks/explanations.py --study demo --experiment ehr.cox
    snakemake --cores 2 --configfile benchmarks/noise_modality.yaml evaluate explain
    python benchmarks/explanations.py --study noise_modality
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from riskweave.explain.ablation import shapley_shares
from riskweave.explain.rows import Observed
from riskweave.results import Results, open_results
from riskweave.synthetic.latent import FEMALE, INTERACTIONS, TARGET

NOISE = ("LAB//HAEMOGLOBIN", "LAB//POTASSIUM", "ICD10//J06", "ICD10//M54", "ATC//N02BE01")
"""Codes of the record that the generator gives no signal."""

PARTS = {"ehr": ("demographic", "ehr"), "ecg": ("ecg",), "image": ("image",)}


def read_truth(results: Results, endpoint: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return outcomes and truth of the subjects at risk."""
    outcomes = results.outcomes(endpoint).set_index("subject_id")
    truth = pd.read_parquet(results.folder / "cohort/synthetic/truth.parquet").astype({"subject_id": str})
    return outcomes, truth.set_index("subject_id").loc[outcomes.index]


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return columns as numbers without gaps: categories as indicators of the first one, means where nothing is."""
    made = {
        name: frame[name] if pd.api.types.is_numeric_dtype(frame[name]) else frame[name] == sorted(frame[name])[0]
        for name in frame
    }
    values = pd.DataFrame(made, index=frame.index).astype(float)
    return values.fillna(values.mean())


def is_noise(column: str) -> bool:
    """Tell whether a column is of a code without signal."""
    return column.startswith(NOISE)


def print_importance(importance: pd.DataFrame, columns: pd.DataFrame, hazard: pd.Series) -> None:
    """Print the first columns, and where those of noise are."""
    last = importance["horizon"].max()
    chosen = importance[(importance["metric"] == "harrell_c") & (importance["horizon"] == last)]
    table = chosen[chosen["level"] == "column"].pivot_table(
        index=["feature_set", "name"], columns="method", values=["estimate", "lower", "upper"]
    )
    table = table.sort_values(("estimate", "marginal"), ascending=False)
    print(f"\ncolumns by the loss of concordance at {last} days (all, and among people alike)")
    print(f"{'':4s}{'column':34s}{'marginal':>9s} {'interval':18s}{'conditional':>11s}  tells of the true log-hazard")
    for rank, ((owner, name), row) in enumerate(table.iterrows(), start=1):
        known = f"rho {columns[name].corr(hazard, method='spearman'):+.3f}" if name in columns else ""
        if rank <= 15:
            bounds = f"[{row['lower', 'marginal']:.4f}, {row['upper', 'marginal']:.4f}]"
            line = f"{rank:3d} {owner + '.' + name:34s}{row['estimate', 'marginal']:9.4f} {bounds:18s}"
            print(f"{line}{row['estimate', 'conditional']:11.4f}  {known}")
    ranks = [rank for rank, (_, name) in enumerate(table.index, start=1) if is_noise(name)]
    noise = table.loc[[is_noise(name) for _, name in table.index]]
    covered = ((noise["lower", "marginal"] <= 0) & (noise["upper", "marginal"] >= 0)).sum()
    print(f"columns of noise: {len(ranks)}, best rank {min(ranks, default=0)} of {len(table)}; {covered} cover 0")


def print_slopes(effects: pd.DataFrame, columns: pd.DataFrame, hazard: pd.Series) -> None:
    """Print slopes on the scale of the log cumulative hazard, per standard deviation, summed for each code.

    Mean and last value of a code tell nearly the same: which of them a model leans on is chance, their sum is not.
    """
    # Without the far values, which training winsorises.
    columns = columns.clip(columns.quantile(0.005), columns.quantile(0.995), axis=1)
    within = columns.std()
    scaled = (columns - columns.mean()) / within
    planted = pd.Series(RidgeCV(np.logspace(0, 4, 30)).fit(scaled, hazard).coef_, index=columns.columns)
    last = effects["horizon"].max()
    curves = effects[(effects["scale"] == "cloglog") & (effects["horizon"] == last) & (effects["kind"] == "numeric")]
    found = {}
    for name, curve in curves[curves["column"].isin(columns.columns)].groupby("column"):
        ends = curve.sort_values("position")[["value", "estimate"]].iloc[[0, -1]].to_numpy()
        rise = ends[1] - ends[0]
        found[name] = rise[1] / rise[0] * within[name]
    table = pd.DataFrame({"found": pd.Series(found), "planted": planted}).dropna()
    table = table.groupby([name.rpartition(":")[0] or name for name in table.index]).sum()
    table = table.reindex(table["planted"].abs().sort_values(ascending=False).index)
    print(f"\nslopes of log cumulative hazard per standard deviation, at {last} days")
    print(f"{'code':34s}{'found':>8s}{'planted':>9s}")
    for name, row in table.iterrows():
        print(f"{name:34s}{row['found']:8.3f}{row['planted']:9.3f}")
    same = (np.sign(table["found"]) == np.sign(table["planted"])).head(10).sum()
    alike = table["found"].corr(table["planted"])
    print(f"correlation over {len(table)} codes: {alike:.3f}; of the first ten, {same} have the right sign")


def oracle_risks(truth: pd.DataFrame, players: list[str]) -> dict[frozenset[str], np.ndarray]:
    """Return the true log-hazard of each subset of modalities, with the interactions within it."""
    found = {}
    for size in range(1, len(players) + 1):
        for subset in combinations(players, size):
            total = sum(truth[f"log_hazard_{part}"] for name in subset for part in PARTS[name])
            for first, a, second, b in INTERACTIONS:
                if {first, second} <= set(subset):
                    total = total + TARGET["interaction"] / np.sqrt(len(INTERACTIONS)) * truth[a] * truth[b]
            found[frozenset(subset)] = total.to_numpy(dtype=float)
    return found


def print_shares(
    shares: pd.DataFrame, outcomes: pd.DataFrame, truth: pd.DataFrame, *, noise: list[str], experiment: str
) -> None:
    """Print what modalities are worth beside the oracle's division."""
    last = shares["horizon"].max()
    chosen = shares[(shares["horizon"] == last) & (shares["experiment"] == experiment)]
    found = chosen[chosen["measure"] == "share"].set_index("name")
    players = [name for name in found.index if name in PARTS]
    people = Observed(outcomes["time"].to_numpy(float), outcomes["event"].to_numpy(np.int64), np.arange(len(outcomes)))
    oracle = shapley_shares(oracle_risks(truth, players), people, players, count=200)
    oracle = oracle[oracle["measure"] == "share"].set_index("name")
    print(f"\nshares of the concordance beyond 0.5 at {last} days, {experiment}")
    print(f"{'':10s}{'found':>8s} {'interval':20s}{'oracle':>8s}")
    for name in [*players, "all"]:
        row = found.loc[name]
        bounds = f"[{row['lower']:.4f}, {row['upper']:.4f}]"
        told = f"  no signal planted; covers 0: {row['lower'] <= 0 <= row['upper']}" if name in noise else ""
        print(f"{name:10s}{row['estimate']:8.4f} {bounds:20s}{oracle.loc[name, 'estimate']:8.4f}{told}")


def main() -> None:
    """Compare the explanations of one experiment with the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results")
    parser.add_argument("--study", default="demo")
    parser.add_argument("--endpoint", default="mi")
    parser.add_argument("--experiment", default="ehr.cox", help="explained: importance and effects")
    parser.add_argument("--divided", default="ehr+ecg+image.cox", help="whose concordance is divided")
    options = parser.parse_args()
    if not (options.results / options.study / "evaluation" / options.endpoint / "shapley.parquet").is_file():
        print(f"{options.results / options.study} has no explanations: run snakemake first. Nothing was measured.")
        return
    results = open_results(options.study, options.results)
    outcomes, truth = read_truth(results, options.endpoint)
    columns = numbers(results.features("ehr").set_index("subject_id").loc[outcomes.index])
    columns = columns.loc[:, columns.std() > 0]
    female = truth.index.map(results.subjects().set_index("subject_id")["sex"]) == "female"
    print(f"{options.study}: {len(outcomes)} subjects, {female.mean():.0%} women (planted {FEMALE:.0%})")
    print_importance(results.importance(options.endpoint, options.experiment), columns, truth["log_hazard"])
    print_slopes(results.effects(options.endpoint, options.experiment), columns, truth["log_hazard"])
    noise = results.study["cohort"].get("noise", [])
    print_shares(results.shapley(options.endpoint), outcomes, truth, noise=noise, experiment=options.divided)


if __name__ == "__main__":
    main()
