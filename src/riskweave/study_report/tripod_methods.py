"""What a run tells of its objectives and methods, item by item of TRIPOD+AI.

Each function takes the content of the report and returns an answer, or None where this run does not tell it. Statements
on how riskweave works hold for all studies and are those of docs/methods.md.
"""

from riskweave.page import SUPPRESSED
from riskweave.study_report.filled import Filled, listed, sentences
from riskweave.study_report.inputs import Content, EndpointContent
from riskweave.study_report.words import METRICS

__all__ = [
    "centres",
    "clusters",
    "code",
    "dates",
    "definitions",
    "division",
    "eligibility",
    "fairness",
    "imbalance",
    "measures",
    "missing_values",
    "models",
    "objectives",
    "outcomes",
    "output",
    "predictions",
    "predictors",
    "preparation",
    "protocol",
    "sample_size",
    "scaling",
    "sources",
    "two_data_sets",
    "updating",
]


def objectives(content: Content) -> Filled:
    """Item 4: the question and the objectives that were written down beforehand."""
    stated = [objective.description for objective in content.study.objectives.values()]
    kind = "Development with internal validation by cross-validation; no evaluation on data from elsewhere"
    return Filled(sentences([content.study.question, *stated, kind]), "study.yaml: question, objectives")


def sources(content: Content) -> Filled:
    """Item 5a: the source of the data, its version and tables."""
    data = content.data
    version = f", version {data['version']}" if data.get("version") else ""
    tables = listed(name for name, facts in data.get("tables", {}).items() if facts.get("rows"))
    return Filled(f"Source {data.get('source')}{version}; tables: {tables}.", "cohort/source/data.json")


def dates(content: Content) -> Filled | None:
    """Item 5b: the date of the data and the length of follow-up."""
    date, of = content.data.get("date"), content.data.get("date_of")
    known = f"Data of {date}" + (f" ({of})" if of else "") if date else ""
    followed = []
    for endpoint in content.endpoints.values():
        table = endpoint.cohort("follow_up")
        median = table.loc[table["what"].str.startswith("median"), "value"]
        followed += [f"{endpoint.name}: median follow-up [quartiles] {value} days" for value in median]
    text = sentences([known, *followed])
    return Filled(text, "cohort/source/data.json, cohort/report/*/follow_up.csv") if text else None


def centres(content: Content) -> Filled | None:
    """Item 6a: the column of centres, where the folds are divided by one."""
    column = content.study.folds.group
    return Filled(f"Groups in column {column!r} divide the folds.", "study.yaml: folds.group") if column else None


def eligibility(content: Content) -> Filled:
    """Item 6b: the steps of the selection."""
    steps: dict[str, None] = {}
    for endpoint in content.endpoints.values():
        steps |= dict.fromkeys(endpoint.cohort("attrition")["description"])
    return Filled(f"In this order: {'; '.join(steps)}.", "cohort/report/*/attrition.csv")


def preparation(content: Content) -> Filled:
    """Item 7: leak gates and preparation within folds."""
    gates = ""
    if content.findings is not None:
        allowed = int((content.findings["allowed"] == "yes").sum()) if len(content.findings) else 0
        gates = f"Leak gates before any training: {len(content.findings)} finding(s), {allowed} allowed with reasons"
    fitted = (
        "All preparation is fitted in each fold on its training rows alone, in one way for all groups: values beyond "
        "the outer quantiles pulled in, columns with next to no information dropped, numbers standardised"
    )
    return Filled(sentences([gates, fitted]), "cohort/leaks/findings.csv, docs/methods.md")


def _outcome(endpoint: EndpointContent) -> str:
    block = endpoint.block
    text = f"{endpoint.name}: {block.description} " if block.description else f"{endpoint.name}: "
    if block.kind == "codes":
        text += f"First event with a code that starts with {listed(block.target)}, from dated records."
        competing = [cause if isinstance(cause, str) else listed(cause) for cause in block.competing]
        text += f" Competing: {listed(competing)}." if competing else " No competing events are named."
    else:
        text += f"From column(s) {listed(v for v in (block.time, getattr(block, 'event', None)) if v)} of the source."
    return f"{text} Risks at {listed(sorted(block.horizons))} days."


def outcomes(content: Content) -> Filled:
    """Item 8a: how each endpoint is defined, and its horizons."""
    text = " ".join(_outcome(endpoint) for endpoint in content.endpoints.values())
    return Filled(f"{text} One definition for all groups.", "study.yaml: endpoints")


