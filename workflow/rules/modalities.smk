"""Recordings, images, sounds, notes and single events to plain measurements and the inputs of encoders.

REQUIRED INPUTS: cohort/subjects.parquet, and the table of the source that holds the modality's raw data:
  cohort/source/{recordings,images,sounds}.parquet with the files that they name, or events.parquet.
OUTPUTS: features/<feature_set>/features.parquet (measurements), inputs.npy and index.parquet (encoder input).
"""


rule read_modality:
    input:
        code=lambda wildcards: code("read_modality", PARTS[modality_of(wildcards.input_set)].reading),
        subjects=rules.select_cohort.output.subjects,
        raw=lambda wildcards: getattr(rules.ingest.output, STUDY.feature_sets[wildcards.input_set].raw),
    output:
        features=update(f"{RESULTS}/features/{{input_set}}/features.parquet"),
        inputs=update(f"{RESULTS}/features/{{input_set}}/inputs.npy"),
        index=update(f"{RESULTS}/features/{{input_set}}/index.parquet"),
    log:
        f"{RESULTS}/logs/read_modality/{{input_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/read_modality/{{input_set}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    resources:
        mem_mb=3000,
    params:
        features=lambda wildcards: dump_reading(wildcards.input_set),
    message:
        "Read, check and measure the raw data of feature set {wildcards.input_set}."
    script:
        "../scripts/read_modality.py"
