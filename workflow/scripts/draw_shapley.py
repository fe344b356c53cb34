"""Draw what each feature set adds to the concordance of an endpoint's experiments."""

from pathlib import Path

from riskweave.explain.figures import draw_shapley
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    draw_shapley(
        shapley=Path(snakemake.input.shapley),
        output=Path(snakemake.output.shapley),
        csv=Path(snakemake.output.shapley_csv),
    )
