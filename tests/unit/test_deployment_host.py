"""The module's interface and its host: what they refuse, and how recordings are kept."""

import numpy as np
import pytest
from deployed import category, deployed, events, number, recipe, static

from riskweave.deployment.recipe import Column, Cox, Member, Term, Unit
from riskweave.deployment.runtime.given import PatientReader, too_old, unusual
from riskweave.deployment.runtime.module import PatientError

OK, UNUSUAL, IMPOSSIBLE, NO_INPUT, NO_UNIT, NO_CATEGORY, NO_TIME, REQUIRED = *range(7), 16
AGE, SEX, LAB, DIAGNOSIS = range(4)
INPUTS = [
    number(
        "age",
        units=(Unit("years", "a"), Unit("months", "mo", 1 / 12)),
        limits=(0.0, 130.0),
        usual=(30.0, 90.0),
        typical=60.0,
        required=True,
    ),
    category("sex", ["female", "male"]),
    events(
        "creatinine",
        ["LAB//CREATININE$"],
        units=(Unit("mg/dL", "mg/dL"), Unit("umol/L", "umol/L", 1 / 88.42)),
        limits=(0.0, 40.0),
        usual=(0.5, 3.0),
    ),
    events("hypertension", ["ICD10//I10", "ICD10//I11"], units=(), values=False),
]
COLUMNS = [
    *static("age", "sex", places=[AGE, SEX]),
    Column("creatinine", 0, LAB, "last"),
    Column("hypertension", 0, DIAGNOSIS, "count"),
]


def member():
    """Return a Cox model in which every column counts."""
    terms = (
        Term("number", 0, 0, 60.0, 10.0, fill=60.0),
        Term("category", 0, 1, 0.5, 0.5, categories=(1,)),
        Term("number", 0, 2, 1.0, 0.5, lower=0.5, upper=3.0, fill=1.0),
        Term("missing", 0, 2, 0.5, 0.5),
        Term("number", 0, 3, 0.0, 1.0, fill=0.0),
    )
    baseline = (np.array([100.0, 500.0]), np.array([0.05, 0.1]))
    return Member(terms, (), 0, (), Cox(np.array([[0.5, 0.3, 0.4, 0.1, 0.2]]), np.zeros((1, 5)), [baseline]))


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return deployed(recipe(INPUTS, COLUMNS, members=[member()]), tmp_path_factory.mktemp("module"))


@pytest.fixture
def call(module):
    module.reset()
    return module.host.call


def test_a_module_refuses_recordings_that_are_too_old(module):
    pictures = {**module.schema, "image": {"modality": "image", "size": 8, "window": 30}}
    assert too_old(29.9, "image", pictures) is None
    assert too_old(30.0, "image", pictures).input == "image"
    reader = PatientReader(pictures)
    (wrong,) = reader.read({"ecg": {"days_before": 3}})[1]
    assert "'ecg' is unknown; a patient has `values`, `events`, `image`." in wrong.message
    for told in (3, None, {}, {"days_before": None}, {"days_before": -1}, {"days_before": 1, "unit": "d"}):
        (wrong,) = reader.read({"image": told})[1]
        assert wrong.input == "image"
    assert reader.read({"image": {"days_before": 0.5}}) == ([], [], [])


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.98, "98 % of the people"), (0.8667, "87 % of the people")],
)
def test_the_share_of_people_within_the_usual_is_said_as_it_is(share, words):
    of = {"usual": [1000.0, 25000.0], "usual_share": share}
    said = unusual(123456.7, {"label": "U/L", "factor": 1.0, "offset": 0.0}, of)
    assert said == f"123457 U/L is unusual: {words} the model was made from had 1000 to 25,000 U/L"


def test_setters_judge_values(call):
    assert [call("rw_number", AGE, value, 0) for value in (60.0, 29.9, 131.0, -1.0)] == [OK, UNUSUAL, *[IMPOSSIBLE] * 2]
    assert [call("rw_number", AGE, value, 0) for value in (np.nan, np.inf, -np.inf)] == [IMPOSSIBLE] * 3
    assert call("rw_number", AGE, 720.0, 1) == OK
    assert [call("rw_number", AGE, 60.0, unit) for unit in (-1, 2)] == [NO_UNIT] * 2
    assert [call("rw_number", place, 60.0, 0) for place in (-1, 4, SEX, LAB)] == [NO_INPUT] * 4
    assert [call("rw_category", SEX, place) for place in (0, 1, 2, -1)] == [OK, OK, NO_CATEGORY, NO_CATEGORY]
    assert call("rw_category", AGE, 0) == NO_INPUT
    assert [call("rw_event", LAB, days, 1.0, 0) for days in (0.0, np.nan, -0.1, np.inf)] == [OK, OK, NO_TIME, NO_TIME]
    assert [call("rw_event", LAB, 1.0, value, 0) for value in (np.nan, 41.0, 5.0)] == [OK, IMPOSSIBLE, UNUSUAL]
    assert call("rw_event", LAB, 1.0, 88.42, 1) == OK
    assert call("rw_event", LAB, 1.0, 1.0, 7) == NO_UNIT
    assert call("rw_event", DIAGNOSIS, 1.0, 12.0, 5) == OK
    assert [call("rw_check", place, 500.0, 0) for place in (AGE, LAB, DIAGNOSIS, SEX)] == [
        IMPOSSIBLE,
        IMPOSSIBLE,
        OK,
        NO_INPUT,
    ]


