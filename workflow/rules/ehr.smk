"""EHR events and static columns to feature tables.

REQUIRED INPUTS: cohort/subjects.parquet, cohort/source/events.parquet.
OUTPUTS: features/<feature_set>/features.parquet.
"""


rule aggregate_events:
    input:
        code=code("aggregate_events"),
        subjects=rules.select_cohort.output.subjects,
        events=rules.ingest.output.events,
    output:
        features=update(f"{RESULTS}/features/{{ehr_set}}/features.parquet"),
    log:
        f"{RESULTS}/logs/aggregate_events/{{ehr_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/aggregate_events/{{ehr_set}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    resources:
        mem_mb=3000,
    params:
        features=lambda wildcards: dump(STUDY.feature_sets[wildcards.ehr_set]),
    message:
        "Aggregate events of feature set {wildcards.ehr_set}."
    script:
        "../scripts/aggregate_events.py"
