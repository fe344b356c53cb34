"""Mistakes that users make in study files, and what the answer has to say."""

from collections.abc import Callable
from copy import deepcopy

import yaml

__all__ = ["COLUMNS", "MISTAKES", "STUDY", "TABLES", "both", "drop", "put"]

STUDY = yaml.safe_load("""
study: demo
question: Which modality predicts myocardial infarction?
cohort: {source: synthetic, subjects: 200}
endpoints:
  mi: {kind: codes, target: [ICD10//I21], competing: [MEDS_DEATH], horizons: [365, 1825]}
folds: {count: 3}
feature_sets:
  age_sex: {modality: ehr, static: [age, sex]}
  labs: {modality: ehr, events: [{codes: [LAB//], aggregates: [last]}]}
  ecg: {modality: ecg, encoder: {blocks: 3, training: {epochs: 5}}}
models:
  cox: {kind: cox}
  forest: {kind: random_survival_forest}
experiments:
  age_sex: {feature_sets: [age_sex], models: [cox]}
  subsets: {all_subsets_of: [labs, ecg], models: [cox, forest]}
evaluation: {reference: age_sex.cox}
objectives:
  gain: {description: The ECG helps., endpoint: mi, experiment: ecg.cox, compared_with: age_sex.cox, above: 0}
""")

TABLES = {"source": "tables", "subjects": "subjects.csv", "events": "events.csv", "recordings": "ecg/recordings.csv"}
COLUMNS = {"kind": "columns", "time": "days", "event": "event", "horizons": [365]}


def put(path: str, value: object) -> Callable[[dict], None]:
    """Return a change that sets the key at a dotted path."""

    def change(config):
        *parents, last = path.split(".")
        block = config
        for key in parents:
            block = block[int(key)] if isinstance(block, list) else block[key]
        block[int(last) if isinstance(block, list) else last] = deepcopy(value)

    return change


def drop(path: str) -> Callable[[dict], None]:
    """Return a change that removes the key at a dotted path."""

    def change(config):
        *parents, last = path.split(".")
        block = config
        for key in parents:
            block = block[key]
        del block[last]

    return change


def both(*changes: Callable[[dict], None]) -> Callable[[dict], None]:
    def change(config):
        for each in changes:
            each(config)

    return change


TCN_KEYS = ("channels", "blocks", "kernel_size", "embedding", "dropout", "intervals", "training")

