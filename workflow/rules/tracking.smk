"""The local MLflow store: filled from run records, which are the source of truth; it can be deleted and rebuilt.

Where RISKWEAVE_TRACKING_URI names a team's server, `collect_runs` sends it the runs too; one that is down fails nothing.

REQUIRED INPUTS: run.json and curves.csv of every encoder and experiment, evaluation/<endpoint>/metrics.parquet.
OUTPUTS: results/mlflow/ (SQLite store and artifacts, shared by all studies), tracking/collected.json, tracking/runs.csv.
"""


localrules:
    init_tracking,
    collect_runs,


# The store has one writer at a time, and its schema is made before the first: parallel first writers break MLflow's
# migration. The database itself is no output: Snakemake deletes outputs before it makes them again. A file of each study
# lies beside it instead: where the store was deleted it is missing, and the runs are collected again.
rule init_tracking:
    output:
        store=f"{STORE}/studies/{STUDY.study}.json",
    log:
        f"{RESULTS}/logs/init_tracking.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        directory=lambda wildcards, output: str(Path(output.store).parents[1]),
    message:
        "Make the MLflow store."
    script:
        "../scripts/init_tracking.py"


rule collect_runs:
    input:
        store=rules.init_tracking.output.store,
        records=run_records(),
        metrics=expand(rules.evaluate_endpoint.output.metrics, endpoint=sorted(STUDY.endpoints)),
        artifacts=[rules.save_study.output.study, rules.judge_objectives.output.verdicts, *leaderboards()],
    output:
        collected=f"{RESULTS}/tracking/collected.json",
        # MLflow's ids, which are new in a new store. The study report shows them; nothing else reads them.
        ids=f"{RESULTS}/tracking/runs.csv",
    log:
        f"{RESULTS}/logs/collect_runs.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_runs.tsv"
    conda:
        "../../envs/riskweave.yaml"
    params:
        directory=lambda wildcards, input: str(Path(input.store).parents[1]),
        study=STUDY.study,
        endpoints=sorted(STUDY.endpoints),
        # Of these kinds the study has no other steps: what else the store holds of them was taken out of it.
        complete=["encoder", "experiment", "pretraining"],
        steps=sorted(f"experiment/{e.endpoint}/{e.name}" for e in STUDY.matrix()),
        report=f"{RESULTS}/report/index.html",
    message:
        "Store the run of every training step in MLflow."
    script:
        "../scripts/collect_runs.py"


rule track:
    input:
        rules.init_tracking.output,
        rules.collect_runs.output,
