"""What a bundle asks: from the columns of feature tables to inputs, units and limits, and invented people."""

import re
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from deployed import leads_of
from pydantic import TypeAdapter
from study_mistakes import STUDY, put

from riskweave.deployment.golden import golden_patients, with_outputs
from riskweave.deployment.inputs import Asked
from riskweave.deployment.order import Order
from riskweave.deployment.people import usual_range
from riskweave.deployment.recipe import FeatureSet, Recipe
from riskweave.deployment.runtime.golden import decode_ecg, decode_image, hexes_of
from riskweave.deployment.schema import schema_of
from riskweave.deployment.told import check_told
from riskweave.deployment.units import known_units
from riskweave.errors import StudyError
from riskweave.modalities.base import Column, write_features
from riskweave.study.deployment import DEPLOYED_MODELS, DeployedInput
from riskweave.study.ehr import EhrFeatures
from riskweave.study.study import parse_study

BLOCK = TypeAdapter(EhrFeatures).validate_python({
    "modality": "ehr",
    "static": ["age", "sex"],
    "events": [
        {"codes": ["LAB//"], "by_code": True, "aggregates": ["last", "mean", "slope"]},
        {"codes": ["LAB//"], "by_code": True, "aggregates": ["last"], "window": 90},
        {
            "codes": ["ICD10//I10", "ICD10//I11$"],
            "name": "hypertension",
            "aggregates": ["ever"],
            "windows": [365, None],
        },
        {"codes": ["VITAL//WEIGHT$"], "aggregates": ["max"], "unit": "kg", "convert": {"st": 6.35}, "range": [20, 400]},
    ],
})  # fmt: skip
DESCRIBED = [
    Column("age", "ehr"),
    Column("sex", "ehr", kind="categorical"),
    Column("LAB//K:last", "ehr", unit="mmol/L"),
    Column("LAB//K:mean", "ehr", unit="mmol/L"),
    Column("LAB//K:slope", "ehr", unit="mmol/L per year"),
    Column("LAB//K:last@90d", "ehr", unit="mmol/L"),
    Column("hypertension:ever@365d", "ehr"),
    Column("hypertension:ever", "ehr"),
    Column("VITAL//WEIGHT:max", "ehr", unit="kg"),
]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made = {column.name: rng.normal(50, 5, 2000) for column in DESCRIBED}
    made["sex"] = rng.choice(["female", "male"], 2000)
    made["sex"][:3] = "unknown"
    made["LAB//K:last"][:500] = np.nan
    return pd.DataFrame(made)


@pytest.fixture(scope="module")
def asked(table):
    told = {"age": DeployedInput(limits=(18, 110)), "LAB//K": DeployedInput(units={"mg/dL": 0.2557})}
    asked = Asked(told)
    columns = asked.columns(
        "ehr", place=0, block=BLOCK, described=DESCRIBED, table=table, kept={"ehr.sex": {"female", "male"}}
    )
    return asked.inputs, columns


def test_each_code_is_asked_once_whatever_columns_it_makes(asked):
    inputs, columns = asked
    assert [each.name for each in inputs] == ["age", "sex", "LAB//K", "hypertension", "VITAL//WEIGHT"]
    found = {each.name.removeprefix("ehr."): (each.made, inputs[each.source].name, each.window) for each in columns}
    assert found["LAB//K:slope"] == ("slope", "LAB//K", np.inf)
    assert found["LAB//K:last@90d"] == ("last", "LAB//K", 90)
    assert found["hypertension:ever@365d"] == ("ever", "hypertension", 365)
    assert found["VITAL//WEIGHT:max"] == ("max", "VITAL//WEIGHT", np.inf)


def test_codes_are_whole_where_columns_go_by_code_and_prefixes_elsewhere(asked):
    by_name = {each.name: each for each in asked[0]}
    assert by_name["LAB//K"].codes == ("LAB//K$",)
    assert by_name["hypertension"].codes == ("ICD10//I10", "ICD10//I11$")
    assert not by_name["hypertension"].units
    assert by_name["hypertension"].window == np.inf


