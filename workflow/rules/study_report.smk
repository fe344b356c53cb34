"""The study report: question, cohort, comparison, explanations, provenance and the TRIPOD+AI checklist on one page.

It reads tables, figures and run records, and neither models nor the MLflow store: only the table of the ids that the
store gave to the runs. When the store is made again, that table changes, and the page with it; no number on it does.

REQUIRED INPUTS: study.yaml, cohort/source/data.json, cohort/report/, cohort/leaks/findings.csv,
  evaluation/objectives.csv, evaluation/<endpoint>/, run.json of every encoder and experiment, tracking/runs.csv,
  searches, explanations.
OUTPUTS: report/index.html, and the tables (CSV) and figures (SVG) of the page in the same folder, those of an endpoint
  in a folder of its name.
"""


localrules:
    report,


rule report_study:
    input:
        code=code("report_study"),
        study=[rules.save_study.output.study, rules.judge_objectives.output.verdicts],
        cohort=[
            rules.ingest.output.data,
            rules.collect_findings.output.findings,
            rules.report_cohort.output.attrition,
            rules.report_cohort.output.flow,
            rules.report_cohort.output.table1,
            rules.report_cohort.output.curves,
            rules.report_cohort.output.availability,
            rules.report_cohort.output.tables,
        ],
        evaluation=evaluation_tables(),
        figures=expand(
            [
                rules.draw_evaluation.output.calibration,
                rules.draw_evaluation.output.calibration_curve,
                rules.draw_evaluation.output.decision_curve,
            ],
            endpoint=sorted(STUDY.endpoints),
        ),
        records=run_records(),
        ids=[rules.collect_runs.output.ids],
        searches=searches_drawn(),
        explanations=explained_for_report(),
    output:
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../report/study_report.rst",
            category="Answers",
            labels={"endpoint": "all", "result": "study report"},
        ),
        tripod=report(
            f"{RESULTS}/report/tripod.csv",
            caption="../report/tripod.rst",
            category="Answers",
            labels={"endpoint": "all", "result": "TRIPOD+AI checklist"},
        ),
        runs=report(
            f"{RESULTS}/report/runs.csv",
            caption="../report/runs.rst",
            category="Models",
            labels={"endpoint": "all", "experiment": "all", "result": "runs"},
        ),
        differences=study_figures("differences.svg", "differences"),
        subgroups=study_figures("subgroups.svg", "subgroups"),
        tables=study_tables(),
    log:
        f"{RESULTS}/logs/report_study.log",
    benchmark:
        f"{RESULTS}/benchmarks/report_study.tsv"
    conda:
        "../../envs/riskweave.yaml"
    params:
        missing=[asdict(one) for one in LEFT_OUT.experiments],
    message:
        "Report the study."
    script:
        "../scripts/report_study.py"


# The store too: where it was deleted, nothing else would ask for it, and the page would name runs that are gone.
rule report:
    input:
        rules.report_study.output,
        rules.init_tracking.output,
