"""Experiments with one network for all endpoints of the study: one job trains all folds for all endpoints.

REQUIRED INPUTS: cohort/outcomes/<endpoint>.parquet of every endpoint, cohort/folds.parquet, features/<feature_set>/*.
OUTPUTS: experiments/<endpoint>/<experiment>/{predictions.parquet,models.zip,run.json,curves.csv,trials.csv} of every
  endpoint, as `train_experiment` makes them of one.
"""


rule train_endpoints:
    input:
        code=lambda wildcards: code("train_endpoints", FUSIONS[STUDY.fusion(experiment_of(wildcards).fusion).kind]),
        tables=experiment_tables,
        embeddings=experiment_embeddings,
        outcomes=expand(rules.define_outcomes.output.outcomes, endpoint=sorted(STUDY.endpoints)),
        folds=rules.assign_folds.output.folds,
        # Whose index time each subject is: known with the folds, which are divided by it.
        people=ancient(rules.select_cohort.output.subjects),
        data=ancient(rules.ingest.output.data),
        checked=checks_of_experiment,
    output:
        predictions=of_all_endpoints("predictions.parquet"),
        models=of_all_endpoints("models.zip"),
        record=of_all_endpoints("run.json"),
        curves=of_all_endpoints("curves.csv"),
        trials=of_all_endpoints("trials.csv"),
    log:
        f"{RESULTS}/logs/train_endpoints/{{shared_experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_endpoints/{{shared_experiment}}.tsv"
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
        encoders=experiment_encoders,
        times={endpoint: STUDY.endpoints[endpoint].time_grid() for endpoint in sorted(STUDY.endpoints)},
        seed=STUDY.seed,
        earlier=earlier_of,
    message:
        "Train {wildcards.shared_experiment} for all endpoints and predict their test folds."
    script:
        "../scripts/train_endpoints.py"