def test_units_are_those_of_the_data_of_the_study_and_of_any_quantity(asked):
    by_name = {each.name: each for each in asked[0]}
    assert [(unit.label, unit.factor) for unit in by_name["LAB//K"].units] == [
        ("mmol/L", 1.0),
        ("mg/dL", 0.2557),
        ("umol/L", 0.001),
    ]
    assert [unit.label for unit in by_name["VITAL//WEIGHT"].units] == ["kg", "st", "lb"]
    assert by_name["age"].units[0].ucum == "a"


def test_limits_are_the_studys_then_the_plausible_range_then_ten_times_the_usual(asked, table):
    by_name = {each.name: each for each in asked[0]}
    assert by_name["age"].limits == (18, 110)
    assert by_name["VITAL//WEIGHT"].limits == (20, 400)
    assert by_name["LAB//K"].limits == (0.0, pytest.approx(10 * table["LAB//K:last"].quantile(0.99), rel=1e-3))


def test_what_nobody_lacked_is_required_and_rare_categories_are_not_named(asked):
    by_name = {each.name: each for each in asked[0]}
    assert by_name["age"].required
    assert not by_name["LAB//K"].required
    assert by_name["sex"].categories == ("female", "male", "other")


def test_no_percentile_is_about_fewer_than_ten_people():
    values = pd.Series(np.arange(1000.0))
    low, high = usual_range(values)
    assert (values < low).sum() >= 9
    assert (values > high).sum() >= 9
    low, high = usual_range(values[:150])
    assert (values[:150] < low).sum() >= 9
    assert usual_range(values[:60]) == (-np.inf, np.inf)


def ask(block, described, table, told=None):
    asked = Asked(told or {})
    block = TypeAdapter(EhrFeatures).validate_python({"modality": "ehr", **block})
    asked.columns("set", place=0, block=block, described=described, table=table, kept={})
    return asked.inputs


def test_a_set_that_people_may_lack_requires_nothing(table):
    described = [Column("score", "ehr")]
    scores = pd.DataFrame({"score": table["age"]})
    assert not ask({"static": ["score"], "rows": "measured"}, described, scores)[0].required
    assert ask({"static": ["score"]}, described, scores)[0].required


def test_limits_hold_whatever_is_made_of_the_values(table):
    block = {"events": [{"codes": ["LAB//"], "by_code": True, "aggregates": ["slope"]}]}
    described = [Column("LAB//K:slope", "ehr", unit="mmol/L per year")]
    told = {"LAB//K": DeployedInput(limits=(1, 40))}
    assert ask(block, described, table[["LAB//K:slope"]], told)[0].limits == (1, 40)


def test_a_unit_that_contradicts_the_data_is_refused(table):
    block = {"events": [{"codes": ["LAB//"], "by_code": True, "aggregates": ["last"]}]}
    described = [Column("LAB//K:last", "ehr", unit="mmol/L")]
    with pytest.raises(StudyError, match=r"inputs.LAB//K.unit: 'mg/dL', but .* in 'mmol/L'"):
        ask(block, described, table[["LAB//K:last"]], {"LAB//K": DeployedInput(unit="mg/dL")})


def test_one_reading_in_two_units_is_refused(table):
    block = {
        "events": [
            {"codes": ["LAB//K"], "aggregates": ["last"], "unit": "mg/dL"},
            {"codes": ["LAB//K"], "name": "si", "aggregates": ["mean"], "unit": "mmol/L", "convert": {"mg/dL": 0.25}},
        ]
    }
    described = [Column("LAB//K:last", "ehr", unit="mg/dL"), Column("si:mean", "ehr", unit="mmol/L")]
    values = pd.DataFrame({"LAB//K:last": table["age"], "si:mean": table["age"]})
    with pytest.raises(StudyError, match=r"'si' is read in 'mg/dL' by one block of `events` and in 'mmol/L'"):
        ask(block, described, values)


def test_golden_values_lie_within_hard_limits(schema):
    narrow = {**schema, "inputs": [{**schema["inputs"][0], "limits": [70, 71]}, *schema["inputs"][1:]]}
    assert all(70 <= each["patient"]["values"]["age"] <= 71 for each in golden_patients(narrow))


