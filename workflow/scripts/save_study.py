"""Save the study with all defaults filled in."""

from pathlib import Path

import yaml

from riskweave.files import write_text
from riskweave.jobs import job_log
from riskweave.study.study import Study

with job_log(Path(snakemake.log[0])):
    study = Study.model_validate(snakemake.params.study).model_dump(mode="json")
    text = yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
    write_text(text, Path(snakemake.output.study))