def _columns(content: Content) -> dict[str, int]:
    """Return the number of columns of each feature set, as the runs used them."""
    found: dict[str, int] = {}
    for run in content.records.values():
        if run.kind == "experiment":
            found |= {name: len(columns) for name, columns in run.feature_sets.items()}
    return found


def predictors(content: Content) -> Filled:
    """Item 9a: the feature sets and how many columns each has."""
    sets = content.study.feature_sets
    texts = [f"{name} ({sets[name].modality}, {number} columns)" for name, number in _columns(content).items()]
    chosen = "Named in the study file before the run; columns are left out within folds only, and never by outcome"
    return Filled(sentences([f"Feature sets: {listed(texts, 20)}", chosen]), "study.yaml: feature_sets; run.json")


def definitions(content: Content) -> Filled:
    """Item 9b: what the feature sets are made from, and that they end at the index time."""
    del content
    text = (
        "Features are made from what is dated at or before the index time, by the recipes of the study file, without "
        "looking at outcomes. Each column's unit and description are in its feature table."
    )
    return Filled(text, "study.yaml: feature_sets; features/*/features.parquet; docs/features.md")


def sample_size(content: Content) -> Filled | None:
    """Item 10: subjects at risk and events, where they may be shown; no calculation is known to a run."""
    texts = []
    for endpoint in content.endpoints.values():
        counts = endpoint.counts
        if counts.at_risk is not None:
            events = SUPPRESSED if counts.events is None else counts.events
            day = max(endpoint.block.horizons)
            texts.append(f"{endpoint.name}: {counts.at_risk} subjects at risk, {events} target events by day {day}")
    text = sentences([*texts, "All eligible subjects of the source were used; no calculation is part of the study"])
    return Filled(text, "cohort/report/*/outcomes.csv") if texts else None


def missing_values(content: Content) -> Filled:
    """Item 11: imputation within folds, modalities that are absent, shares without a value."""
    shares = content.files.text("cohort/report/missingness.csv")
    told = [float(value) for value in shares["percent"] if value not in ("", SUPPRESSED)]
    largest = f"The largest share of missing values of a column is {max(told):.1f} %" if told else ""
    text = (
        "Missing numbers are set to the median of the training rows of the fold, with an indicator column; missing is "
        "a category of its own in categorical columns; a modality that a subject lacks is masked and told apart. "
        "Nobody at risk is left out for a missing predictor"
    )
    return Filled(sentences([text, largest]), "docs/methods.md, cohort/report/missingness.csv")


def division(content: Content) -> Filled:
    """Item 12a: the folds."""
    folds = content.study.folds
    how = f"whole groups of column {folds.group!r}" if folds.strategy == "group" else "stratified by type of event"
    text = (
        f"Cross-validation with {folds.count} folds, {how}; {100 * folds.validation:g} % of the rows outside the test "
        "fold are kept for tuning and early stopping. All rows of a person are in one part. Each subject is predicted "
        "once, by models that were trained without that person. All experiments share the folds."
    )
    return Filled(text, "study.yaml: folds; cohort/folds.parquet")


def scaling(content: Content) -> Filled:
    """Item 12b: form and scaling of the predictors."""
    del content
    text = (
        "Numbers are standardised and categories become indicator columns, on the training rows of each fold. Linear "
        "models take numbers as straight lines; trees and networks find forms of their own. Recordings and images "
        "enter as measurements or as embeddings of a network that was trained within the fold."
    )
    return Filled(text, "docs/methods.md, docs/encoders.md")


def models(content: Content) -> Filled:
    """Item 12c: models, tuning, fusion and internal validation."""
    used = dict.fromkeys(e.model for e in content.study.matrix())
    texts = []
    for name in used:
        block = content.study.models[name]
        searched = ", hyper-parameters searched on validation rows" if getattr(block, "search", None) else ""
        texts.append(f"{name} ({block.kind}{searched})")
    fusions = listed(dict.fromkeys(e.fusion for e in content.study.matrix()))
    text = [f"Models: {listed(texts, 20)}", f"Feature sets are joined by: {fusions}", "Internal validation: item 12a"]
    return Filled(sentences(text), "study.yaml: models, fusions, experiments; experiments/*/*/run.json")


