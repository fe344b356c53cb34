"""Compare the experiments of an endpoint on the same subjects, from their prediction tables alone.

REQUIRED INPUTS: experiments/<endpoint>/*/predictions.parquet, cohort/outcomes/<endpoint>.parquet, cohort/folds.parquet.
OUTPUTS: evaluation/<endpoint>/{metrics,differences,calibration,leaderboard,folds,decision_curve,
  calibration_curve}.parquet, reclassification.parquet and recalibration.parquet where the study asks for them, leaderboard.csv,
  figures, and evaluation/objectives.csv: the verdict on each objective. cohort/groups.checked: the columns of subgroups
  were found usable.
"""


localrules:
    check_groups,


rule check_groups:
    input:
        code=code("check_groups"),
        subjects=rules.select_cohort.output.subjects,
    output:
        checked=touch(f"{RESULTS}/cohort/groups.checked"),
    log:
        f"{RESULTS}/logs/check_groups.log",
    # Training does not wait for it, or a new subgroup would train all again: it goes first as soon as there are
    # subjects. Before a first training check_inputs refuses missing columns too, since a run goes on after a failure.
    priority: 100
    conda:
        "../../envs/riskweave.yaml"
    params:
        subgroups=STUDY.evaluation.subgroups,
        age_bands=STUDY.evaluation.age_bands,
    message:
        "Check the columns of the subgroups."
    script:
        "../scripts/check_groups.py"


rule evaluate_endpoint:
    input:
        code=code("evaluate_endpoint"),
        groups=rules.check_groups.output.checked,
        predictions=lambda wildcards: predictions_of(wildcards.endpoint),
        subjects=rules.select_cohort.output.subjects,
        availability=list(availability_tables()),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
    output:
        **reclassification_table(),
        **recalibration_table(),
        metrics=f"{RESULTS}/evaluation/{{endpoint}}/metrics.parquet",
        differences=f"{RESULTS}/evaluation/{{endpoint}}/differences.parquet",
        calibration=f"{RESULTS}/evaluation/{{endpoint}}/calibration.parquet",
        leaderboard=f"{RESULTS}/evaluation/{{endpoint}}/leaderboard.parquet",
        fold_metrics=f"{RESULTS}/evaluation/{{endpoint}}/folds.parquet",
        decision_curve=f"{RESULTS}/evaluation/{{endpoint}}/decision_curve.parquet",
        calibration_curve=f"{RESULTS}/evaluation/{{endpoint}}/calibration_curve.parquet",
        leaderboard_csv=report(
            f"{RESULTS}/evaluation/{{endpoint}}/leaderboard.csv",
            caption="../report/leaderboard.rst",
            category="Answers",
            labels={"endpoint": "{endpoint}", "result": "leaderboard, table"},
        ),
    log:
        f"{RESULTS}/logs/evaluate_endpoint/{{endpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_endpoint/{{endpoint}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    params:
        endpoint=lambda wildcards: dump(STUDY.endpoints[wildcards.endpoint]),
        evaluation=dump_evaluation(),
        modalities=list(availability_tables().values()),
        missing=lambda wildcards: LEFT_OUT.reasons(wildcards.endpoint),
    message:
        "Evaluate and compare all experiments for {wildcards.endpoint}."
    script:
        "../scripts/evaluate_endpoint.py"


rule draw_evaluation:
    input:
        code=code("draw_evaluation"),
        leaderboard=rules.evaluate_endpoint.output.leaderboard,
        calibration=rules.evaluate_endpoint.output.calibration,
        decision_curve=rules.evaluate_endpoint.output.decision_curve,
        calibration_curve=rules.evaluate_endpoint.output.calibration_curve,
    output:
        leaderboard=report(
            f"{RESULTS}/evaluation/{{endpoint}}/leaderboard.svg",
            caption="../report/leaderboard.rst",
            category="Answers",
            labels={"endpoint": "{endpoint}", "result": "leaderboard, figure"},
        ),
        calibration=report(
            f"{RESULTS}/evaluation/{{endpoint}}/calibration.svg",
            caption="../report/calibration.rst",
            category="Answers",
            labels={"endpoint": "{endpoint}", "result": "calibration"},
        ),
        calibration_curve=report(
            f"{RESULTS}/evaluation/{{endpoint}}/calibration_curve.svg",
            caption="../report/calibration_curve.rst",
            category="Answers",
            labels={"endpoint": "{endpoint}", "result": "calibration, smooth"},
        ),
        decision_curve=report(
            f"{RESULTS}/evaluation/{{endpoint}}/decision_curve.svg",
            caption="../report/decision_curve.rst",
            category="Answers",
            labels={"endpoint": "{endpoint}", "result": "decision curves"},
        ),
    log:
        f"{RESULTS}/logs/draw_evaluation/{{endpoint}}.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        missing=lambda wildcards: sorted(LEFT_OUT.reasons(wildcards.endpoint)),
    message:
        "Draw leaderboard, calibration and decision curves for {wildcards.endpoint}."
    script:
        "../scripts/draw_evaluation.py"


rule judge_objectives:
    input:
        code=code("judge_objectives"),
        predictions=[prediction_table(endpoint, name) for endpoint, name in judged()],
        subjects=rules.select_cohort.output.subjects,
        outcomes=expand(rules.define_outcomes.output.outcomes, endpoint=sorted(STUDY.endpoints)),
    output:
        verdicts=report(
            f"{RESULTS}/evaluation/objectives.csv",
            caption="../report/objectives.rst",
            category="Answers",
            labels={"endpoint": "all", "result": "objectives"},
        ),
    log:
        f"{RESULTS}/logs/judge_objectives.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        objectives={name: dump(STUDY.objectives[name]) for name in sorted(STUDY.objectives)},
        endpoints={name: dump(STUDY.endpoints[name]) for name in sorted(STUDY.endpoints)},
        judged=judged(),
        evaluation=dump_evaluation(),
    message:
        "Judge the study's objectives."
    script:
        "../scripts/judge_objectives.py"


rule evaluate:
    input:
        rules.save_study.output,
        rules.judge_objectives.output,
        expand(rules.draw_evaluation.output, endpoint=sorted(STUDY.endpoints)),
        expand(rules.define_outcomes.output.attrition, endpoint=sorted(STUDY.endpoints)),
