"""The module's interface and its host: what they refuse, and how recordings are kept."""

import numpy as np
import pytest
import torch
from deployed import category, deployed, events, number, recipe, static

from riskweave.deployment.recipe import Column, Cox, Encoder, FeatureSet, Member, Term, Unit
from riskweave.deployment.runtime.module import PatientError
from riskweave.study.features import EcgFeatures, ImageFeatures

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
    assert "44.21 to 265.26 umol/L" in warnings[1].message
    result = module.predict()
    # Creatinine of 10 mg/dL is pulled in to 3; two of the three diagnoses count.
    log_ratio = 0.5 * 1.0 + 0.3 * 1.0 + 0.4 * 4.0 + 0.1 * -1.0 + 0.2 * 2.0
    assert result.risks == pytest.approx(1 - np.exp(-np.exp(log_ratio) * np.array([[0.05, 0.1]])), rel=1e-14)
    assert result.columns == pytest.approx([70.0, 1.0, 10.0, 2.0])
    without = {"age": -0.5, "sex": -0.6, "creatinine": -1.6 + 0.2, "hypertension": -0.4}
    for name, change in result.contributions:
        left = 1 - np.exp(-np.exp(log_ratio + without[name]) * 0.1)
        assert change == pytest.approx(result.risks[0, 1] - left, rel=1e-12)
    assert [name for name, _ in result.contributions] == ["age", "sex", "creatinine", "hypertension"]
    # Leaving inputs out has changed nothing for good.
    np.testing.assert_array_equal(module.predict().risks, result.risks)
    told = result.as_dict()
    assert told["risks"] == [{"cause": "target", "horizon_days": 730.0, "risk": result.risks[0, 1]}]
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


# Recordings

READERS = """
#include "internal.h"
static int reads;
RW_EXPORT(test_reads) int test_reads(void) { return reads; }
int rw_ecg_read(double *leads, int samples, double rate, float *prepared, double *measured) {
  reads++;
  if (rate < 50) return RW_ECG_RATE;
  for (int i = 0; i < 12 * 1000; i++) prepared[i] = 0;
  prepared[0] = (float)leads[11 * samples];
  measured[0] = leads[0];
  measured[1] = samples / rate;
  leads[0] = 77;
  return 0;
}
int rw_image_read(float *grey, int width, int height, float *prepared, double *measured) {
  if (width < 2) return RW_IMAGE_SIZE;
  prepared[0] = grey[0];
  prepared[1] = grey[width * height - 1];
  measured[2] = width + 1000.0 * height;
  return 0;
}
void rw_image_grey(const uint8_t *pixels, int count, int stride, float *grey) {
  for (int i = 0; i < count; i++) grey[i] = pixels[stride * i] + pixels[stride * i + 1] + pixels[stride * i + 2];
}
void encoder_0_0(const float *x, float *y) { reads += 100; y[0] = x[0]; y[1] = 10 * x[0]; }
void encoder_0_1(const float *x, float *y) { y[0] = x[0] + x[1]; }
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a module of recordings alone, whose design is what was read: ECG's two embeddings, the image's, masks."""
    sets = (FeatureSet("ehr", "ehr", "always"), FeatureSet("ecg", "ecg", "ecg"), FeatureSet("image", "image", "image"))
    columns = [
        *static("x"),
        Column("ecg.first", 1, 0, "ecg", unit="mV", usual=(-1.0, 1.0)),
        Column("ecg.seconds", 1, 1, "ecg"),
        Column("image.edges", 2, 2, "image"),
    ]
    terms = (
        Term("number", 1, -1, 0.0, 1.0, fill=0.0),
        Term("number", 1, -2, 0.0, 1.0, fill=0.0),
        Term("number", 2, -3, 0.0, 1.0, fill=0.0),
        Term("number", 1, 1, 0.0, 1.0, fill=0.0),
        Term("number", 2, 3, 0.0, 1.0, fill=0.0),
    )
    nothing = torch.nn.Identity()
    encoders = (Encoder("ecg", 1, 0, 2, nothing), Encoder("image", 2, 2, 1, nothing))
    weights = 10.0 ** -np.array([[1, 2, 3, 4, 5, 6, 7]])
    model = Cox(weights, np.zeros((1, 7)), [(np.array([1.0]), np.array([1.0]))])
    of = recipe(
        [number("x")],
        columns,
        sets=sets,
        members=[Member(terms, (1, 2), 3, encoders, model)],
        ecg=EcgFeatures(modality="ecg", sampling_rate=100, seconds=10.0),
        image=ImageFeatures(modality="image", size=32),
    )
    probe = "RW_EXPORT(test_design) const double *test_design(void) { return rw_memory.design; }\n"
    return deployed(of, tmp_path_factory.mktemp("recorded"), readers=READERS + probe)


