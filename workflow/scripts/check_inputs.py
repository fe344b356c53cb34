"""Check what training will read of an endpoint, a feature set and the folds, and what the leak gates found."""

from pathlib import Path

from riskweave.cohort.checks import check_columns
from riskweave.jobs import job_log
from riskweave.leaks.allowed import check_findings
from riskweave.study.cohort import Allowed
from riskweave.survival.roles import check_training

with job_log(Path(snakemake.log[0])):
    endpoint, name = snakemake.wildcards.endpoint, snakemake.wildcards.used_set
    index = snakemake.input.get("index")
    # from the configuration and not from params: a new subgroup is no reason to check, and train, again
    evaluation = snakemake.config["evaluation"]
    groups = {f"evaluation.subgroups[{place}]": name for place, name in enumerate(evaluation.get("subgroups") or [])}
    groups |= {"evaluation.age_bands": "age"} if evaluation.get("age_bands") else {}
    check_columns(subjects=Path(snakemake.input.subjects), study_columns={**snakemake.params.columns, **groups})
    check_training(
        outcomes={endpoint: Path(snakemake.input.outcomes)},
        folds=Path(snakemake.input.folds),
        encoders=[(name, endpoint)] if index else [],
        present={name: Path(index)} if index else {},
    )
    check_findings(Path(snakemake.input.findings), [Allowed.model_validate(entry) for entry in snakemake.params.allow])
