"""The section of an endpoint: who, how well, by how much better, how well calibrated, of what use, for whom."""

import pandas as pd

from riskweave.page import SUPPRESSED, Section
from riskweave.study_report.explained import add_explanations
from riskweave.study_report.figures import subgroups_table
from riskweave.study_report.inputs import Content, EndpointContent
from riskweave.study_report.words import (
    METRICS,
    NOTHING,
    at_day,
    estimate,
    group_value,
    number,
    percent,
    shown,
    stacked,
)

__all__ = [
    "add_endpoint",
    "folds_table",
    "leaderboard_table",
    "meanings_table",
    "recalibration_rows",
    "reclassification_table",
    "shown_experiments",
    "subgroup_rows",
]

DIGITS = {"observed_expected": 2, "calibration_slope": 2}
COLUMNS = ("harrell_c", "auc", "ibs", "ipa", "observed_expected", "calibration_slope")


def _cell(row: pd.Series, metric: str) -> str:
    values = (row[metric], row[f"{metric}_lower"], row[f"{metric}_upper"])
    return stacked(estimate(*values, DIGITS.get(metric, 3)))


def leaderboard_table(board: pd.DataFrame) -> pd.DataFrame:
    """Return the leaderboard as text: estimates with intervals at the last horizon, the highest concordance first."""
    rows = []
    for _, row in board.iterrows():
        is_reference = row["experiment"] == row["reference"]
        gain = [row[f"harrell_c_difference{end}"] for end in ("", "_lower", "_upper")]
        rows.append(
            {
                "rank": f"{row['rank']}",
                "experiment": row["experiment"],
                **{METRICS[metric].short: _cell(row, metric) for metric in COLUMNS},
                "Difference in concordance": "reference" if is_reference else stacked(estimate(*gain, difference=True)),
                "p (Holm)": "" if is_reference else _p_value(row["harrell_c_difference_p_holm"]),
            }
        )
    return pd.DataFrame(rows)


def meanings_table() -> pd.DataFrame:
    """Return what each column of the leaderboard tells, and which of its values is best."""
    rows = [(METRICS[metric].short, METRICS[metric].meaning, METRICS[metric].best) for metric in COLUMNS]
    return pd.DataFrame(rows, columns=["column", "what it tells", "best"])


def _p_value(value: float) -> str:
    return NOTHING if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def shown_experiments(endpoint: EndpointContent) -> list[str]:
    """Return the experiments of tables that have no room for all: the first of the leaderboard, and the reference."""
    return list(dict.fromkeys([endpoint.first, endpoint.reference]))


def subgroup_rows(endpoint: EndpointContent) -> pd.DataFrame:
    """Return the subgroups as text: subjects and events where they may be shown, metrics of two experiments."""
    table = subgroups_table(endpoint.metrics)
    rows = []
    for group, value in table[["group", "group_value"]].drop_duplicates().itertuples(index=False, name=None):
        counts = endpoint.counts.subjects_in.get((group, value)), endpoint.counts.events_in.get((group, value))
        if group == "all":
            counts = endpoint.counts.at_risk, endpoint.counts.events_followed
        row = {"group": "everyone", "value": ""}
        if group != "all":
            row = {"group": group, "value": group_value(group, value)}
        row |= {"subjects": shown(counts[0]), "events": shown(counts[1])}
        for experiment in shown_experiments(endpoint):
            mine = (table["experiment"] == experiment) & (table["group"] == group) & (table["group_value"] == value)
            found = table[mine].set_index("metric")
            for metric in ("harrell_c", "observed_expected"):
                values = found.loc[metric, ["estimate", "lower", "upper"]].astype(float)
                row[f"{METRICS[metric].short}, {experiment}"] = stacked(estimate(*values, DIGITS.get(metric, 3)))
        rows.append(row)
    return pd.DataFrame(rows)


def folds_table(endpoint: EndpointContent) -> pd.DataFrame:
    """Return how the concordance at the last horizon differs between the folds: mean, lowest and highest, as text."""
    table = endpoint.folds
    own = table[(table["metric"] == "harrell_c") & (table["horizon"] == endpoint.horizon) & (table["kind"] == "fold")]
    rows = []
    for experiment in endpoint.board["experiment"]:
        values = own.loc[own["experiment"] == experiment, "estimate"].dropna()
        spread = (values.mean(), values.min(), values.max()) if len(values) else (float("nan"),) * 3
        texts = (number(value) for value in spread)
        rows.append((experiment, str(len(values)), *texts))
    return pd.DataFrame(rows, columns=["experiment", "folds with a value", "mean", "lowest fold", "highest fold"])


