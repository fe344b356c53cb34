"""Draw the leaderboard and the calibration of an endpoint."""

from pathlib import Path

from riskweave.evaluation.figures import draw_calibration, draw_leaderboard
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    draw_leaderboard(leaderboard=Path(snakemake.input.leaderboard), output=Path(snakemake.output.leaderboard))
    draw_calibration(calibration=Path(snakemake.input.calibration), output=Path(snakemake.output.calibration))
