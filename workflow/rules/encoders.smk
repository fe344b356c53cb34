"""Encoders: networks from raw recordings, notes and events to embeddings, trained in each fold.

REQUIRED INPUTS: features/<feature_set>/{inputs.npy,index.parquet}, cohort/subjects.parquet, cohort/folds.parquet,
  cohort/outcomes/<endpoint>.parquet, cohort/checks/<endpoint>/<feature_set>.
OUTPUTS: features/<feature_set>/<endpoint>/{embeddings.parquet,encoder.zip}; with pretraining
  features/<feature_set>/pretrained.zip, once for all endpoints; of each training a run record (run.json) with its curves
  (curves.csv).
"""


rule pretrain_encoder:
    input:
        code=lambda wildcards: code("pretrain_encoder", *encoder_code(wildcards.pretrained_set)),
        inputs=f"{RESULTS}/features/{{pretrained_set}}/inputs.npy",
        index=f"{RESULTS}/features/{{pretrained_set}}/index.parquet",
        folds=rules.assign_folds.output.folds,
        data=ancient(rules.ingest.output.data),
        checked=check_of_pretraining,
    output:
        weights=f"{RESULTS}/features/{{pretrained_set}}/pretrained.zip",
        record=f"{RESULTS}/features/{{pretrained_set}}/pre-training/run.json",
        curves=f"{RESULTS}/features/{{pretrained_set}}/pre-training/curves.csv",
    log:
        f"{RESULTS}/logs/pretrain_encoder/{{pretrained_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pretrain_encoder/{{pretrained_set}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        gpu=1,
        mem_mb=memory_of_encoder,
        runtime=runtime_of_pretraining,
    params:
        study=STUDY.study,
        features=lambda wildcards: dump_pretraining(wildcards.pretrained_set),
        weights=lambda wildcards: weights_fingerprint(wildcards.pretrained_set),
        seed=STUDY.seed,
        earlier=earlier_of,
    message:
        "Train the network of {wildcards.pretrained_set} without labels, on the training rows of each fold."
    script:
        "../scripts/pretrain_encoder.py"


rule train_encoder:
    input:
        unpack(encoder_input),
        code=lambda wildcards: code("train_encoder", *encoder_code(wildcards.encoder_set)),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        # Whose index time each subject is: known with the folds, which are divided by it.
        subjects=ancient(rules.select_cohort.output.subjects),
        data=ancient(rules.ingest.output.data),
        checked=f"{RESULTS}/cohort/checks/{{endpoint}}/{{encoder_set}}",
    output:
        embeddings=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/embeddings.parquet",
        weights=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/encoder.zip",
        record=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/run.json",
        curves=f"{RESULTS}/features/{{encoder_set}}/{{endpoint}}/curves.csv",
    log:
        f"{RESULTS}/logs/train_encoder/{{encoder_set}}/{{endpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_encoder/{{encoder_set}}/{{endpoint}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        gpu=1,
        mem_mb=memory_of_encoder,
        runtime=runtime_of_encoder,
    params:
        study=STUDY.study,
        features=lambda wildcards: dump(STUDY.feature_sets[wildcards.encoder_set]),
        weights=lambda wildcards: weights_fingerprint(wildcards.encoder_set),
        seed=STUDY.seed,
        earlier=earlier_of,
    message:
        "Train the encoder of {wildcards.encoder_set} against {wildcards.endpoint}, on the training rows of each fold."
    script:
        "../scripts/train_encoder.py"
