"""Population blocks that contradict the source, the endpoints or the features: each is answered in one line."""

# ruff: noqa: E501 - a case is one line, and the messages that it expects are sentences

from copy import deepcopy

import pytest
from study_mistakes import COLUMNS, STUDY, TABLES, both, drop, put

from riskweave.errors import StudyError
from riskweave.study.study import parse_study

MEDS = {"source": "meds", "path": "data"}
ADMISSION = {"at": "first_event", "codes": ["ADMIT"]}
LAST_EVENT = {"index": ADMISSION, "followup": {"last_contact": "last_event"}}
WITHOUT_ECG = both(
    drop("feature_sets.ecg"),
    drop("objectives"),
    put("experiments.subsets", {"feature_sets": ["labs"], "models": ["cox"]}),
)
STATIC = both(WITHOUT_ECG, drop("feature_sets.labs"), drop("experiments.subsets"))
MEDS_STUDY = both(WITHOUT_ECG, put("cohort", MEDS), put("population", LAST_EVENT))
PUBLIC = both(
    STATIC,
    put("cohort", {"source": "public", "name": "whas500"}),
    put("endpoints.mi", COLUMNS | {"time": "t", "event": "e"}),
)
DAYS = {"kind": "days", "time": "survival", "until": 400, "horizons": [365]}
RELATIVE = TABLES | {"event_columns": {"time_unit": "minutes"}, "columns": {"index_time": None}}
OLD = {"name": "old", "column": "age", "values": {"above": 65}}
SEEN = {"name": "seen", "codes": ["ADMIT"]}

ALLOWED = {
    "meds with an index time": MEDS_STUDY,
    "public": PUBLIC,
    "omop with its observation periods": both(MEDS_STUDY, put("cohort.source", "omop"), put("population", {"index": ADMISSION})),
    "mimic with ECGs": both(put("cohort", {"source": "mimic_iv", "path": "m", "ecg": "e"}), put("population", {"index": ADMISSION})),
    "index of the user's tables from events": both(put("cohort", TABLES | {"columns": {"index_time": None}}), put("population.index", ADMISSION)),
    "relative times with days": both(put("cohort", RELATIVE), put("population.index", {"at": "column", "offset": 2}), put("endpoints.mi", DAYS | {"start": 2})),
    "days without an offset": both(put("cohort", RELATIVE), put("endpoints.mi", DAYS)),
    "days from a column of the table": both(put("cohort", TABLES), put("population.index", {"at": "column", "column": "visit"}), put("endpoints.mi", DAYS)),
    "days and an index event": both(put("cohort", TABLES), put("population.index", ADMISSION), put("endpoints.mi", DAYS | {"start": 0})),
    "criteria by columns in an undated cohort": both(PUBLIC, put("population.include", [OLD])),
    "several index times with codes": put("population.index", {"at": "every_event", "codes": ["ADMIT"]}),
    "horizons within follow-up": put("population.followup", {"days": 1825}),
}  # fmt: skip