def test_a_name_that_no_table_knows_is_answered(table, tmp_path):
    path = tmp_path / "table.parquet"
    values = table.assign(subject_id=[f"p{row}" for row in range(len(table))])
    write_features(values[["subject_id", *(each.name for each in DESCRIBED)]], path, DESCRIBED)
    sets, tables = {"ehr": BLOCK}, {"ehr": path}
    assert check_told(["LAB//K", "age"], sets, tables) == ["LAB//K", "VITAL//WEIGHT", "age", "hypertension", "sex"]
    for name, meant in (("LAB//K$", "LAB//K"), ("LAB//L", "LAB//K"), ("hypertensoin", "hypertension")):
        with pytest.raises(StudyError, match=re.escape(f"asks for {name!r}. Did you mean {meant!r}?")):
            check_told([name, "age"], sets, tables)


@pytest.mark.parametrize(
    ("own", "other", "value", "expected"),
    [
        ("mmHg", "kPa", 16.0, 120.01),
        ("°C", "°F", 98.6, 37.0),
        ("kg", "lb", 220.462, 100.0),
        ("mg/dL", "g/L", 1.0, 100.0),
        ("g/dL", "g/L", 145.0, 14.5),
        ("years", "months", 30.0, 2.5),
        ("cm", "in", 70.0, 177.8),
    ],
)
def test_units_of_one_dimension_convert_as_tables_say(own, other, value, expected):
    unit = next(each for each in known_units(own) if each.label == other)
    assert value * unit.factor + unit.offset == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def schema(asked):
    inputs, columns = asked
    recipe = Recipe(
        "test", "mi", "ehr.cox", ("mi", "competing_1"), (365.0, 730.0), (730.0,), tuple(inputs), tuple(columns),
        (FeatureSet("ehr", "ehr", "always"),), ("ehr",), (),
    )  # fmt: skip
    outcome = {"kind": "codes", "target": ["ICD10//I21"], "competing": ["MEDS_DEATH"], "horizons": [730],
               "description": "First infarction; death competes."}  # fmt: skip
    order = {"study": "test", "question": "?", "endpoint": "mi", "experiment": "ehr.cox", "outcome": outcome,
             "feature_sets": {"ehr": BLOCK.model_dump(mode="json")}, "deployment": {}}  # fmt: skip
    return schema_of(recipe, Order.of(order))


def test_the_schema_has_plain_numbers_null_for_infinity_and_german_where_it_is_known(schema):
    age, sex, *_ = schema["inputs"]
    assert age["label"] == {"en": "Age", "de": "Alter"}
    assert [each["label"]["de"] for each in sex["categories"]] == ["weiblich", "männlich", "anderes"]
    assert schema["target"]["en"] == "First infarction"
    assert schema["causes"][1]["label"]["en"] == "death without it"
    hypertension = next(each for each in schema["inputs"] if each["name"] == "hypertension")
    assert hypertension["window"] is None


def test_golden_patients_are_invented_within_the_usual_and_always_the_same(schema):
    patients = golden_patients(schema)
    assert patients == golden_patients(schema)
    assert set(patients[0]["patient"]["values"]) == {"age", "sex"}
    assert set(patients[1]["patient"]["values"]) == {"age", "sex"}
    assert not patients[1]["patient"]["events"]
    for patient in patients:
        low, high = schema["inputs"][0]["usual"]
        assert low <= patient["patient"]["values"]["age"] <= high
        assert patient["ecg"] is None


def test_golden_recordings_survive_their_encoding(schema):
    read = {**schema, "ecg": {"leads": []}, "image": {"size": 32}}
    patients = golden_patients(read)
    leads = leads_of(decode_ecg(patients[0]["ecg"]))
    assert leads.shape == (12, 5000)
    assert 0.05 < np.abs(leads).max() < 10
    short = leads_of(decode_ecg(patients[3]["ecg"]))
    assert np.isnan(short[7]).all()
    assert np.isnan(short[2]).sum() == 500
    assert decode_image(patients[0]["image"]).shape == (128, 128)


