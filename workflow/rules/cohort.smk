"""From raw data to who is in the study, what happened to them, and how they are divided.

REQUIRED INPUTS: the raw files that the study's cohort block names (none for the sources synthetic and nafld).
OUTPUTS: cohort/source/*.parquet (canonical tables), cohort/subjects.parquet (who is in the study) with
  cohort/attrition.csv, cohort/outcomes/<endpoint>.parquet, cohort/attrition/<endpoint>.csv, cohort/folds.parquet, and
  cohort/checks/<endpoint>/<feature_set>: what training will read of both was found usable. Training waits for its own;
  it depends on nothing that the training does not.

Outputs of rules that read raw data are marked `update`: when new data cannot be used, the tables made before stay.
"""

SOURCE = f"{RESULTS}/cohort/source"


localrules:
    check_inputs,


rule synthesise_cohort:
    input:
        code=code("synthesise_cohort"),
    output:
        directory=directory(f"{RESULTS}/cohort/synthetic"),
        fingerprint=f"{RESULTS}/cohort/synthetic.sha256",
    log:
        f"{RESULTS}/logs/synthesise_cohort.log",
    benchmark:
        f"{RESULTS}/benchmarks/synthesise_cohort.tsv"
    conda:
        "../../envs/riskweave.yaml"
    params:
        cohort=dump(STUDY.cohort),
        cache=str(FINGERPRINTS),
    message:
        f"Generate the demo cohort with a planted truth: {kinds_generated()}."
    script:
        "../scripts/synthesise_cohort.py"


rule ingest:
    input:
        code=code("ingest", f"riskweave.cohort.sources.{STUDY.cohort.source}"),
        synthetic=ancient(generated("directory")),
        fingerprint=generated("fingerprint"),
        raw=ancient([str(files[0]) for files in RAW.values() if files]),
    output:
        subjects=update(f"{SOURCE}/subjects.parquet"),
        events=update(f"{SOURCE}/events.parquet"),
        recordings=update(f"{SOURCE}/recordings.parquet"),
        images=update(f"{SOURCE}/images.parquet"),
        sounds=update(f"{SOURCE}/sounds.parquet"),
        data=update(f"{SOURCE}/data.json"),
    log:
        f"{RESULTS}/logs/ingest.log",
    benchmark:
        f"{RESULTS}/benchmarks/ingest.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    resources:
        mem_mb=4000,
    params:
        cohort=dump(STUDY.cohort),
        raw=raw_fingerprints(),
    message:
        "Read and check the source tables."
    script:
        "../scripts/ingest.py"


rule select_cohort:
    input:
        code=code("select_cohort"),
        subjects=rules.ingest.output.subjects,
        events=rules.ingest.output.events,
    output:
        subjects=update(f"{RESULTS}/cohort/subjects.parquet"),
        attrition=update(f"{RESULTS}/cohort/attrition.csv"),
    log:
        f"{RESULTS}/logs/select_cohort.log",
    benchmark:
        f"{RESULTS}/benchmarks/select_cohort.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    resources:
        mem_mb=4000,
    params:
        population=dump(STUDY.population),
    message:
        "Select the subjects of the study and count who is left out."
    script:
        "../scripts/select_cohort.py"


rule define_outcomes:
    input:
        code=code("define_outcomes"),
        subjects=rules.select_cohort.output.subjects,
        events=rules.ingest.output.events,
        selected=rules.select_cohort.output.attrition,
    output:
        outcomes=update(f"{RESULTS}/cohort/outcomes/{{endpoint}}.parquet"),
        attrition=update(f"{RESULTS}/cohort/attrition/{{endpoint}}.csv"),
    log:
        f"{RESULTS}/logs/define_outcomes/{{endpoint}}.log",
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    resources:
        mem_mb=4000,
    params:
        endpoint=lambda wildcards: dump(STUDY.endpoints[wildcards.endpoint]),
    message:
        "Define outcome {wildcards.endpoint} and count who is left out."
    script:
        "../scripts/define_outcomes.py"


rule assign_folds:
    input:
        code=code("assign_folds"),
        subjects=rules.select_cohort.output.subjects,
        outcomes=f"{RESULTS}/cohort/outcomes/{STUDY.stratify()}.parquet",
    output:
        folds=update(f"{RESULTS}/cohort/folds.parquet"),
    log:
        f"{RESULTS}/logs/assign_folds.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        folds=dump(STUDY.folds),
    message:
        "Divide the subjects into folds."
    script:
        "../scripts/assign_folds.py"


rule check_inputs:
    input:
        code=code("check_inputs"),
        subjects=rules.select_cohort.output.subjects,
        folds=rules.assign_folds.output.folds,
        outcomes=rules.define_outcomes.output.outcomes,
        table=f"{RESULTS}/features/{{used_set}}/features.parquet",
        index=index_if_encoded,
        findings=f"{RESULTS}/cohort/leaks/{{endpoint}}/{{used_set}}.csv",
    output:
        checked=touch(f"{RESULTS}/cohort/checks/{{endpoint}}/{{used_set}}"),
    log:
        f"{RESULTS}/logs/check_inputs/{{endpoint}}/{{used_set}}.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        columns=lambda wildcards: columns_of_set(wildcards.used_set),
        allow=allowed_for,
    message:
        "Check what training for {wildcards.endpoint} will read of {wildcards.used_set}."
    script:
        "../scripts/check_inputs.py"
