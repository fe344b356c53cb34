"""Draw the leaderboard and the calibration of an endpoint."""

from pathlib import Path

from riskweave.evaluation.figures import plot_calibration, plot_leaderboard
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    leaderboard = Path(snakemake.input.leaderboard)
    plot_leaderboard(leaderboard=leaderboard, output=Path(snakemake.output.leaderboard))
    plot_calibration(
        calibration=Path(snakemake.input.calibration),
        leaderboard=leaderboard,
        output=Path(snakemake.output.calibration),
    )