# What is wrong, the change that makes it so, and what the message has to say.
MISTAKES = {
    # Unknown keys, at each depth.
    "unknown key": (put("cohorts", {}), ["cohorts: unknown key", "Did you mean 'cohort'?", "experiments", "folds"]),
    "unknown key of the cohort": (
        put("cohort.subject", 100),
        ["cohort.subject: unknown key (value 100)", "Did you mean 'subjects'?", "missing_ecg"],
    ),
    "unknown key of an endpoint": (
        put("endpoints.mi.horizon", [365]),
        ["endpoints.mi.horizon: unknown key", "Did you mean 'horizons'?", "competing", "target"],
    ),
    "key of another kind of endpoint": (
        put("endpoints.mi.event", "status"),
        ["endpoints.mi.event: unknown key (value 'status')", "Allowed: competing, description, grid_points"],
    ),
    "unknown key of a feature set": (
        put("feature_sets.age_sex.statics", ["age"]),
        ["feature_sets.age_sex.statics: unknown key", "Did you mean 'static'?", "Allowed: events, history"],
    ),
    "unknown key in a list": (
        put("feature_sets.labs.events.0.code", "LAB//"),
        ["feature_sets.labs.events[0].code: unknown key (value 'LAB//')", "Did you mean 'codes'?", "aggregates"],
    ),
    "unknown key of an encoder": (
        put("feature_sets.ecg.encoder.kernel", 5),
        ["feature_sets.ecg.encoder.kernel: unknown key (value 5)", "Did you mean 'kernel_size'?", *TCN_KEYS],
    ),
    "unknown key of a training": (
        put("feature_sets.ecg.encoder.training.lr", 0.1),
        ["feature_sets.ecg.encoder.training.lr: unknown key (value 0.1)", "learning_rate"],
    ),
    "key of an encoder's training beside it": (
        put("feature_sets.ecg.encoder.epochs", 3),
        [
            "feature_sets.ecg.encoder.epochs: unknown key (value 3)",
            "Did you mean 'training.epochs' or 'pretraining.epochs'? Allowed: ",
        ],
    ),
    "key of a model's training beside it": (
        put("models.net", {"kind": "pmf", "patience": 3}),
        ["models.net.patience: unknown key (value 3). Did you mean 'training.patience'? Allowed: "],
    ),
    "unknown key of a model named like its kind": (
        put("models.cox.penalties", [1]),
        ["models.cox.penalties: unknown key", "Did you mean 'penalty'?", "Allowed: kind, l1_ratio, penalty, search"],
    ),
    "unknown key of a block named like the tag of another": (
        put("feature_sets.ecg", {"modality": "ehr", "statik": ["age"]}),
        ["feature_sets.ecg.statik: unknown key", "Did you mean 'static'?"],
    ),
    "key that is no text": (
        lambda config: config.update({3: 1}),
        ["3: unknown key (value 3)", "Allowed: allow, code_lists, cohort, deployment"],
    ),
    # Unknown kinds.
    "unknown source": (
        put("cohort.source", "synthetics"),
        ["cohort.source: 'synthetics' is not allowed", "Did you mean 'synthetic'?", "omop, public, synthetic, tables"],
    ),
    "unknown modality": (
        put("feature_sets.ecg.modality", "egc"),
        ["feature_sets.ecg.modality: 'egc' is not allowed", "Did you mean 'ecg'?", "Allowed: audio, ecg, ehr, event_"],
    ),
    "no modality": (
        drop("feature_sets.ecg.modality"),
        ["feature_sets.ecg.modality: this key is required and missing", "Allowed: audio, ecg, ehr, event_"],
    ),
    "unknown kind of model": (
        put("models.cox.kind", "coxph"),
        ["models.cox.kind: 'coxph' is not allowed", "Did you mean 'cox'?", "Allowed: clinical_score, cox, cox_time"],
    ),
    "unknown kind of endpoint": (
        put("endpoints.mi.kind", "code"),
        ["endpoints.mi.kind: 'code' is not allowed", "Did you mean 'codes'?", "Allowed: codes, columns"],
    ),
    "unknown aggregate": (
        put("feature_sets.labs.events.0.aggregates", ["last", "maen"]),
        ["feature_sets.labs.events[0].aggregates[1]: 'maen' is not allowed", "Did you mean 'mean'?", "time_since"],
    ),
    "unknown strategy": (
        put("folds.strategy", "groups"),
        ["folds.strategy: 'groups' is not allowed", "Did you mean 'group'?", "Allowed: stratified, group"],
    ),
    "unknown choice where a number is allowed too": (
        put("models.forest.max_features", "sqr"),
        ["models.forest.max_features: 'sqr' is not allowed", "Did you mean 'sqrt'?", "sqrt, log2 or number, above 0"],
    ),
    "a reason in three letters": (
        put("allow", [{"finding": "name_pattern:labs.dod", "why": "yes"}]),
        ["allow[0].why: 'yes' is not allowed. Allowed: text of at least 10 characters"],
    ),
    # Wrong types.
    "text for a number": (
        put("cohort.subjects", "many"),
        ["cohort.subjects: 'many' is not allowed", "Allowed: whole number, 20 to 100000"],
    ),
    "fraction for a whole number": (
        put("folds.count", 2.5),
        ["folds.count: 2.5 is not allowed", "Allowed: whole number, 2 to 20"],
    ),
    "number for text": (
        put("endpoints.mi.target", [410]),
        ["endpoints.mi.target[0]: 410 is not allowed", "Put it in quotes", "Allowed: text"],
    ),
    "text for a list": (
        put("endpoints.mi.target", "ICD10//I21"),
        ["endpoints.mi.target: 'ICD10//I21' is not allowed", "Allowed: list, at least 1, each: text"],
    ),
    "text for true or false": (
        put("feature_sets.ecg.measurements", "maybe"),
        ["feature_sets.ecg.measurements: 'maybe' is not allowed", "Allowed: true or false"],
    ),
    "text for a block": (
        put("feature_sets.ecg", "ecg"),
        ["feature_sets.ecg: 'ecg' is not allowed", "Allowed: block of keys, with `modality`: audio, ecg, ehr, event_"],
    ),
    "empty block": (
        put("experiments", None),
        ["experiments: an empty value is not allowed", "Allowed: named blocks, at least 1"],
    ),
    "band of one number": (
        put("feature_sets.ecg.band", [0.5]),
        ["feature_sets.ecg.band[1]: this key is required and missing"],
    ),
    "band of three numbers": (
        put("feature_sets.ecg.band", [0.5, 20, 40]),
        ["feature_sets.ecg.band: [0.5, 20, 40] is not allowed", "list of 2"],
    ),
    # Values out of range.
    "too few subjects": (put("cohort.subjects", 3), ["cohort.subjects: 3 is not allowed", "20 to 100000"]),
    "share above 1": (put("cohort.missing_ecg", 15), ["cohort.missing_ecg: 15 is not allowed", "number, 0 to 1"]),
    "one fold": (put("folds.count", 1), ["folds.count: 1 is not allowed", "2 to 20"]),
    "no epochs": (
        put("feature_sets.ecg.encoder.training.epochs", 0),
        ["feature_sets.ecg.encoder.training.epochs: 0 is not allowed", "whole number, above 0"],
    ),
    "too high a confidence": (
        put("evaluation.confidence", 95),
        ["evaluation.confidence: 95 is not allowed", "number, above 0.5 and below 1"],
    ),
    "no horizon": (put("endpoints.mi.horizons", []), ["endpoints.mi.horizons: [] is not allowed", "at least 1"]),
    "negative horizon": (
        put("endpoints.mi.horizons", [365, -1]),
        ["endpoints.mi.horizons[1]: -1 is not allowed", "whole number, above 0"],
    ),
    "no target": (put("endpoints.mi.target", []), ["endpoints.mi.target: [] is not allowed", "at least 1"]),
    "no experiments": (put("experiments", {}), ["experiments: {} is not allowed", "at least 1"]),
    "no models of an experiment": (
        put("experiments.age_sex.models", []),
        ["experiments.age_sex.models: [] is not allowed", "at least 1"],
    ),
    # Names.
    "name with capitals and blanks": (
        put("endpoints.Heart Attack", {"kind": "codes", "target": ["x"], "horizons": [1]}),
        ["endpoints: the name 'Heart Attack' is not allowed", "lower-case letters, digits and _, a letter first"],
    ),
    "name that is a path": (put("study", "../demo"), ["study: '../demo' is not allowed", "lower-case letters"]),
    "name that is a number": (
        lambda config: config["models"].update({5: {"kind": "cox"}}),
        ["models: the name '5' is not allowed", "lower-case letters"],
    ),
    "unknown feature set": (
        put("experiments.age_sex.feature_sets", ["age_sx"]),
        ["experiments.age_sex.feature_sets: there is no feature set 'age_sx'", "'age_sex'", "age_sex, labs, ecg"],
    ),
    "unknown feature set of a family": (
        put("experiments.subsets.all_subsets_of", ["lab", "ecg"]),
        ["experiments.subsets.all_subsets_of: there is no feature set 'lab'", "Did you mean 'labs'?"],
    ),
    "unknown model": (
        put("experiments.age_sex.models", ["forrest"]),
        ["experiments.age_sex.models: there is no model 'forrest'", "Did you mean 'forest'?", "Allowed: cox, forest"],
    ),
    "unknown endpoint": (
        put("experiments.age_sex.endpoints", ["stroke"]),
        ["experiments.age_sex.endpoints: there is no endpoint 'stroke'", "Allowed: mi"],
    ),
    "unknown endpoint of the folds": (
        put("folds.stratify", "m1"),
        ["folds.stratify: there is no endpoint 'm1'", "Allowed: mi"],
    ),
    "unknown reference": (
        put("evaluation.reference", "age_sex.coxx"),
        ["evaluation.reference: there is no experiment", "'age_sex.coxx'", "Did you mean 'age_sex.cox'?", "ecg.cox"],
    ),
    "unknown experiment to explain": (
        put("evaluation.explain", ["labs+egc.cox"]),
        ["evaluation.explain: there is no experiment named 'labs+egc.cox'", "Did you mean 'labs+ecg.cox'?"],
    ),
    "experiment to explain twice": (
        put("evaluation.explain", ["age_sex.cox", "age_sex.cox"]),
        ["evaluation.explain: names age_sex.cox twice"],
    ),
    "unknown experiment of an objective": (
        put("objectives.gain.experiment", "ecg+labs.cox"),
        ["objectives.gain.experiment: there is no experiment", "'ecg+labs.cox'", "labs+ecg.cox, labs+ecg.forest"],
    ),
    "unknown endpoint of an objective": (
        put("objectives.gain.endpoint", "mj"),
        ["objectives.gain.endpoint: there is no endpoint 'mj'", "Allowed: mi"],
    ),
    # Required keys.
    "no question": (drop("question"), ["question: this key is required and missing", "Allowed: text"]),
    "no cohort": (drop("cohort"), ["cohort: this key is required and missing", "omop, public, synthetic, tables"]),
    "no horizons": (drop("endpoints.mi.horizons"), ["endpoints.mi.horizons: this key is required and missing"]),
    # Impossible combinations.
    "experiment given twice": (
        put("experiments.labs", {"feature_sets": ["labs"], "models": ["cox"]}),
        ["experiments.labs gives the experiment 'labs.cox'", "experiments.subsets gives too", "rename the block"],
    ),
    "both ways to name feature sets": (
        put("experiments.age_sex.all_subsets_of", ["labs"]),
        ["experiments.age_sex: give either `feature_sets` (one experiment) or `all_subsets_of` (a family)"],
    ),
    "no way to name feature sets": (
        drop("experiments.age_sex.feature_sets"),
        ["experiments.age_sex: give either `feature_sets`"],
    ),
    "always without a family": (
        put("experiments.age_sex.always", ["labs"]),
        ["experiments.age_sex: `always` goes with `all_subsets_of`"],
    ),
    "feature set named twice": (
        put("experiments.age_sex.feature_sets", ["labs", "labs"]),
        ["experiments.age_sex: `feature_sets` names something twice: labs, labs"],
    ),
    "objective without a threshold": (
        drop("objectives.gain.above"),
        ["objectives.gain: give one of `above` and `below`"],
    ),
    "objective with two thresholds": (
        put("objectives.gain.below", 1),
        ["objectives.gain: give one of `above` and `below`"],
    ),
    "group strategy without a group": (
        put("folds.strategy", "group"),
        ["folds: `group` names the column of the groups", "strategy: group"],
    ),
    "group without its strategy": (
        put("folds.group", "centre"),
        ["folds: `group` names the column of the groups", "strategy: group, and only with it"],
    ),
    "band above half the sampling rate": (
        put("feature_sets.ecg.band", [0.5, 60]),
        ["feature_sets.ecg: `band` needs 0 < low < high < 50 Hz"],
    ),
    "ecg set with nothing in it": (
        put("feature_sets.ecg", {"modality": "ecg", "measurements": False}),
        ["feature_sets.ecg: this feature set needs `measurements: true` or an `encoder`"],
    ),
    "ehr set with nothing in it": (
        put("feature_sets.age_sex", {"modality": "ehr"}),
        ["feature_sets.age_sex: an ehr feature set needs `static` columns, `events` or a `history`"],
    ),
    "name of a column together with by_code": (
        both(put("feature_sets.labs.events.0.by_code", True), put("feature_sets.labs.events.0.name", "labs")),
        ["feature_sets.labs.events[0]: `name` cannot be given together with `by_code`"],
    ),
    "endpoint that nothing predicts": (
        both(
            put("endpoints.death", {"kind": "codes", "target": ["MEDS_DEATH"], "horizons": [365]}),
            put("experiments.age_sex.endpoints", ["mi"]),
            put("experiments.subsets.endpoints", ["mi"]),
            put("folds.stratify", "mi"),
        ),
        ["endpoints.death: no experiment predicts it"],
    ),
    "endpoint from codes without events": (
        both(put("cohort", TABLES | {"events": None}), drop("feature_sets.labs"), drop("experiments.subsets"),
             drop("objectives")),
        ["endpoints.mi: kind codes needs cohort.events, which is not given"],
    ),
    "endpoint from codes without the end of follow-up": (
        put("cohort", TABLES | {"columns": {"followup_end": None}}),
        ["endpoints.mi: kind codes needs cohort.columns.followup_end, which is null"],
    ),
    "ecg feature set without recordings": (
        put("cohort", TABLES | {"recordings": None}),
        ["feature_sets.ecg: modality ecg needs cohort.recordings, which is not given", "remove the feature set"],
    ),
    "dated tables without an index time": (
        both(put("cohort", TABLES | {"columns": {"index_time": None}}), put("endpoints.mi", COLUMNS)),
        ["cohort.columns.index_time: is null, but cohort.events is dated"],
    ),
    "outcome among the features": (
        both(
            put("cohort", TABLES),
            put("endpoints.mi", COLUMNS),
            put("feature_sets.age_sex.static", ["age", "days"]),
        ),
        ["feature_sets.age_sex.static: 'days' is endpoints.mi.time, which cannot be a feature"],
    ),
    "identifier among the features": (
        both(put("cohort", TABLES), put("feature_sets.age_sex.static", ["subject_id"])),
        ["feature_sets.age_sex.static: 'subject_id' is cohort.columns.subject_id, which cannot be a feature"],
    ),
    "static column named twice": (
        put("feature_sets.age_sex.static", ["age", "sex", "age"]),
        ["feature_sets.age_sex.static: names age twice"],
    ),
    "horizon given twice": (put("endpoints.mi.horizons", [365, 365]), ["endpoints.mi.horizons: names 365 twice"]),
    "empty code of the target": (put("endpoints.mi.target", [""]), ["endpoints.mi: an empty code is the prefix"]),
    "competing event that is the target": (
        put("endpoints.mi.competing", ["ICD10//I219"]),
        ["endpoints.mi.competing: 'ICD10//I219' is an event of the target too"],
    ),
    "feature set both always and in the subsets": (
        put("experiments.subsets.always", ["labs"]),
        ["experiments.subsets: `always` and `all_subsets_of` both name labs"],
    ),
    "experiment compared with itself": (
        put("objectives.gain.compared_with", "ecg.cox"),
        ["objectives.gain.compared_with: 'ecg.cox' is compared with itself"],
    ),
    "threshold that is no number": (
        put("objectives.gain.above", float("nan")),
        ["objectives.gain: `above` and `below` need a finite number"],
    ),
    "tables without a subject table": (
        put("cohort", {"source": "tables"}),
        ["cohort.subjects: this key is required and missing"],
    ),
    "ecg with the source nafld": (
        put("cohort", {"source": "nafld"}),
        ["feature_sets.ecg: the source nafld has no ecg data", "Allowed: ehr"],
    ),
}  # fmt: skip
