"""Leak gates: what would let a model see what it is to predict, looked for before any training.

REQUIRED INPUTS: cohort/subjects.parquet, cohort/source/{recordings,images,sounds}.parquet, cohort/outcomes/<endpoint>.parquet,
  cohort/folds.parquet, features/<feature_set>/features.parquet, and index.parquet of those with an encoder.
OUTPUTS: cohort/leaks/<endpoint>/<feature_set>.csv, and all of them with what the study allows in
  cohort/leaks/findings.csv. check_inputs refuses what the study does not allow.
"""


localrules:
    collect_findings,


rule find_leaks:
    input:
        code=code("find_leaks"),
        subjects=rules.select_cohort.output.subjects,
        attrition=rules.select_cohort.output.attrition,
        recordings=rules.ingest.output.recordings,
        images=rules.ingest.output.images,
        sounds=rules.ingest.output.sounds,
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        table=f"{RESULTS}/features/{{used_set}}/features.parquet",
        index=index_if_encoded,
    output:
        findings=f"{RESULTS}/cohort/leaks/{{endpoint}}/{{used_set}}.csv",
    log:
        f"{RESULTS}/logs/find_leaks/{{endpoint}}/{{used_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/find_leaks/{{endpoint}}/{{used_set}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        mem_mb=3000,
    params:
        endpoint=lambda wildcards: dump(STUDY.endpoints[wildcards.endpoint]),
        features=lambda wildcards: dump_for_gates(wildcards.used_set),
        population=dump(STUDY.population),
        division=dump(STUDY.folds),
    message:
        "Look for leaks of {wildcards.endpoint} into {wildcards.used_set}, cohort and folds."
    script:
        "../scripts/find_leaks.py"


rule collect_findings:
    input:
        code=code("collect_findings"),
        findings=[f"{RESULTS}/cohort/leaks/{endpoint}/{name}.csv" for endpoint, name in gated_pairs()],
    output:
        findings=report(
            f"{RESULTS}/cohort/leaks/findings.csv",
            caption="../report/leaks.rst",
            category="Cohort",
            labels={"table": "leak gates"},
        ),
    log:
        f"{RESULTS}/logs/collect_findings.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        allow=[dump(entry) for entry in STUDY.allow],
    message:
        "Collect what the leak gates found."
    script:
        "../scripts/collect_findings.py"