def reclassification_table(endpoint: EndpointContent, experiment: str) -> pd.DataFrame:
    """Return who moves across each stated threshold at the last horizon when an experiment replaces the reference."""
    table = endpoint.reclassification
    own = table[(table["experiment"] == experiment) & (table["horizon"] == endpoint.horizon)]
    rows = []
    for threshold, moves in own.groupby("threshold"):
        row = {"threshold": percent(float(threshold))}
        for _, move in moves.iterrows():
            values = [100 * move[column] for column in ("estimate", "lower", "upper")]
            row[move["move"].replace("non_events", "no event").replace("_", ", ")] = estimate(*values, 1)
        rows.append(row)
    return pd.DataFrame(rows)


def recalibration_rows(endpoint: EndpointContent) -> pd.DataFrame:
    """Return metrics before and after a recalibration across folds, at the last horizon, of two experiments."""
    table = endpoint.recalibration
    own = table[(table["horizon"] == endpoint.horizon) & table["experiment"].isin(shown_experiments(endpoint))]
    parts = ("before", "after", "difference")
    rows = [
        {
            "experiment": row["experiment"],
            "metric": METRICS[row["metric"]].title if row["metric"] in METRICS else row["metric"].replace("_", " "),
        }
        | {part: estimate(*(row[f"{part}{end}"] for end in ("", "_lower", "_upper"))) for part in parts}
        for _, row in own.iterrows()
    ]
    return pd.DataFrame(rows)


def _compared(table1: pd.DataFrame) -> str:
    """Say between which columns of Table 1 the standardised mean difference is, where there is one."""
    groups = [column for column in table1 if column not in ("variable", "level", "all", "SMD")]
    if "SMD" not in table1 or len(groups) < 2:
        return ""
    between = f"{groups[0]} and {groups[1]}" if groups[0] == "event" or len(groups) == 2 else "all pairs, the largest"
    return f"SMD: standardised mean difference, the difference of means in standard deviations ({between})."


def _add_cohort(section: Section, content: Content, endpoint: EndpointContent) -> None:
    folder, horizon = f"cohort/report/{endpoint.name}", endpoint.horizon
    section.heading("Who was studied")
    section.text(
        "Read from the top: at each step, who was left out and how many remained. The last boxes tell what became of "
        "the subjects at risk. Whoever had the event before the index time (the moment of prediction) is not at risk "
        "of a first one and is left out of this endpoint. Censored: followed up to some day and free of the event so "
        "far."
    )
    section.figure(
        content.files.path(f"{folder}/flow.svg"), "Subjects left out and remaining, and outcomes by the last horizon."
    )
    section.table(endpoint.cohort("attrition"), text=2, folded="The steps as a table")
    section.table(endpoint.cohort("outcomes"), f"First event by {at_day(horizon)}")
    section.table(endpoint.cohort("follow_up"), "Follow-up (median by the reverse Kaplan-Meier method)")
    section.figure(
        content.files.path(f"{folder}/curves.svg"),
        "Left: how many have had the event, or another that ends the time at risk, by each time (cumulative "
        "incidence). Right: how many are free of all of these, and how many are still followed (not censored).",
    )
    table1 = endpoint.cohort("table1")
    if table1.empty:
        section.text("Table 1 is not shown: from it and other numbers a small count would follow.")
    else:
        section.table(table1, "Table 1. Subjects at risk at the index time", text=2, grouped=True)
        section.text(f"Counts are n (% of all subjects of the column). {_compared(table1)}", note=True)


def _add_ranking(section: Section, content: Content, endpoint: EndpointContent) -> None:
    evaluation = content.study.evaluation
    section.heading("Which experiment predicts best")
    section.text(
        f"Each row is an experiment: a group of features with a model. All predict the same subjects, each of them by "
        f"a model that was trained without that subject. Figures are at {at_day(endpoint.horizon)}, above their "
        f"{content.confidence} confidence intervals. Click on a heading to sort."
    )
    section.table(leaderboard_table(endpoint.board), text=2, sortable=True, marks={"reference": "mark"})
    section.table(meanings_table(), "What the columns tell", text=3)
    section.text(
        f"Intervals: {evaluation.bootstrap} bootstrap resamples of people, models kept as trained. They tell how well "
        "these predictions are measured, not how models would differ if they were trained again. The first of many "
        "experiments is partly first by chance: its own figures flatter it a little. p-values are of two sides, "
        "corrected (by Holm's method) for the number of experiments compared with the reference.",
        note=True,
    )
    section.table(folds_table(endpoint), "Concordance within each fold", folded="How figures differ between the folds")
    section.heading(f"By how much better than {endpoint.reference}")
    section.text(
        "The difference of each experiment to the reference, on the same people. Thick line: interval of this "
        f"difference on its own. Thin line: intervals that hold for all experiments together, at {content.confidence}. "
        "Where the line does not cross the dashed one (no difference), chance alone hardly explains the difference."
    )


