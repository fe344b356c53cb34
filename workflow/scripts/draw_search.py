"""Draw what the search of hyper-parameters of an experiment did, and tell what each fold chose."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.jobs import job_log
from riskweave.study.models import Model
from riskweave.survival.search_figures import draw_search

with job_log(Path(snakemake.log[0])):
    draw_search(
        trials=Path(snakemake.input.trials),
        models=TypeAdapter(dict[str, Model]).validate_python(snakemake.params.models),
        importance=Path(snakemake.output.importance),
        slices=Path(snakemake.output.slices),
        chosen=Path(snakemake.output.chosen),
    )
