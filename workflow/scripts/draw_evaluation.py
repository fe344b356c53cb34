"""Draw the leaderboard, the calibration and the decision curves of an endpoint."""

from pathlib import Path

from riskweave.evaluation.curve_figures import plot_decision_curves, plot_smooth_calibration
from riskweave.evaluation.figures import plot_calibration, plot_leaderboard
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    leaderboard = Path(snakemake.input.leaderboard)
    plot_leaderboard(
        leaderboard=leaderboard, output=Path(snakemake.output.leaderboard), missing=snakemake.params.missing
    )
    plot_calibration(
        calibration=Path(snakemake.input.calibration),
        leaderboard=leaderboard,
        output=Path(snakemake.output.calibration),
    )
    plot_smooth_calibration(
        calibration_curve=Path(snakemake.input.calibration_curve),
        leaderboard=leaderboard,
        output=Path(snakemake.output.calibration_curve),
    )
    plot_decision_curves(
        decision_curve=Path(snakemake.input.decision_curve),
        leaderboard=leaderboard,
        output=Path(snakemake.output.decision_curve),
    )
