"""ECG recordings to signals and plain measurements.

REQUIRED INPUTS: cohort/subjects.parquet, cohort/source/recordings.parquet and the WFDB records that the manifest names.
OUTPUTS: features/<feature_set>/features.parquet (measurements, quality), signals.npy and index.parquet (encoder input).
"""


rule read_ecg:
    input:
        code=code("read_ecg"),
        subjects=rules.select_cohort.output.subjects,
        recordings=rules.ingest.output.recordings,
    output:
        features=update(f"{RESULTS}/features/{{ecg_set}}/features.parquet"),
        signals=update(f"{RESULTS}/features/{{ecg_set}}/signals.npy"),
        index=update(f"{RESULTS}/features/{{ecg_set}}/index.parquet"),
    log:
        f"{RESULTS}/logs/read_ecg/{{ecg_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/read_ecg/{{ecg_set}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    params:
        features=lambda wildcards: dump_reading(wildcards.ecg_set),
    message:
        "Read, check, resample and measure the ECG recordings of feature set {wildcards.ecg_set}."
    script:
        "../scripts/read_ecg.py"
