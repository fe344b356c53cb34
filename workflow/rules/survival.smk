"""Experiments: one job trains all folds of one.

REQUIRED INPUTS: cohort/outcomes/<endpoint>.parquet, cohort/folds.parquet, features/<feature_set>/*.
OUTPUTS: experiments/<endpoint>/<experiment>/
  {predictions.parquet,models.zip}, and of each training a run record (run.json) with its curves (curves.csv).
"""


rule train_experiment:
    input:
        code=lambda wildcards: code("train_experiment", *implementations_of(wildcards)),
        tables=experiment_tables,
        embeddings=experiment_embeddings,
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        # Whose index time each subject is: known with the folds, which are divided by it.
        people=ancient(rules.select_cohort.output.subjects),
        recorded=recorded_of_experiment,
        data=ancient(rules.ingest.output.data),
        checked=checks_of_experiment,
    output:
        predictions=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/predictions.parquet",
        models=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/models.zip",
        record=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/run.json",
        curves=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/curves.csv",
        trials=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/trials.csv",
    log:
        f"{RESULTS}/logs/train_experiment/{{endpoint}}/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_experiment/{{endpoint}}/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of({e.name for e in STUDY.matrix()} - set(STUDY.shared_experiments())),
    conda:
        "../../envs/riskweave.yaml"
    resources:
        gpu=gpu_of_experiment,
        mem_mb=memory_of_experiment,
        runtime=runtime_of_experiment,
    params:
        study=STUDY.study,
        experiment=lambda wildcards: asdict(experiment_of(wildcards)),
        model=lambda wildcards: dump(STUDY.models[experiment_of(wildcards).model]),
        fusion=lambda wildcards: dump(STUDY.fusion(experiment_of(wildcards).fusion)),
        members=lambda wildcards: {name: dump(block) for name, block in members_of(wildcards).items()},
        encoders=experiment_encoders,
        times=lambda wildcards: STUDY.endpoints[wildcards.endpoint].time_grid(),
        seed=STUDY.seed,
        earlier=earlier_of,
    message:
        "Train {wildcards.experiment} for {wildcards.endpoint} and predict its test folds."
    script:
        "../scripts/train_experiment.py"