def _add_calibration(section: Section, endpoint: EndpointContent) -> None:
    files, folder = endpoint.files, f"evaluation/{endpoint.name}"
    section.heading("Are the risks right")
    section.text(
        "Subjects are put into groups by predicted risk. Each point compares the mean predicted risk of a group "
        "(across) with what happened to it (upwards). Points on the dashed line: of 100 people given a risk of 10%, "
        "10 have the event. Below the line risks are too high, above it too low. O/E: observed over expected events. "
        f"Colours: risks by {' and by '.join(at_day(day) for day in sorted(endpoint.block.horizons))}."
    )
    section.figure(files.path(f"{folder}/calibration.svg"), "Calibration by groups of predicted risk.")
    section.text("The same without groups, as a smooth curve with its band, where most predicted risks lie.")
    section.figure(files.path(f"{folder}/calibration_curve.svg"), "Smooth calibration curves.")
    if endpoint.recalibration is not None:
        section.text(
            "What correcting the risks would change: the correction is learnt on the predictions of the other folds "
            "and applied to each fold. The models above are without it."
        )
        section.table(recalibration_rows(endpoint), "Before and after recalibration", text=2)
    section.heading("Would acting on the risks be of use")
    section.text(
        "Suppose one acts from a certain risk upwards: that is the threshold, read across. The net benefit counts the "
        "events found per person, less the people treated in vain, weighted by the odds of the threshold. A model is "
        "of use at the thresholds where it lies above treating everybody (dashed) and treating nobody (dotted). Choose "
        "the threshold by the harms of both errors, not by the curve."
    )
    section.figure(files.path(f"{folder}/decision_curve.svg"), "Decision curves at the last horizon.")


def _add_reclassification(section: Section, endpoint: EndpointContent) -> None:
    compared = [name for name in endpoint.board["experiment"] if name != endpoint.reference]
    if endpoint.reclassification is None or not compared:
        return
    section.heading("Who would be treated differently")
    section.text(
        f"At the thresholds that the study stated before it ran: when {compared[0]} takes the place of "
        f"{endpoint.reference}, which share (%) of the people with the event, and of those without, moves up or down "
        "across the threshold. Up is right for people with the event, down for those without; net: right less wrong."
    )
    section.table(reclassification_table(endpoint, compared[0]))


def add_endpoint(section: Section, content: Content, endpoint: EndpointContent, own: dict[str, object]) -> None:
    """Fill the section of an endpoint.

    Parameters
    ----------
    section : Section
    content : Content
    endpoint : EndpointContent
    own : dict
        Paths of the report's own figures of this endpoint: ``differences``, ``subgroups``.
    """
    if endpoint.block.description:
        section.text(endpoint.block.description)
    _add_cohort(section, content, endpoint)
    _add_ranking(section, content, endpoint)
    section.figure(own["differences"], f"Paired differences to {endpoint.reference} at {at_day(endpoint.horizon)}.")
    _add_calibration(section, endpoint)
    _add_reclassification(section, endpoint)
    section.heading("For whom does it work")
    section.text(
        "The same figures among people who have certain modalities (kinds of data), and in the subgroups that the "
        "study names. Groups of few people have wide intervals; with fewer than 10 people or events there are none. "
        "Several subgroups are looked at: that some differ is expected by chance."
    )
    if content.study.evaluation.age_bands:
        section.text(
            "Within a band of age the concordance is mostly lower than over all ages: there age itself tells people "
            "apart less."
        )
    section.figure(own["subgroups"], "Concordance and observed over expected events by subgroup.")
    rows = subgroup_rows(endpoint)
    section.table(rows, text=2, grouped=True)
    note = f"Events: of the whole follow-up, those after {at_day(endpoint.horizon)} among them."
    if (rows[["subjects", "events"]] == SUPPRESSED).any(axis=None):
        note += " Numbers from which a small count would follow are not shown."
    section.text(note, note=True)
    add_explanations(section, content, endpoint)
