"""Save the study with all defaults filled in."""

from pathlib import Path

import yaml

from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    Path(snakemake.output.study).write_text(
        yaml.safe_dump(snakemake.params.study, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