def clusters(content: Content) -> Filled | None:
    """Item 12d: test folds of whole groups, where the study asks for them."""
    folds = content.study.folds
    if folds.strategy != "group":
        return None
    text = f"Each test fold holds whole groups of column {folds.group!r} that its models never saw; see item 23b."
    return Filled(text, "study.yaml: folds")


def measures(content: Content) -> Filled:
    """Item 12e: measures, intervals and comparisons."""
    evaluation = content.study.evaluation
    names = listed((METRICS[metric].title for metric in METRICS), 20)
    text = [
        f"{names}; calibration by groups of risk and as smooth curves; decision curves",
        "Competing events are counted as such (Aalen-Johansen); censoring is weighted",
        f"{content.confidence} intervals ({evaluation.interval}) from {evaluation.bootstrap} bootstrap resamples of "
        f"people; experiments are compared in pairs with {evaluation.reference}, p-values corrected by Holm's method",
    ]
    return Filled(sentences(text), "study.yaml: evaluation; docs/methods.md")


def updating(content: Content) -> Filled:
    """Item 12f: no evaluated model is changed; what recalibration would do may be looked at, and deployed."""
    looked = (
        "What recalibration across folds would change was looked at" if content.study.evaluation.recalibration else ""
    )
    deployment = content.study.deployment
    recalibrated = (
        f"The deployed modules of {listed(deployment.experiments)} recalibrate their risks by what the out-of-fold "
        "predictions for all people teach"
        if deployment.recalibrate and deployment.experiments
        else ""
    )
    text = sentences(["No model was changed after it was evaluated", looked, recalibrated])
    return Filled(text, "study.yaml: evaluation; docs/methods.md")


def predictions(content: Content) -> Filled:
    """Item 12g: the code that predicts, and where the predictions are."""
    del content
    text = "By the stored models of each fold: cumulative incidence of each cause for the subjects of the test fold."
    return Filled(text, "experiments/*/*/{models.zip,predictions.parquet}")


def imbalance(content: Content) -> Filled:
    """Item 13: nothing is resampled."""
    del content
    text = "None: no resampling and no class weights; folds keep the shares of events, censored subjects stay in."
    return Filled(text, "docs/methods.md")


def fairness(content: Content) -> Filled | None:
    """Item 14: the subgroups that the study names."""
    evaluation = content.study.evaluation
    groups = [*evaluation.subgroups, *(["age bands"] if evaluation.age_bands else [])]
    if not groups:
        return None
    text = f"Every measure is repeated in subgroups by {listed(groups)}; no model was constrained to be alike in them."
    return Filled(text, "study.yaml: evaluation")


def output(content: Content) -> Filled:
    """Item 15: cumulative incidences; thresholds, where the study states some."""
    thresholds = content.study.evaluation.reclassification
    stated = f"Thresholds stated beforehand: {listed(f'{100 * t:g} %' for t in thresholds)}" if thresholds else ""
    text = "The probability (cumulative incidence) of the target event by each horizon, competing events considered"
    none = "" if thresholds else "Nobody is classified"
    return Filled(sentences([text, stated, none]), "study.yaml: endpoints, evaluation")


def two_data_sets(content: Content) -> Filled:
    """Item 16: one data set serves both by cross-validation."""
    groups = "; test folds are groups of their own" if content.study.folds.strategy == "group" else ""
    text = f"None: development and evaluation use the same cohort by cross-validation{groups}."
    return Filled(text, "study.yaml: folds")


def protocol(content: Content) -> Filled:
    """Item 18c: the study file states question and analysis."""
    hashes = content.files.hashes().set_index("file")["sha256"]
    text = (
        "The study file states question, objectives, endpoints and analysis before the run "
        f"(sha256 of the file with all defaults: {hashes['study.yaml'][:12]})."
    )
    return Filled(text, "study.yaml")


def code(content: Content) -> Filled | None:
    """Item 18f: versions of the code that ran."""
    versions = dict.fromkeys(run.provenance.get("packages", {}).get("riskweave") for run in content.records.values())
    commits = dict.fromkeys(run.provenance.get("git", {}).get("commit") for run in content.records.values())
    known = [str(version) for version in versions if version], [str(commit)[:12] for commit in commits if commit]
    if not known[0]:
        return None
    text = f"riskweave {listed(known[0])} (MIT licence)" + (f", commit(s) {listed(known[1])}" if known[1] else "")
    return Filled(f"{text}.", "experiments/*/*/run.json")
