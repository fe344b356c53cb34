"""Check the columns that subgroups and age bands are made of."""

from pathlib import Path

from riskweave.evaluation.groups import check_groups
from riskweave.jobs import job_log
from riskweave.study.evaluation import Evaluation

with job_log(Path(snakemake.log[0])):
    named = {"subgroups": snakemake.params.subgroups, "age_bands": snakemake.params.age_bands}
    # the columns do not depend on what is compared with what
    check_groups(
        subjects=Path(snakemake.input.subjects), evaluation=Evaluation.model_validate({"reference": "any", **named})
    )
