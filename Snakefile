# riskweave: from raw clinical records to compared, tracked time-to-event models. This file is the table of contents.
#
# Paths spell the study, the rule's stage and its wildcards:
#   results/<study>/cohort/...                                   source tables, outcomes/<endpoint>, folds
#   results/<study>/features/<feature_set>[/<endpoint>]/...      feature tables and what encoders add per endpoint
#   results/<study>/experiments/<endpoint>/<experiment>/...      predictions, models, run records
#   results/<study>/evaluation/<endpoint>/...                    metrics, comparisons, figures
#   results/<study>/report/...                                   the study on one page, its tables and figures
#   results/<study>/bundle/<endpoint>/<experiment>/...           models that run anywhere (`snakemake deploy`)
from snakemake.utils import min_version

from riskweave.private import keep_private
from riskweave.repeatable import fix_hashes

min_version("9.25")

# What a run makes is about people: its files are the user's alone. Each job reads this file, wherever it runs.
keep_private()
fix_hashes()


# `--configfile` replaces the demo study instead of being merged into it.
if "study" not in config:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


# The image of `--sdm apptainer`, made from envs/Containerfile; unused without that option.
container: "riskweave.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/common_failures.smk"
include: "workflow/rules/common_explain.smk"
include: "workflow/rules/common_resources.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/cohort.smk"
include: "workflow/rules/ehr.smk"
include: "workflow/rules/modalities.smk"
include: "workflow/rules/leaks.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/encoders.smk"
include: "workflow/rules/survival.smk"
include: "workflow/rules/endpoints.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/tracking.smk"
include: "workflow/rules/study_report.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/common_deployment.smk"
include: "workflow/rules/deployment.smk"


rule all:
    default_target: True
    input:
        rules.cohort.input,
        rules.evaluate.input,
        rules.explain.input,
        rules.searches.input,
        rules.report.input,
        rules.track.input,


onstart:
    note_stops()


# A job that fails takes neither the records of finished ones with it nor their comparison.
onerror:
    end_failed_run()
