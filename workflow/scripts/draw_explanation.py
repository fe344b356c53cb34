"""Draw importance and effect curves of an explained experiment."""

from pathlib import Path

from riskweave.explain.figures import draw_effects, draw_importance
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    importance = Path(snakemake.input.importance)
    draw_importance(
        importance=importance,
        output=Path(snakemake.output.importance),
        csv=Path(snakemake.output.importance_csv),
    )
    draw_effects(
        effects=Path(snakemake.input.effects),
        importance=importance,
        output=Path(snakemake.output.effects),
        csv=Path(snakemake.output.effects_csv),
    )
