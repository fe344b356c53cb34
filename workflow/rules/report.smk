"""The cohort report: who is in the study, in numbers that tell on nobody. Made before any training.

REQUIRED INPUTS: cohort/subjects.parquet, cohort/source/data.json, cohort/{outcomes,attrition}/<endpoint>.*,
  features/<feature_set>/features.parquet, cohort/leaks/findings.csv. Not cohort/checks: what the gates refuse is shown.
OUTPUTS: cohort/report/cohort.html, and its tables (CSV) and figures (SVG) in the same folder, those of an endpoint in
  a folder of its name.
"""


localrules:
    cohort,


rule report_cohort:
    input:
        code=code("report_cohort"),
        subjects=rules.select_cohort.output.subjects,
        data=rules.ingest.output.data,
        outcomes=expand(rules.define_outcomes.output.outcomes, endpoint=sorted(STUDY.endpoints)),
        attrition=expand(rules.define_outcomes.output.attrition, endpoint=sorted(STUDY.endpoints)),
        features=[feature_table(name) for name in used_sets_by_modality()],
        findings=rules.collect_findings.output.findings,
    output:
        page=report(
            f"{RESULTS}/cohort/report/cohort.html",
            caption="../report/cohort.rst",
            category="Cohort",
            labels={"result": "cohort report"},
        ),
        attrition=cohort_figures("attrition.csv", "attrition"),
        flow=cohort_figures("flow.svg", "flow"),
        table1=cohort_figures("table1.csv", "table1"),
        curves=cohort_figures("curves.svg", "curves"),
        missingness=report(
            f"{RESULTS}/cohort/report/missingness.svg",
            caption="../report/missingness.rst",
            category="Cohort",
            labels={"result": "missingness"},
        ),
        availability=report(
            f"{RESULTS}/cohort/report/availability.svg",
            caption="../report/availability.rst",
            category="Cohort",
            labels={"result": "availability"},
        ),
        tables=[
            *expand(
                f"{RESULTS}/cohort/report/{{endpoint}}/{{table}}.csv",
                endpoint=sorted(STUDY.endpoints),
                table=["outcomes", "follow_up", "curves"],
            ),
            *expand(f"{RESULTS}/cohort/report/{{table}}.csv", table=["missingness", "availability", "data"]),
        ],
    log:
        f"{RESULTS}/logs/report_cohort.log",
    benchmark:
        f"{RESULTS}/benchmarks/report_cohort.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        mem_mb=2000,
    params:
        study=STUDY.study,
        question=STUDY.question,
        endpoints={name: dump(STUDY.endpoints[name]) for name in sorted(STUDY.endpoints)},
        main=STUDY.stratify(),
        modalities=used_sets_by_modality(),
        report=dump(STUDY.report),
        columns=list(dict.fromkeys(STUDY.subject_columns().values())),
    message:
        "Report the cohort."
    script:
        "../scripts/report_cohort.py"


rule cohort:
    input:
        rules.save_study.output,
        rules.report_cohort.output,
