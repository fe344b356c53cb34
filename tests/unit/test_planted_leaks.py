"""Leaks planted in a clean cohort are caught by name, and nothing is found where nothing is planted."""

import numpy as np
import pandas as pd
import pytest
from leak_cohort import DAY, Cohort, N, clean_cohort

from riskweave.study.cohort import Folds
from riskweave.study.gates import GATES
from riskweave.study.population import Population

RNG = 7


def gates(cohort: Cohort, folder) -> set[str]:
    """Return the names of what is found."""
    return {finding.name for finding in cohort.find(folder)}


# --- columns that tell the outcome ------------------------------------------------------------------------------------


def discharge_code(cohort):
    """Where people went from hospital: a category that, but for slips, is the event."""
    slips = np.random.default_rng(RNG).random(N) < 0.02
    cohort.add_static("ward", np.where((cohort.event == 1) ^ slips, "c9", "c1"))


def noisy_marker(cohort):
    """A troponin of the day of the infarction."""
    cohort.add_event("LAB//TROPONIN:last", cohort.event * 3 + np.random.default_rng(RNG).normal(0, 0.6, N))


def reversed_marker(cohort):
    cohort.add_static("score", np.random.default_rng(RNG).normal(0, 5, N).round(2) - cohort.event * 30)


def procedure_flag(cohort):
    """A flag that only half of the cases have, and nobody else."""
    cohort.add_static("stent", cohort.event * (np.random.default_rng(RNG).random(N) < 0.5))


def copied_event(cohort):
    cohort.add_static("group", np.where(cohort.event == 1, "a", "b"))


def months_of_time(cohort):
    cohort.add_static("months", (cohort.outcomes["time"] / 30.4375).round(1))


def time_among_cases(cohort):
    """The day of the event for the cases, anything for the others."""
    rng = np.random.default_rng(RNG)
    random = rng.permutation(cohort.outcomes["time"])
    noisy = cohort.outcomes["time"] * rng.normal(1, 0.05, N)
    cohort.add_static("day_seen", np.where(cohort.event == 1, noisy, random))


def age_at_the_end(cohort):
    """The age at the last visit beside the age at the index time: their difference is the follow-up."""
    cohort.add_static("age_last", cohort.subjects["age"] + cohort.outcomes["time"] / 365.25)


def length_of_stay(cohort):
    cohort.add_static("lengthOfStay", np.random.default_rng(RNG).poisson(5, N).astype(float))


def death_code(cohort):
    cohort.add_event("HOSPITAL//DEATH_REPORT:count", np.random.default_rng(RNG).poisson(1, N).astype(float))


def own_code(cohort):
    cohort.add_event("ICD10//I21.4:ever", (np.random.default_rng(RNG).random(N) < 0.05).astype(float))


def missing_in_survivors(cohort):
    """Measured in the autopsy, so to say."""
    rng = np.random.default_rng(RNG)
    kept = rng.random(N) < np.where(cohort.event == 1, 0.85, 0.1)
    cohort.add_event("LAB//FERRITIN:last", np.where(kept, rng.normal(100, 20, N), np.nan))


def missing_if_short(cohort):
    """A value of a visit that only those have who are still observed after three years."""
    kept = cohort.outcomes["time"] > 1100
    cohort.add_event("LAB//FERRITIN:last", np.where(kept, np.random.default_rng(RNG).normal(100, 20, N), np.nan))


def recording_in_cases(cohort):
    kept = np.random.default_rng(RNG).random(N) < np.where(cohort.event == 1, 0.9, 0.15)
    ids = cohort.subjects["subject_id"][kept]
    cohort.ecg = pd.DataFrame({"subject_id": ids, "heart_rate": np.random.default_rng(1).normal(70, 9, kept.sum())})
    first = cohort.recordings.iloc[[0] * len(ids)].assign(subject_id=ids.to_numpy())
    times = (cohort.subjects["index_time"][kept] - DAY).to_numpy()
    cohort.recordings = first.assign(time=times, sha256=[f"{number:064x}" for number in range(len(ids))])


# --- time -------------------------------------------------------------------------------------------------------------


def measured_later(cohort):
    late = np.arange(N) % 40 == 0
    later = cohort.subjects["index_time"] + 30 * DAY
    cohort.subjects["bmi_date"] = cohort.subjects["bmi_date"].where(~late, later)
    cohort.subjects["bmi"] = cohort.ehr["bmi"] = cohort.subjects["bmi"].fillna(25.0)