def test_refused_values_change_nothing(module, call):
    call("rw_number", AGE, 70.0, 0)
    call("rw_predict")
    before = module.host.read(call("rw_risks"), 2)
    assert call("rw_number", AGE, 500.0, 0) == IMPOSSIBLE
    assert call("rw_event", LAB, 3.0, -5.0, 0) == IMPOSSIBLE
    assert call("rw_check", AGE, 20.0, 0) == UNUSUAL
    call("rw_predict")
    np.testing.assert_array_equal(module.host.read(call("rw_risks"), 2), before)


def test_no_risk_without_what_is_required(module, call):
    call("rw_number", AGE, 70.0, 0)
    assert call("rw_predict") == OK
    assert call("rw_missing") == -1
    call("rw_clear", AGE)
    assert call("rw_missing") == AGE
    assert call("rw_predict") == REQUIRED
    # No risk of the patient before is left to be mistaken for one of this.
    assert np.isnan(module.host.read(call("rw_risks"), 2)).all()
    with pytest.raises(PatientError, match="age: it is missing"):
        module.predict()


def test_a_risk_by_hand(module):
    lab = {"code": "LAB//CREATININE", "days_before": 3, "value": 884.2, "unit": "umol/L"}
    diagnoses = [{"code": code, "days_before": None} for code in ("ICD10//I10", "ICD10//I119", "ICD10//I12")]
    warnings = module.set_patient({"values": {"age": 70, "sex": "male"}, "events": [lab, *diagnoses]})
    assert [each.input for each in warnings] == [None, "creatinine"]
    assert "884.2 umol/L is unusual" in warnings[1].message
    assert "44.21 to 265.3 umol/L" in warnings[1].message
    result = module.predict()
    # Creatinine of 10 mg/dL is pulled in to 3; two of the three diagnoses count.
    log_ratio = 0.5 * 1.0 + 0.3 * 1.0 + 0.4 * 4.0 + 0.1 * -1.0 + 0.2 * 2.0
    assert np.array(result.risks) == pytest.approx(1 - np.exp(-np.exp(log_ratio) * np.array([[0.05, 0.1]])), rel=1e-14)
    assert list(result.columns) == pytest.approx([70.0, 1.0, 10.0, 2.0])
    without = {"age": -0.5, "sex": -0.6, "creatinine": -1.6 + 0.2, "hypertension": -0.4}
    for name, change in result.contributions:
        left = 1 - np.exp(-np.exp(log_ratio + without[name]) * 0.1)
        assert change == pytest.approx(result.risks[0][1] - left, rel=1e-12)
    assert [name for name, _ in result.contributions] == ["age", "sex", "creatinine", "hypertension"]
    # Leaving inputs out has changed nothing for good.
    np.testing.assert_array_equal(module.predict().risks, result.risks)
    told = result.as_dict()
    assert told["risks"] == [{"cause": "target", "horizon_days": 730.0, "risk": result.risks[0][1]}]
    assert told["imputed"] == told["absent"] == []
    assert told["model"]["fingerprint"] == result.sha256[:12]


