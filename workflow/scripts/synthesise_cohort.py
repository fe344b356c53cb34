"""Generate the demo cohort, and a fingerprint of its files."""

from pathlib import Path

from riskweave.files import write_text
from riskweave.jobs import job_log
from riskweave.study.raw import fingerprint
from riskweave.study.sources import SyntheticSource
from riskweave.synthetic.generate import generate

with job_log(Path(snakemake.log[0])):
    directory = Path(snakemake.output.directory)
    generate(directory=directory, source=SyntheticSource.model_validate(snakemake.params.cohort))
    files = [path for path in directory.rglob("*") if path.is_file()]
    write_text(fingerprint(files, Path(snakemake.params.cache)) + "\n", Path(snakemake.output.fingerprint))
