"""What a run tells of its results, item by item of TRIPOD+AI: as :mod:`riskweave.study_report.tripod_methods`."""

from collections.abc import Iterable

from riskweave.page import SUPPRESSED
from riskweave.report.disclosure import is_small
from riskweave.study_report.filled import Filled, listed, sentences
from riskweave.study_report.inputs import Content, EndpointContent
from riskweave.study_report.words import estimate, number

__all__ = [
    "against_development",
    "analysed",
    "between_clusters",
    "characteristics",
    "flow",
    "missing_input",
    "performance",
    "specification",
    "updated",
]


def flow(content: Content) -> Filled:
    """Item 20a: the flow chart, outcomes and follow-up."""
    texts = []
    for endpoint in content.endpoints.values():
        ways = endpoint.cohort("outcomes")
        ends = [f"{row['outcome']} {row['subjects']}" for _, row in ways.iterrows()]
        texts.append(f"{endpoint.name}: at risk {_count(endpoint.counts.at_risk)}; of these {listed(ends)}")
    text = sentences([*texts, "Follow-up and flow chart: section of each endpoint"])
    return Filled(text, "cohort/report/*/{flow.svg,attrition.csv,outcomes.csv,follow_up.csv}")


def _count(count: int | None) -> str:
    return SUPPRESSED if count is None else str(count)


def characteristics(content: Content) -> Filled | None:
    """Item 20b: Table 1 and missing values."""
    tabled = [e.name for e in content.endpoints.values() if not e.cohort("table1").empty]
    if not tabled:
        return None
    text = f"Table 1 of {listed(tabled)}, with missing values; shares of missing values of all columns: cohort report."
    return Filled(text, "cohort/report/*/table1.csv, cohort/report/missingness.csv")


def against_development(content: Content) -> Filled:
    """Item 20c: the same subjects serve both."""
    del content
    return Filled("Does not apply: the subjects evaluated are those of the development.", "study.yaml: folds")


def _range(values: Iterable[int], threshold: int) -> str:
    found = list(values)
    if not found or any(is_small(value, threshold) for value in found):
        return SUPPRESSED
    return f"{min(found)}" if min(found) == max(found) else f"{min(found)} to {max(found)}"


def _analysed(content: Content, endpoint: EndpointContent) -> str:
    """Return how many people and events each part of the folds holds; nothing where they may not be shown."""
    runs = content.experiments(endpoint.name)
    if endpoint.counts.events_followed is None or not runs:
        return ""
    folds = runs.get(endpoint.reference, next(iter(runs.values()))).folds
    texts = []
    for part in ("train", "validation", "test"):
        people, events = (
            _range((fold.counts[key] for fold in folds if key in fold.counts), content.threshold)
            for key in (f"{part}_subjects", f"{part}_events_cause_1")
        )
        texts.append(f"{part} {people} subjects with {events} target events")
    return f"{endpoint.name}, in each fold: {'; '.join(texts)}"


def analysed(content: Content) -> Filled | None:
    """Item 21: people and events of training, tuning and evaluation."""
    texts = [text for text in (_analysed(content, endpoint) for endpoint in content.endpoints.values()) if text]
    source = "experiments/*/*/run.json (events of the whole follow-up)"
    return Filled(sentences(texts), source) if texts else None


def specification(content: Content) -> Filled:
    """Item 22: the stored models, one for each fold."""
    number_of = len({(run.endpoint, run.name) for run in content.records.values() if run.kind == "experiment"})
    text = (
        f"{number_of} experiment(s), each with the fitted models of its folds and all their settings. They are run by "
        "riskweave itself."
    )
    return Filled(text, "experiments/*/*/models.zip, run.json")


def _performance(endpoint: EndpointContent) -> str:
    row = endpoint.row(endpoint.first)

    def of(metric: str, digits: int) -> str:
        return estimate(*(row[f"{metric}{end}"] for end in ("", "_lower", "_upper")), digits)

    text = f"{endpoint.name}, day {endpoint.horizon}: {endpoint.first} has a concordance of {of('harrell_c', 3)}, "
    text += f"observed/expected {of('observed_expected', 2)}, calibration slope {of('calibration_slope', 2)}"
    if endpoint.first != endpoint.reference:
        gain = [row[f"harrell_c_difference{end}"] for end in ("", "_lower", "_upper")]
        text += f"; concordance over {endpoint.reference}: {estimate(*gain, difference=True)}"
    return text


def performance(content: Content) -> Filled:
    """Item 23a: the first experiment of each endpoint; the rest is in the tables."""
    texts = [_performance(endpoint) for endpoint in content.endpoints.values()]
    groups = {group for e in content.endpoints.values() for group in e.metrics["group"]} - {"all"}
    named = f"Subgroups by {listed(sorted(groups))}: section of each endpoint" if groups else ""
    source = "evaluation/*/{leaderboard,metrics,calibration,calibration_curve,decision_curve}.parquet"
    return Filled(sentences([*texts, named]), source)


def between_clusters(content: Content) -> Filled | None:
    """Item 23b: the spread over test folds of whole groups; without such folds this run tells nothing of clusters."""
    if content.study.folds.strategy != "group":
        return None
    texts = []
    for endpoint in content.endpoints.values():
        table = endpoint.folds
        own = table[(table["kind"] == "fold") & (table["experiment"] == endpoint.first)]
        own = own[(own["metric"] == "harrell_c") & (own["horizon"] == endpoint.horizon)]
        values = own["estimate"].dropna()
        if len(values):
            spread = f"{number(values.min())} to {number(values.max())} over {len(values)} test folds of whole groups"
            texts.append(f"{endpoint.name}: concordance of {endpoint.first} {spread}")
    return Filled(sentences(texts), "evaluation/*/folds.parquet") if texts else None


def updated(content: Content) -> Filled:
    """Item 24: no model is updated; before and after of a recalibration that was looked at are in a table."""
    if content.study.evaluation.recalibration:
        text = "No model was updated; calibration before and after a recalibration across folds is in the table."
        if content.study.deployment.recalibrate and content.study.deployment.experiments:
            text = "Deployed modules are recalibrated; calibration before and after it, across folds, is in the table."
        return Filled(text, "evaluation/*/recalibration.parquet")
    return Filled("Does not apply: no model was updated.", "docs/methods.md")


def missing_input(content: Content) -> Filled:
    """Item 27a: what a model does with values and modalities that are missing."""
    sets = content.study.feature_sets
    used = dict.fromkeys(sets[name].modality for e in content.study.matrix() for name in e.feature_sets)
    text = (
        f"Models take missing values as they took them in training (item 11). Modalities used: {listed(used)}; one "
        "that is absent is masked, and performance by what people have is among the subgroups."
    )
    return Filled(text, "docs/methods.md, evaluation/*/metrics.parquet")
