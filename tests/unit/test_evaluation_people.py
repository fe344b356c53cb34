"""Several index times of a person: intervals are those of people, not of rows."""

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.tables import OUTCOMES, SUBJECTS, write_table
from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.calibration_scores import CALIBRATION_METRICS
from riskweave.evaluation.evaluate import evaluate_endpoint
from riskweave.evaluation.inputs import read_comparison
from riskweave.evaluation.objectives import judge
from riskweave.evaluation.scores import POINT_METRICS, make_panel, score, score_columns
from riskweave.study.cohort import ColumnsEndpoint
from riskweave.study.evaluation import Evaluation, Objective
from riskweave.survival.predictions import prediction_frame, write_predictions

PEOPLE = 120
ENDPOINT = ColumnsEndpoint(kind="columns", time="time", event="event", horizons=[360], grid_points=6)
EVALUATION = Evaluation(reference="weak.cox", bootstrap=80, seed=3)
NAMES = ("weak.cox", "strong.cox")
MADE = ("metrics", "differences", "calibration", "leaderboard", "fold_metrics", "decision_curve", "calibration_curve")


def with_competing(risks):
    """Risks of the target (n, times) and of a competing event beside them: (n, 2, times)."""
    other = 0.5 * (1 - risks[:, -1:]) * np.arange(1, risks.shape[1] + 1) / risks.shape[1]
    return np.stack([risks, other], axis=1)


def write_study(folder, times):
    """Write a study of which every person has the same row `times` times."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    signal, noise = rng.normal(size=(2, PEOPLE))
    time = np.ceil(np.minimum(rng.exponential(400 * np.exp(-signal)), rng.uniform(100, 800, PEOPLE)))
    event = rng.choice([0, 1, 2], PEOPLE, p=[0.3, 0.5, 0.2])
    person = np.repeat([f"{i:04d}" for i in range(PEOPLE)], times)
    number = np.tile(np.arange(1, times + 1), PEOPLE).astype(str)
    ids = person if times == 1 else np.char.add(np.char.add(person, "@"), number)
    frame = {"subject_id": ids, "person_id": person, "index_time": pd.Timestamp(0), "followup_end": pd.NaT}
    write_table(pd.DataFrame(frame), folder / "subjects.parquet", SUBJECTS)
    outcomes = {"subject_id": ids, "endpoint": "mace", "time": np.repeat(time, times), "event": np.repeat(event, times)}
    write_table(pd.DataFrame(outcomes), folder / "outcomes.parquet", OUTCOMES)
    for name, values in zip(NAMES, (0.3 * signal + noise, signal), strict=True):
        risks = 1 - np.exp(-np.exp(np.repeat(values, times))[:, None] * np.array(ENDPOINT.time_grid()) / 500)
        predicted = prediction_frame(
            subjects=pd.Index(ids),
            experiment=name,
            endpoint="mace",
            fold=0,
            modalities=["ehr"] * len(ids),
            linear_predictor=None,
            risks=with_competing(risks),
            times=ENDPOINT.time_grid(),
        )
        write_predictions(predicted, folder / f"{name}.parquet")
    few = np.repeat(np.arange(PEOPLE) < 8, times)
    pd.DataFrame({"subject_id": ids}).to_parquet(folder / "ehr.parquet")
    pd.DataFrame({"subject_id": ids[few]}).to_parquet(folder / "ecg.parquet")
    return folder


def evaluate(folder):
    evaluate_endpoint(
        predictions=[folder / f"{name}.parquet" for name in NAMES],
        subjects=folder / "subjects.parquet",
        availability={"ehr": [folder / "ehr.parquet"], "ecg": [folder / "ecg.parquet"]},
        endpoint_name="mace",
        endpoint=ENDPOINT,
        outcomes=folder / "outcomes.parquet",
        reference="weak.cox",
        evaluation=EVALUATION,
        leaderboard_csv=folder / "board.csv",
        **{key: folder / f"{key}_made.parquet" for key in MADE},
    )
    return pd.read_parquet(folder / "metrics_made.parquet"), pd.read_parquet(folder / "calibration_made.parquet")


def test_repeating_each_person_changes_no_estimate_and_no_interval(tmp_path):
    (once, calibration), (thrice, repeated) = (evaluate(write_study(tmp_path / f"of_{k}", k)) for k in (1, 3))
    numbers = ["estimate", "lower", "upper"]
    everyone = (once["group"] == "all") & ~once["metric"].isin(POINT_METRICS)
    # a pseudo-observation leaves out a row, and tied events share a risk set: not quite the same of copies
    fitted = once["metric"].isin(CALIBRATION_METRICS)
    exact = everyone & ~fitted
    np.testing.assert_allclose(thrice.loc[exact, numbers], once.loc[exact, numbers], rtol=1e-9)
    near = everyone & fitted
    np.testing.assert_allclose(thrice.loc[near, numbers], once.loc[near, numbers], atol=0.01)
    assert once.loc[everyone, numbers].notna().all(axis=None)
    assert (thrice.loc[everyone, "n"] == 3 * PEOPLE).all()
    columns = ["risk_group", "expected", "observed", "lower", "upper"]
    np.testing.assert_allclose(repeated[columns], calibration[columns], rtol=1e-9)


def test_a_group_of_few_people_is_not_shown_however_many_rows_they_have(tmp_path):
    metrics, _ = evaluate(write_study(tmp_path / "study", 3))
    few = metrics[metrics["group_value"] == "ehr+ecg"]
    assert len(few)
    assert few[["n", "estimate", "lower"]].isna().all(axis=None)


def test_drawing_rows_would_make_the_interval_too_narrow(tmp_path):
    folder = write_study(tmp_path / "study", 4)
    comparison = read_comparison(
        predictions=[folder / "strong.cox.parquet"],
        outcomes=folder / "outcomes.parquet",
        subjects=folder / "subjects.parquet",
        name="mace",
        endpoint=ENDPOINT,
    )
    panel = make_panel(comparison)
    column = score_columns(comparison.horizons).index(("harrell_c", 360))
    widths = []
    for people in (comparison.people, np.arange(4 * PEOPLE)):
        rows = np.concatenate(list(resamples(people=people, count=300, seed=1)))
        lower, upper = percentile_interval(score(panel, rows)[:, 0, column], 0.95)
        widths.append(upper - lower)
    assert widths[1] / widths[0] == pytest.approx(1 / 2, rel=0.2)  # four copies: half the width


def test_objectives_are_judged_on_the_same_resamples(tmp_path):
    folder = write_study(tmp_path / "study", 2)
    metrics, _ = evaluate(folder)
    verdicts = judge(
        objectives={"good": Objective(description="x", endpoint="mace", experiment="strong.cox", above=0.5)},
        endpoints={"mace": ENDPOINT},
        predictions={"mace": {name: folder / f"{name}.parquet" for name in NAMES}},
        outcomes={"mace": folder / "outcomes.parquet"},
        subjects=folder / "subjects.parquet",
        evaluation=EVALUATION,
        output=folder / "objectives.csv",
    )
    row = metrics.query("experiment == 'strong.cox' and metric == 'harrell_c' and group == 'all'").iloc[0]
    assert verdicts[["lower", "upper"]].iloc[0].tolist() == row[["lower", "upper"]].tolist()


def test_resamples_draw_people():
    people = np.array([0, 0, 1, 2, 2, 2])
    for row in np.concatenate(list(resamples(people=people, count=50, seed=2))):
        assert row[0] == row[1]
        assert row[3] == row[4] == row[5]
        assert row[0] + row[2] + row[3] == 3
