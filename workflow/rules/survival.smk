"""Encoders and experiments: one job trains all folds of one.

REQUIRED INPUTS: cohort/outcomes/<endpoint>.parquet, cohort/folds.parquet, features/<feature_set>/*.
OUTPUTS: features/<feature_set>/<endpoint>/{embeddings.parquet,encoder.pt}, experiments/<endpoint>/<experiment>/
  {predictions.parquet,models.joblib}, and of each training a run record (run.json) with its curves (curves.csv).
"""

ESTIMATORS = {
    "cox": "riskweave.survival.cox",
    "random_survival_forest": "riskweave.survival.forest",
    "logistic_hazard": "riskweave.survival.logistic_hazard",
}
NETWORKS = {"ecg": "riskweave.networks.tcn", "image": "riskweave.networks.cnn"}
ARRAYS = {"ecg": "signals.npy", "image": "pixels.npy"}


def encoder_input(wildcards):
    """Return the arrays that an encoder reads."""
    modality = STUDY.feature_sets[wildcards.encoder_set].modality
    folder = f"{RESULTS}/features/{wildcards.encoder_set}"
    return {
        "arrays": f"{folder}/{ARRAYS[modality]}",
        "index": f"{folder}/index.parquet",
    }


def experiment_tables(wildcards):
    """Return the feature tables of an experiment."""
    return [feature_table(name) for name in experiment_of(wildcards).feature_sets]


def experiment_embeddings(wildcards):
    """Return the embeddings of those feature sets of an experiment that have an encoder."""
    return [
        f"{RESULTS}/features/{name}/{wildcards.endpoint}/embeddings.parquet"
        for name in experiment_of(wildcards).feature_sets
        if name in STUDY.encoders()
    ]


def weights_fingerprint(name):
    """Return a digest of the weights file that an encoder starts from."""
    weights = getattr(STUDY.feature_sets[name].encoder, "weights", "none")
    return weights if weights == "none" else fingerprint([Path(weights)], FINGERPRINTS)


def experiment_of(wildcards):
    """Return the experiment that the wildcards name."""
    return STUDY.experiment(wildcards.endpoint, wildcards.experiment)


rule train_encoder:
    input:
        unpack(encoder_input),
        code=lambda wildcards: code(
            "train_encoder",
            NETWORKS[STUDY.feature_sets[wildcards.encoder_set].modality],
        ),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        data=ancient(rules.ingest.output.data),
        checked=ancient(rules.check_inputs.output[0]),
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
        code=lambda wildcards: code(
            "train_experiment",
            ESTIMATORS[STUDY.models[experiment_of(wildcards).model].kind],
        ),
        tables=experiment_tables,
        embeddings=experiment_embeddings,
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        data=ancient(rules.ingest.output.data),
        checked=ancient(rules.check_inputs.output[0]),
    output:
        predictions=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/predictions.parquet",
        models=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/models.joblib",
        record=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/run.json",
        curves=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/curves.csv",
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
        encoders=lambda wildcards: [
            s for s in experiment_of(wildcards).feature_sets if s in STUDY.encoders()
        ],
        times=lambda wildcards: STUDY.endpoints[wildcards.endpoint].time_grid(),
        seed=STUDY.seed,
    message:
        "Train {wildcards.experiment} for {wildcards.endpoint} and predict its test folds."
    script:
        "../scripts/train_experiment.py"