def measured_later_as_text(cohort):
    cohort.subjects["date_of_smoking"] = (cohort.subjects["index_time"] + 2 * DAY).dt.strftime("%Y-%m-%d")
    cohort.add_static("smoking", np.random.default_rng(RNG).choice(["yes", "no"], N))


def time_since_the_future(cohort):
    cohort.ehr["LAB//CHOL:time_since"] -= 100


def diagnosed_later(cohort):
    cohort.add_static("age_at_diagnosis", cohort.subjects["age"] + np.random.default_rng(RNG).normal(0, 4, N).round(1))


def recordings_of_the_future(cohort):
    late = cohort.subjects.set_index("subject_id")["index_time"] + 5 * DAY
    cohort.recordings["time"] = cohort.recordings["subject_id"].map(late)


def index_before_the_event(cohort):
    cases = cohort.event == 1
    cohort.outcomes.loc[cases, "time"] = 365.0


def index_at_the_event(cohort):
    cohort.outcomes.loc[cohort.event == 1, "time"] = 0.5


def index_on_two_dates(cohort):
    day = pd.Timestamp("2012-05-01 08:00")
    times = pd.Series(day + pd.to_timedelta(np.arange(N) % 40 + 900 * (cohort.event == 0), unit="D"))
    moved = cohort.subjects["index_time"] - times
    cohort.subjects["bmi_date"] -= moved
    moves = dict(zip(cohort.subjects["subject_id"], moved, strict=True))
    cohort.recordings["time"] -= cohort.recordings["subject_id"].map(moves)
    cohort.images["time"] -= cohort.images["subject_id"].map(moves)
    cohort.subjects["index_time"] = times.astype("datetime64[us]")


def selected_by_the_future(cohort):
    criterion = {"name": "seen_again", "codes": ["VISIT"], "window": [0, 365]}
    cohort.population = Population.model_validate({"include": [criterion]})
    cohort.attrition = pd.DataFrame({"step": ["subjects", "seen_again"], "excluded": [0, 4]})


def survivors_only(cohort):
    cohort.population = Population(minimum_followup=180)


def index_with_negative_offset(cohort):
    index = {"at": "first_event", "codes": ["ICD10//I21"], "offset": -30}
    cohort.population = Population.model_validate({"index": index})


# --- people -----------------------------------------------------------------------------------------------------------


def rename(cohort, names):
    for table in (cohort.subjects, cohort.outcomes, cohort.folds, cohort.ehr, cohort.ecg):
        table["subject_id"] = table["subject_id"].map(lambda name: names.get(name, name))
    for table in (cohort.recordings, cohort.images):
        table["subject_id"] = table["subject_id"].map(lambda name: names.get(name, name))
    cohort.subjects["person_id"] = cohort.subjects["person_id"].map(lambda name: names.get(name, name))


def two_index_times_in_two_folds(cohort):
    part = cohort.folds[cohort.folds["fold"] == 0].set_index("subject_id")["role"]
    first, second = part.index[part == "test"][0], part.index[part == "train"][0]
    person = cohort.subjects["person_id"]
    cohort.subjects["person_id"] = person.where(cohort.subjects["subject_id"] != second, first)
    for name in ("recordings", "images"):
        table = getattr(cohort, name)
        table["subject_id"] = table["subject_id"].replace(second, first)


def identifier_in_two_spellings(cohort):
    part = cohort.folds[cohort.folds["fold"] == 0].set_index("subject_id")["role"]
    first, second = part.index[part == "test"][0], part.index[part == "train"][0]
    rename(cohort, {second: f" 00{first}"})


def one_recording_for_two(cohort):
    cohort.recordings.loc[1, "sha256"] = cohort.recordings.loc[0, "sha256"]


def one_image_for_two(cohort):
    cohort.images.loc[[5, 6, 7], "sha256"] = cohort.images.loc[4, "sha256"]


def one_sound_for_two(cohort):
    cohort.sounds.loc[[5, 6, 7], "sha256"] = cohort.sounds.loc[4, "sha256"]