def design_of(module):
    return module.host.read(module.host.call("test_design"), 7).tolist()


def leads(first=0.5, last=2.0):
    some = np.zeros((12, 500))
    some[0, 0], some[11, 0] = first, last
    return some


def test_modalities_are_there_with_their_recordings(recorded):
    recorded.set_patient({})
    assert recorded.predict().absent == ("ecg", "image")
    assert design_of(recorded) == [0.0] * 7
    recorded.set_ecg(leads(), 250.0)
    result = recorded.predict(contributions=False)
    assert design_of(recorded) == [2.0, 20.0, 0.0, 0.5, 0.0, 1.0, 0.0]
    assert result.absent == ("image",)
    np.testing.assert_array_equal(result.columns, [np.nan, 0.5, 2.0, np.nan])
    # What the patient lacks as a whole is absent, not imputed.
    assert result.imputed == ("x",)
    recorded.set_image(np.array([[1.0, 2.0, 3.0]]))
    recorded.predict(contributions=False)
    assert design_of(recorded) == [2.0, 20.0, 4.0, 0.5, 1003.0, 1.0, 1.0]
    recorded.set_patient({})
    recorded.predict()
    assert design_of(recorded) == [0.0] * 7


def test_recordings_are_read_once(recorded):
    recorded.set_patient({"values": {"x": 1.0}})
    before = recorded.host.call("test_reads")
    recorded.set_ecg(leads(), 250.0)
    first = recorded.predict()
    assert dict(first.contributions).keys() == {"x", "ecg"}
    recorded.host.call("rw_use_ecg", 0)
    alone = recorded.predict(contributions=False)
    assert alone.absent == ("ecg", "image")
    assert dict(first.contributions)["ecg"] == pytest.approx(first.risks[0, -1] - alone.risks[0, -1], rel=1e-12)
    recorded.host.call("rw_use_ecg", 1)
    np.testing.assert_array_equal(recorded.predict().risks, first.risks)
    # Read once, encoded once.
    assert recorded.host.call("test_reads") == before + 101
    recorded.set_ecg(leads(last=3.0), 250.0)
    recorded.predict()
    assert design_of(recorded)[0] == 3.0


def test_a_recording_that_cannot_be_read_is_told_each_time(recorded):
    recorded.set_patient({})
    recorded.set_ecg(leads(), 20.0)
    for _ in range(2):
        with pytest.raises(PatientError, match="ecg: its sampling rate is outside 50 to 10,000 Hz"):
            recorded.predict()
    recorded.set_ecg(leads(first=5.0), 500.0)
    (warning,) = recorded.predict().warnings
    assert (warning.input, warning.message[:16]) == ("ecg.first", "5 mV is unusual:")
    recorded.set_image(np.ones((4, 1)))
    with pytest.raises(PatientError, match="image: it has less than 2"):
        recorded.predict()


def test_colours_become_greys(recorded):
    colours = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    recorded.set_patient({})
    recorded.set_image(colours)
    recorded.predict()
    assert design_of(recorded)[2] == 0 + 1 + 2 + 20 + 21 + 22
    recorded.set_image(colours[:, :, :3])
    recorded.predict()
    assert design_of(recorded)[2] == 0 + 1 + 2 + 20 + 21 + 22


def test_sizes_are_refused(recorded, module):
    recorded.reset()
    assert recorded.host.call("rw_ecg", 150_000, 500.0)
    assert not recorded.host.call("rw_ecg", 150_001, 500.0)
    assert not recorded.host.call("rw_ecg", 0, 500.0)
    assert not recorded.host.call("rw_image", 16_385, 10, 0)
    assert not recorded.host.call("rw_image", 10, 10, 3)
    # More than the host lets it have.
    assert not recorded.host.call("rw_image", 16_384, 16_384, 0)
    with pytest.raises(PatientError, match="longer than"):
        recorded.set_ecg(np.zeros((12, 150_001)), 500.0)
    for wrong in (np.zeros((11, 100)), np.full((12, 100), np.inf), np.zeros((12, 0)), np.zeros(12)):
        with pytest.raises(PatientError, match="12 leads"):
            recorded.set_ecg(wrong, 500.0)
    for wrong in (np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), np.zeros(4), np.zeros((0, 3))):
        with pytest.raises(PatientError, match="height by width"):
            recorded.set_image(wrong)
    with pytest.raises(PatientError, match="reads none"):
        module.set_ecg(leads(), 500.0)
    with pytest.raises(PatientError, match="reads none"):
        module.set_image(np.zeros((2, 2)))