def test_all_problems_are_told_at_once(module):
    patient = {
        "values": {"agee": 3, "age": {"value": 300, "unit": "years"}, "sex": "Male", "creatinine": 1.0},
        "events": [
            {"code": "LAB//CREATININE", "days_before": 3, "value": 1, "unit": "mmol/L"},
            {"code": "LAB//CREATININE", "days_before": -3, "value": 1},
            {"code": "LAB//CREATININE", "value": 1},
            {"code": "LAB//CREATININE", "days_before": 3, "value": "high"},
            {"code": "LAB//CREATININE", "days_before": 3, "units": "mg/dL"},
        ],
        "name": "x",
    }
    with pytest.raises(PatientError) as error:
        module.set_patient(patient)
    told = str(error.value)
    assert len(error.value.problems) == 10
    for part in (
        "agee: the model has no such value. Did you mean 'age'?",
        "age: 300 years cannot be; accepted are 0 to 130 years",
        "sex: 'Male' is none of: female, male. Did you mean 'male'?",
        "creatinine: the model has no such value. It is one of events",
        "creatinine: the unit 'mmol/L' is unknown. Known are: mg/dL, umol/L",
        "`days_before` is -3",
        "an event has a `code` and `days_before`",
        "'high' is no finite number",
        "an event has no 'units'",
        "'name' is unknown",
    ):
        assert part in told
    # Nothing of it is kept.
    with pytest.raises(PatientError, match="missing"):
        module.predict()


@pytest.mark.parametrize(
    "patient", [[], {"values": []}, {"events": "x"}, {"events": [3]}, {"values": {"age": [], "sex": []}}]
)
def test_what_is_no_patient_is_told(module, patient):
    with pytest.raises(PatientError):
        module.set_patient(patient)


def test_numbers_without_end_are_none(module):
    for value in (10**400, np.inf, np.nan, -(10**400)):
        with pytest.raises(PatientError, match="no finite number"):
            module.set_patient({"values": {"age": value}})
        with pytest.raises(PatientError, match="`days_before`"):
            module.set_patient({"events": [{"code": "ICD10//I10", "days_before": abs(value)}]})


def test_more_events_than_there_is_room_for(module):
    some = [{"code": "LAB//CREATININE", "days_before": day, "value": 5.0 + day / 1e6} for day in range(20_001)]
    warnings = module.set_patient({"values": {"age": 60}, "events": some[:50]})
    assert module.predict(contributions=False).columns[2] == 5.0
    assert len(warnings) == len({each.message for each in warnings}) == 6
    with pytest.raises(PatientError, match="patient: there are more than 20000 events") as error:
        module.set_patient({"values": {"age": 60}, "events": some})
    assert len(error.value.problems) == 1
    with pytest.raises(PatientError, match="20000 events"):
        module.set_patient({"values": {"age": 60}, "events": 2 * some})


def test_records_are_judged_as_single_values_are(module, call):
    records = [
        (AGE, np.nan, 29.0, 0),
        (AGE, np.nan, 500.0, 0),
        (AGE, np.nan, 60.0, 9),
        (SEX, np.nan, 1, 0),
        (SEX, np.nan, 2, 0),
        (LAB, 1.0, np.nan, 0),
        (LAB, -1.0, 1.0, 0),
        (7, np.nan, 1.0, 0),
        (np.nan, np.nan, 1.0, 0),
        (LAB, 1.0, 88.42, 1),
    ]
    pointer = call("rw_records", len(records))
    module.host.write(pointer, np.array(records))
    assert call("rw_give") == 6
    answers = module.host.read(pointer, 4 * len(records))[::4]
    wanted = [UNUSUAL, IMPOSSIBLE, NO_UNIT, OK, NO_CATEGORY, OK, NO_TIME, NO_INPUT, NO_INPUT, OK]
    np.testing.assert_array_equal(answers, wanted)
    assert call("rw_predict") == OK
    np.testing.assert_array_equal(module.host.read(call("rw_columns"), 4), [29.0, 1.0, 1.0, 0.0])
    assert not call("rw_records", -1)
    assert call("rw_give") == 0


def test_an_input_forgotten_is_an_input_never_given(call, module):
    call("rw_number", AGE, 70.0, 0)
    for days, value in ((3.0, 2.0), (1.0, 4.0)):
        call("rw_event", LAB, days, value, 0)
        call("rw_event", DIAGNOSIS, days, np.nan, 0)
    assert [call("rw_clear", LAB), call("rw_clear", 9)] == [OK, NO_INPUT]
    call("rw_event", LAB, 9.0, 2.5, 0)
    assert call("rw_predict") == OK
    np.testing.assert_array_equal(module.host.read(call("rw_columns"), 4), [70.0, np.nan, 2.5, 2.0])


def test_null_is_missing(module):
    module.set_patient({"values": {"age": 60, "sex": None}, "events": []})
    assert module.predict().imputed == ("sex", "creatinine")


def test_a_model_without_recordings_reads_none(module):
    with pytest.raises(PatientError, match="reads none"):
        module.set_ecg(np.zeros((12, 500)), 500.0)
    with pytest.raises(PatientError, match="reads none"):
        module.set_image(np.zeros((2, 2)))