MISTAKES = {
    "meds without an index time": (both(MEDS_STUDY, put("population", {})), "population.index: this key is required and missing: the source meds has no index time of its own. Allowed for at: column, first_event"),
    "omop index from its own column": (both(MEDS_STUDY, put("population.index", {"at": "column"})), "population.index.column: the source meds has no column 'index_time'. Name"),
    "meds without an end": (both(MEDS_STUDY, put("population", {"index": ADMISSION})), "endpoints.mi: kind codes needs an end of follow-up. Give population.followup: last_contact: last_event, date or days"),
    "meds without recordings": (both(put("cohort", MEDS), put("population", LAST_EVENT)), "feature_sets.ecg: modality ecg needs cohort.recordings, which is not given"),
    "public with an index time": (both(PUBLIC, put("population.index", {"at": "date", "date": "2020-01-01"})), "population.index: public cohorts are not dated"),
    "public with an index event": (both(PUBLIC, put("population.index", ADMISSION)), "population.index: at first_event needs events, which the study's source public does not have"),
    "public with events as features": (both(PUBLIC, put("feature_sets.age_sex.events", [{"codes": ["x"], "aggregates": ["last"]}])), "feature_sets.age_sex: the source public has no events. Allowed: static"),
    "public with sparse history": (both(PUBLIC, put("feature_sets.age_sex.history", [{"codes": ["x"]}])), "feature_sets.age_sex: the source public has no events. Allowed: static"),
    "public with codes": (both(PUBLIC, put("endpoints.mi", STUDY["endpoints"]["mi"])), "endpoints.mi: kind codes needs events; public has none"),
    "public with a criterion by codes": (both(PUBLIC, put("population.exclude", [SEEN])), "population.exclude.seen: needs events, which the study's source public does not have. Remove it"),
    "public with a derived column": (both(PUBLIC, put("population.columns", {"sex": {"codes": ["SEX"]}})), "population.columns.sex: needs events"),
    "public with a last event": (both(PUBLIC, put("population.followup", {"last_contact": "last_event"})), "population.followup.last_contact: last_event: needs events"),
    "public with follow-up": (both(PUBLIC, put("population.minimum_followup", 30)), "population.minimum_followup: needs an index time, and this study has no dates"),
    "tables without events, history asked": (both(STATIC, put("cohort", {"source": "tables", "subjects": "s.csv"}), put("endpoints.mi", COLUMNS), put("population.minimum_history", 30)), "population.minimum_history: needs events, which the study's source tables does not have"),
    "several index times and columns": (both(put("cohort", TABLES), put("endpoints.mi", COLUMNS), put("population.index", {"at": "every_event", "codes": ["ADMIT"]})), "endpoints.mi: kind columns holds days from one moment, which population.index (at every_event) moves. Take kind: codes"),
    "an age and days": (both(put("cohort", TABLES), put("endpoints.mi", DAYS), put("population.index", {"at": "age", "years": 60})), "endpoints.mi: kind days holds days from one moment, which population.index (at age) moves"),
    "an offset and columns": (both(put("cohort", TABLES), put("endpoints.mi", COLUMNS), put("population.index", {"at": "column", "offset": 2})), "endpoints.mi: kind columns holds days from the index time, which population.index.offset moves. Take kind: days with start"),
    "an offset and days without a start": (both(put("cohort", RELATIVE), put("population.index", {"at": "column", "offset": 2}), put("endpoints.mi", DAYS)), "endpoints.mi.start: is not given, and population.index moves the index time from where the column of days starts to count. Give the day on which"),
    "an index event and days without a start": (both(put("cohort", TABLES), put("population.index", ADMISSION), put("endpoints.mi", DAYS)), "endpoints.mi.start: is not given"),
    "a date among relative times": (both(put("cohort", RELATIVE), put("population.index", {"at": "date", "date": "2020-01-01"})), "population.index: at date needs dates, and the times of this source count from an index time"),
    "an end by date among relative times": (both(put("cohort", RELATIVE), put("population.followup.date", "2020-01-01")), "population.followup.date: the times of this source count from an index time. Give days instead"),
    "until before the horizon": (put("endpoints.mi.until", 1000), "endpoints.mi.until: 1000 days end before the last horizon of 1825 days. Allowed: 1825 and up, or shorter horizons"),
    "follow-up before the horizon": (put("population.followup", {"days": 1000}), "population.followup.days: 1000 days end before the horizon of 1825 days of endpoints.mi"),
    "more observation asked than there is": (put("population", {"followup": {"days": 2000}, "minimum_followup": 3000}), "population.minimum_followup: 3000 days are more than population.followup.days (2000)"),
    "follow-up for columns": (both(put("cohort", TABLES), put("endpoints.mi", COLUMNS), put("population.followup", {"days": 500})), "population.followup.days: endpoints of kind columns are taken as they are. Give until in the endpoint"),
    "a derived column of a taken name": (put("population.columns", {"person_id": {"codes": ["SEX"]}}), "population.columns: the name 'person_id' is taken"),
    "the days as a feature": (both(put("cohort", TABLES), put("endpoints.mi", DAYS), put("feature_sets.age_sex.static", ["survival"])), "feature_sets.age_sex.static: 'survival' is endpoints.mi.time, which cannot be a feature"),
    "the index column as a feature": (both(put("cohort", TABLES), put("population.index", {"at": "column", "column": "visit"}), put("feature_sets.age_sex.static", ["visit"])), "feature_sets.age_sex.static: 'visit' is population.index.column, which cannot be a feature"),
    "a birth as a feature": (both(put("cohort", TABLES | {"columns": {"birth_time": "born"}}), put("feature_sets.age_sex.static", ["born"])), "feature_sets.age_sex.static: 'born' is cohort.columns.birth_time"),
    "one name for two criteria": (put("population", {"include": [SEEN], "exclude": [SEEN]}), "each criterion of `include` and `exclude` needs a name of its own"),
    "codes and a column": (put("population.exclude", [SEEN | {"column": "age"}]), "population.exclude[0]: a criterion needs either `codes` or `column`"),
    "a window that ends before it starts": (put("population.exclude", [SEEN | {"window": [0, -5]}]), "population.exclude[0]: `window` needs from <= to"),
    "values that ask nothing": (put("population.exclude", [SEEN | {"values": {}}]), "population.exclude[0].values: `values` needs at least one of `above`, `below` and `equals`"),
}  # fmt: skip


def study_with(change):
    config = deepcopy(STUDY) | {"population": {"followup": {}}}
    change(config)
    return config


@pytest.mark.parametrize("name", ALLOWED)
def test_what_goes_together(name):
    assert parse_study(study_with(ALLOWED[name]))


@pytest.mark.parametrize("name", MISTAKES)
def test_what_does_not_go_together(name):
    change, said = MISTAKES[name]
    with pytest.raises(StudyError) as caught:
        parse_study(study_with(change), "study.yaml")
    message = str(caught.value)
    assert said in message
    assert len(message.splitlines()) == 2, f"one mistake, one line: {message}"
