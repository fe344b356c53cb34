"""Deployment: the experiments named under `deployment`, fitted once more on everybody, as bundles that run anywhere.

REQUIRED INPUTS: cohort/outcomes/<endpoint>.parquet, features/<feature_set>/*, the recordings that their tables name,
  evaluation/<endpoint>/{metrics,calibration}.parquet.
OUTPUTS: deployment/<endpoint>/folds.parquet, deployment/<endpoint>/encoders/<feature_set>/encoder.pt,
  deployment/<endpoint>/<experiment>/{models.joblib,run.json,...,parity.json}; bundle/<endpoint>/<experiment>/.
"""


localrules:
    deploy,


rule divide_everybody:
    input:
        code=code("divide_everybody"),
        subjects=rules.select_cohort.output.subjects,
        outcomes=rules.define_outcomes.output.outcomes,
    output:
        folds=update(f"{RESULTS}/deployment/{{endpoint}}/folds.parquet"),
    log:
        f"{RESULTS}/logs/divide_everybody/{{endpoint}}.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        folds=dump(STUDY.folds),
        validation=STUDY.deployment.validation,
    message:
        "Divide the subjects for the final fits of {wildcards.endpoint}: most train, a share validates."
    script:
        "../scripts/divide_everybody.py"


use rule train_encoder as refit_encoder with:
    input:
        unpack(encoder_input),
        code=lambda wildcards: code("train_encoder", *encoder_code(wildcards.encoder_set)),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.divide_everybody.output.folds,
        subjects=ancient(rules.select_cohort.output.subjects),
        data=ancient(rules.ingest.output.data),
        checked=f"{RESULTS}/cohort/checks/{{endpoint}}/{{encoder_set}}",
    output:
        embeddings=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/embeddings.parquet",
        weights=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/encoder.pt",
        record=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/run.json",
        curves=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/curves.csv",
    log:
        f"{RESULTS}/logs/refit_encoder/{{encoder_set}}/{{endpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/refit_encoder/{{encoder_set}}/{{endpoint}}.tsv"
    message:
        "Train the encoder of {wildcards.encoder_set} against {wildcards.endpoint} once more, on everybody."


use rule train_experiment as refit_experiment with:
    input:
        code=lambda wildcards: code("train_experiment", *implementations_of(wildcards)),
        tables=experiment_tables,
        embeddings=refitted("embeddings.parquet"),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.divide_everybody.output.folds,
        people=ancient(rules.select_cohort.output.subjects),
        recorded=[],
        data=ancient(rules.ingest.output.data),
        checked=checks_of_experiment,
    output:
        models=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/models.joblib",
        record=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/run.json",
        curves=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/curves.csv",
        trials=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/trials.csv",
    log:
        f"{RESULTS}/logs/refit_experiment/{{endpoint}}/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/refit_experiment/{{endpoint}}/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(STUDY.deployment.experiments),
    message:
        "Fit {wildcards.experiment} for {wildcards.endpoint} once more, on everybody."


rule deploy:
    input:
        [f"{RESULTS}/deployment/{endpoint}/{name}/models.joblib" for endpoint, name in STUDY.deployed()],