def test_outputs_are_kept_to_the_last_bit():
    risks = [np.array([[0.1, 1 / 3]]), np.array([[5e-324, 1.0]])]
    golden = with_outputs([{"name": "a"}, {"name": "b"}], risks)
    for told, own in zip(golden["patients"], risks, strict=True):
        found = np.array([np.frombuffer(bytes.fromhex(each), dtype=">f8")[0] for each in told["risks"]])
        np.testing.assert_array_equal(found, own.ravel())
    assert hexes_of([[1.0]]) == ["3ff0000000000000"]  # IEEE 754


LABS = {"codes": ["LAB//"], "by_code": True, "aggregates": ["last"]}
TREES = {"kind": "gradient_boosting", "min_samples_leaf": 5}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"deployment.experiments": ["ecgg.cox"]}, ["no experiment 'ecgg.cox'", "Did you mean 'ecg.cox'"]),
        ({"deployment.experiments": ["labs.forest"]}, ["'random_survival_forest'", "logistic_hazard"]),
        ({"deployment.experiments": ["ecg.cox"], "feature_sets.ecg.seconds": 600}, ["600 s of ECG", "Up to 120 s"]),
        (
            {"deployment.experiments": ["ecg.cox"], "feature_sets.ecg.most": 3},
            ["several recordings ('ecg', `most: 3`)"],
        ),
        (
            {"deployment.experiments": ["labs.forest", "ecg.forest"], "models.forest": TREES},
            ["'labs.forest' has trees with `min_samples_leaf: 5`", "From 10 on", "on the encoder of 'ecg'"],
        ),
        ({"deployment.inputs": {"age": {"limits": [90, 18]}}}, ["`limits` needs lowest < highest"]),
        ({"deployment.inputs": {"age": {"units": {"months": 0}}}}, ["finite numbers other than 0"]),
        (
            {"deployment.experiments": ["labs.cox"], "feature_sets.labs.events": [{**LABS, "minimum_subjects": 9}]},
            ["'labs.cox' would name codes of single people", "From 10 on"],
        ),
        (
            {
                "deployment.experiments": ["labs.cox"],
                "feature_sets.labs.events": [LABS, {**LABS, "aggregates": ["mean"], "window": 90, "range": [1, 9]}],
            },
            ["reads the values of 'LAB//' in two ways ('labs')", "`convert` and `range`"],
        ),
        (
            {
                "deployment.experiments": ["labs.cox"],
                "feature_sets.labs.static": ["age"],
                "feature_sets.labs.events": [{**LABS, "codes": ["LAB//"], "by_code": True}],
                "deployment.inputs": {"agee": {}, "LAB//K": {}, "ICD10//I10": {}},
            },
            [
                "asks for 'agee'. Did you mean 'age'? Allowed: age, and the codes that begin with LAB//",
                "asks for 'ICD10//I10'",
            ],
        ),
        ({"deployment.model": "mean"}, ["refit", "ensemble"]),
        ({"deployment.validation": 0.9}, ["deployment.validation"]),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_the_study(changes, parts):
    study = deepcopy(STUDY)
    study["deployment"] = {}
    for key, value in changes.items():
        put(key, value)(study)
    with pytest.raises(StudyError) as error:
        parse_study(study)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    "further",
    [
        {"codes": ["LAB//K$"], "aggregates": ["last"], "window": 90},
        {"codes": ["VITAL//"], "aggregates": ["last"], "range": [1, 9]},
        {"codes": ["LAB//K"], "aggregates": ["count"], "range": [1, 9]},
    ],
)
def test_codes_may_be_read_twice_in_the_same_way(further):
    study = deepcopy(STUDY)
    study["feature_sets"]["labs"]["events"] = [LABS, further]
    study["deployment"] = {"experiments": ["labs.cox"]}
    assert parse_study(study).deployment.experiments == ["labs.cox"]


def test_every_kind_that_can_be_deployed_is_accepted_with_the_study():
    for kind in DEPLOYED_MODELS:
        study = deepcopy(STUDY)
        study["models"]["forest"] = {"kind": kind}
        study["deployment"] = {"experiments": ["labs.forest"]}
        assert parse_study(study).deployment.experiments == ["labs.forest"]
