"""Encoders and experiments: one job trains all folds of one.

REQUIRED INPUTS: cohort/outcomes/<endpoint>.parquet, cohort/folds.parquet, features/<feature_set>/*.
OUTPUTS: features/<feature_set>/<endpoint>/{embeddings.parquet,encoder.pt}, experiments/<endpoint>/<experiment>/
  {predictions.parquet,models.joblib}, and of each training a run record (run.json) with its curves (curves.csv).
"""


rule train_encoder:
    input:
        unpack(encoder_input),
        code=lambda wildcards: code("train_encoder", *encoder_code(wildcards.encoder_set)),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        data=ancient(rules.ingest.output.data),
        checked=f"{RESULTS}/cohort/checks/{{endpoint}}/{{encoder_set}}",
    output:
        embeddings=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/embeddings.parquet",
        weights=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/encoder.pt",
        record=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/run.json",
        curves=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/curves.csv",
    log:
        f"{RESULTS}/logs/train_encoder/{{encoder_set}}/{{endpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_encoder/{{encoder_set}}/{{endpoint}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        mem_mb=4000,
    params:
        study=STUDY.study,
        features=lambda wildcards: dump(STUDY.feature_sets[wildcards.encoder_set]),
        weights=lambda wildcards: weights_fingerprint(wildcards.encoder_set),
        seed=STUDY.seed,
    message:
        "Train the encoder of {wildcards.encoder_set} against {wildcards.endpoint}, on the training rows of each fold."
    script:
        "../scripts/train_encoder.py"


rule train_experiment:
    input:
        code=lambda wildcards: code("train_experiment", *implementations_of(wildcards)),
        tables=experiment_tables,
        embeddings=experiment_embeddings,
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        people=people_of_experiment,
        data=ancient(rules.ingest.output.data),
        checked=checks_of_experiment,
    output:
        predictions=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/predictions.parquet",
        models=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/models.joblib",
        record=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/run.json",
        curves=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/curves.csv",
        trials=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/trials.csv",
    log:
        f"{RESULTS}/logs/train_experiment/{{endpoint}}/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_experiment/{{endpoint}}/{{experiment}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        mem_mb=2000,
    params:
        study=STUDY.study,
        experiment=lambda wildcards: asdict(experiment_of(wildcards)),
        model=lambda wildcards: dump(STUDY.models[experiment_of(wildcards).model]),
        fusion=lambda wildcards: dump(STUDY.fusion(experiment_of(wildcards).fusion)),
        members=lambda wildcards: {name: dump(block) for name, block in members_of(wildcards).items()},
        encoders=experiment_encoders,
        times=lambda wildcards: STUDY.endpoints[wildcards.endpoint].time_grid(),
        seed=STUDY.seed,
    message:
        "Train {wildcards.experiment} for {wildcards.endpoint} and predict its test folds."
    script:
        "../scripts/train_experiment.py"