def copied_people(cohort):
    rng = np.random.default_rng(RNG)
    for name in ("SBP", "DBP", "HB", "LDL"):
        cohort.add_event(f"LAB//{name}:last", rng.normal(100, 15, N).round(1))
    columns = [name for name in cohort.ehr if name != "subject_id"]
    cohort.ehr.loc[:4, columns] = cohort.ehr.loc[300:304, columns].to_numpy()
    cohort.subjects.loc[[*range(5), *range(300, 305)], "bmi_date"] = pd.Timestamp("2009-01-01")
    columns = ["age", "sex", "centre", "bmi", "prior_discharges"]
    cohort.subjects.loc[:4, columns] = cohort.subjects.loc[300:304, columns].to_numpy()


def numbered_by_outcome(cohort):
    order = np.argsort(np.argsort(-cohort.event, kind="stable"), kind="stable")
    names = [f"{10_000_000 + number}" for number in order]
    rename(cohort, dict(zip(cohort.subjects["subject_id"], names, strict=True)))


def lettered_by_outcome(cohort):
    names = [
        f"{'CO' if e == 0 else 'CA'}{name}" for name, e in zip(cohort.subjects["subject_id"], cohort.event, strict=True)
    ]
    rename(cohort, dict(zip(cohort.subjects["subject_id"], names, strict=True)))


def record_number(cohort):
    cohort.add_static("hospital_number", [f"H{number}" for number in np.random.default_rng(RNG).permutation(N)])


# --- fits and folds ---------------------------------------------------------------------------------------------------


def scaled_over_all(cohort):
    values = cohort.ehr["prior_discharges"] + np.random.default_rng(RNG).normal(0, 1, N)
    cohort.add_static("frailty", ((values - values.mean()) / values.std()).round(4))


def imputed_over_all(cohort):
    values = np.random.default_rng(RNG).normal(80, 12, N).round(1)
    lost = np.random.default_rng(1).random(N) < 0.15
    cohort.add_static("egfr", np.where(lost, values[~lost].mean(), values))


def imputed_by_the_median(cohort):
    values = np.random.default_rng(RNG).normal(80, 12, N).round(1)
    lost = np.random.default_rng(1).random(N) < 0.15
    cohort.add_static("egfr", np.where(lost, np.median(values[~lost]), values))


def divided_by(cohort, order):
    fold = np.empty(N, dtype=int)
    fold[np.argsort(order, kind="stable")] = np.arange(N) * 3 // N
    own = cohort.folds["subject_id"].map(dict(zip(cohort.subjects["subject_id"], fold, strict=True)))
    cohort.folds["role"] = np.where(own == cohort.folds["fold"], "test", "train")


def folds_in_the_order_of_events(cohort):
    divided_by(cohort, cohort.event + 0.8 * np.random.default_rng(RNG).random(N))


def folds_in_the_order_of_followup(cohort):
    divided_by(cohort, -cohort.outcomes["time"])


def folds_in_the_order_of_centres(cohort):
    divided_by(cohort, pd.factorize(cohort.subjects["centre"])[0])


PLANTS = [
    (discharge_code, {"outcome_association:mi/ehr.ward"}),
    (noisy_marker, {"outcome_association:mi/ehr.LAB//TROPONIN:last"}),
    (reversed_marker, {"outcome_association:mi/ehr.score"}),
    (procedure_flag, {"outcome_association:mi/ehr.stent"}),
    (copied_event, {"endpoint_copy:mi/ehr.group"}),
    (months_of_time, {"endpoint_copy:mi/ehr.months"}),
    (time_among_cases, {"time_association:mi/ehr.day_seen"}),
    (age_at_the_end, {"time_association:mi/ehr.age_last"}),
    (length_of_stay, {"name_pattern:ehr.lengthOfStay"}),
    (death_code, {"name_pattern:ehr.HOSPITAL//DEATH_REPORT:count"}),
    (own_code, {"target_code_feature:mi/ehr.ICD10//I21.4:ever"}),
    (missing_in_survivors, {"missingness_association:mi/ehr.LAB//FERRITIN:last"}),
    (missing_if_short, {"missingness_association:mi/ehr.LAB//FERRITIN:last"}),
    (recording_in_cases, {"availability_association:mi/ecg"}),
    (measured_later, {"predictor_after_index:ehr.bmi"}),
    (measured_later_as_text, {"predictor_after_index:ehr.smoking"}),
    (time_since_the_future, {"predictor_after_index:ehr.LAB//CHOL:time_since"}),
    (diagnosed_later, {"predictor_after_index:ehr.age_at_diagnosis"}),
    (recordings_of_the_future, {"predictor_after_index:ecg"}),
    (index_before_the_event, {"index_encodes_outcome:mi"}),
    (index_at_the_event, {"index_encodes_outcome:mi"}),
    (index_on_two_dates, {"index_encodes_outcome:mi"}),
    (selected_by_the_future, {"selection_after_index:population.include.seen_again"}),
    (survivors_only, {"selection_after_index:population.minimum_followup"}),
    (index_with_negative_offset, {"selection_after_index:population.index.offset"}),
    (two_index_times_in_two_folds, {"subject_in_two_folds:person_id"}),
    (identifier_in_two_spellings, {"subject_in_two_folds:spelling"}),
    (one_recording_for_two, {"recording_shared:recordings"}),
    (one_image_for_two, {"image_shared:images"}),
    (one_sound_for_two, {"sound_shared:sounds"}),
    (copied_people, {"duplicate_subjects:features"}),
    (numbered_by_outcome, {"identifier_encodes_outcome:mi"}),
    (lettered_by_outcome, {"identifier_encodes_outcome:mi"}),
    (record_number, {"identifier_feature:ehr.hospital_number"}),
    (scaled_over_all, {"fitted_on_everyone:ehr.frailty"}),
    (imputed_over_all, {"fitted_on_everyone:ehr.egfr"}),
    (imputed_by_the_median, {"fitted_on_everyone:ehr.egfr"}),
    (folds_in_the_order_of_events, {"folds_unlike:mi/events", "folds_unlike:mi/follow-up"}),
    (folds_in_the_order_of_followup, {"folds_unlike:mi/events", "folds_unlike:mi/follow-up"}),
    (folds_in_the_order_of_centres, {"folds_unlike:centre"}),
]


