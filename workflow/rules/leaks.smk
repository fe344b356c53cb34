"""Leak gates: what would let a model see what it is to predict, looked for before any training.

REQUIRED INPUTS: cohort/subjects.parquet, cohort/source/{recordings,images}.parquet, cohort/outcomes/<endpoint>.parquet,
  cohort/folds.parquet, features/<feature_set>/features.parquet, and index.parquet of those with an encoder.
OUTPUTS: cohort/leaks/findings.csv. check_inputs refuses what the study does not allow.
"""


rule find_leaks:
    input:
        code=code("find_leaks"),
        subjects=rules.select_cohort.output.subjects,
        attrition=rules.select_cohort.output.attrition,
        recordings=rules.ingest.output.recordings,
        images=rules.ingest.output.images,
        outcomes=expand(rules.define_outcomes.output.outcomes, endpoint=sorted(STUDY.endpoints)),
        folds=rules.assign_folds.output.folds,
        tables=[feature_table(name) for name in sorted(used_sets())],
        indices=[f"{RESULTS}/features/{name}/index.parquet" for name in sorted(STUDY.encoders())],
    output:
        findings=report(
            f"{RESULTS}/cohort/leaks/findings.csv",
            caption="../report/leaks.rst",
            category="Cohort",
            labels={"table": "leak gates"},
        ),
    log:
        f"{RESULTS}/logs/find_leaks.log",
    benchmark:
        f"{RESULTS}/benchmarks/find_leaks.tsv"
    conda:
        "../../envs/riskweave.yaml"
    params:
        endpoints=ordered({name: dump(block) for name, block in STUDY.endpoints.items()}),
        features={name: dump_for_gates(name) for name in sorted(used_sets())},
        used={
            endpoint: sorted({name for e in STUDY.of_endpoint(endpoint) for name in e.feature_sets})
            for endpoint in sorted(STUDY.endpoints)
        },
        encoders=sorted(STUDY.encoders()),
        population=dump(STUDY.population),
        division=dump(STUDY.folds),
        allow=[dump(entry) for entry in STUDY.allow],
    message:
        "Look for leaks in cohort, features and folds."
    script:
        "../scripts/find_leaks.py"
