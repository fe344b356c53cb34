"""Compare the names under `deployment.inputs` with what the deployed experiments can ask for."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.deployment.deploy import write_json
from riskweave.deployment.told import check_told
from riskweave.jobs import job_log
from riskweave.study.ehr import EhrFeatures

with job_log(Path(snakemake.log[0])):
    sets = TypeAdapter(dict[str, EhrFeatures]).validate_python(snakemake.params.sets)
    tables = dict(zip(sets, map(Path, snakemake.input.tables), strict=True))
    write_json(check_told(snakemake.params.names, sets, tables), Path(snakemake.output.known))