@pytest.mark.parametrize(("plant", "expected"), PLANTS, ids=[plant.__name__ for plant, _ in PLANTS])
def test_a_planted_leak_is_caught_by_name_and_nothing_else(plant, expected, tmp_path):
    cohort = clean_cohort()
    plant(cohort)
    assert gates(cohort, tmp_path) == expected


def test_every_gate_has_a_plant():
    assert {name.split(":")[0] for _, names in PLANTS for name in names} == set(GATES)


@pytest.mark.parametrize("seed", range(1, 21))
def test_nothing_is_found_in_clean_cohorts(seed, tmp_path):
    assert gates(clean_cohort(seed), tmp_path) == set()


def test_folds_of_whole_groups_may_differ(tmp_path):
    cohort = clean_cohort()
    folds_in_the_order_of_centres(cohort)
    cohort.division = Folds(strategy="group", group="centre", count=3)
    assert gates(cohort, tmp_path) == set()


def test_undated_studies_are_judged_too(tmp_path):
    """Without dates all index times are the same, and there are no manifests to compare with."""
    cohort = clean_cohort()
    cohort.subjects["index_time"] = pd.Timestamp("1970-01-01")
    cohort.subjects["followup_end"] = pd.NaT
    cohort.recordings["time"] = cohort.images["time"] = pd.Timestamp("1970-01-01")
    assert gates(cohort, tmp_path) == set()
    months_of_time(cohort)
    assert gates(cohort, tmp_path) == {"endpoint_copy:mi/ehr.months"}


def test_small_cohorts_raise_no_false_alarm(tmp_path):
    for seed in range(5):
        (tmp_path / str(seed)).mkdir()
        assert gates(clean_cohort(seed, n=60), tmp_path / str(seed)) == set()


def test_messages_hold_no_identifier_and_no_small_count(tmp_path):
    """One cohort with leaks of a few subjects each: their number is not told, nor who they are."""
    cohort = clean_cohort()
    one_recording_for_two(cohort)
    selected_by_the_future(cohort)
    late = cohort.subjects["index_time"] + 30 * DAY
    cohort.subjects["bmi_date"] = cohort.subjects["bmi_date"].where(~cohort.subjects.index.isin([10, 11, 12]), late)
    cohort.subjects["bmi"] = cohort.ehr["bmi"] = cohort.subjects["bmi"].fillna(25.0)
    copied_people(cohort)
    found = cohort.find(tmp_path)
    assert {finding.gate for finding in found} == {
        "recording_shared", "duplicate_subjects", "selection_after_index", "predictor_after_index",
    }  # fmt: skip
    text = " ".join(f"{finding.problem} {finding.remedy}" for finding in found)
    assert not any(name in text for name in cohort.subjects["subject_id"])
    assert text.count("fewer than 10") >= 3
    assert "leaves out fewer than 10 subjects" in text
