"""The module's arithmetic against the pipeline's: aggregates, designs, Cox models and heads; and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch
from deployed import PROBE, category, deployed, events, number, recipe, static
from test_modalities_ehr import INDEX, make, write

from riskweave.deployment.read import _terms
from riskweave.deployment.recipe import Column, Cox, FeatureSet, Member, Network, Term, Unit
from riskweave.study.features import AGGREGATES
from riskweave.survival.cox import CauseSpecificCox
from riskweave.survival.heads import make_head
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable

NUMBERS = [name for name in AGGREGATES if name != "category"]
EXACT = {"rtol": 1e-12, "atol": 0.0}


# Aggregates


def history(rng, subjects=60):
    """Return random events: repeated days and values, undated ones, none, several codes and units, implausible ones."""
    rows = []
    for subject in range(subjects):
        for _ in range(rng.integers(0, 12)):
            code = rng.choice(["LAB//A", "LAB//B//1", "LAB//B//2", "ICD10//I10"])
            day = None if rng.random() < 0.1 else float(rng.choice([0.0, 0.25, 3.375, 30.0, 29.75, 400.0, 5000.125]))
            value = rng.choice([np.nan, 1.5, 2.25, 1000.0, rng.normal(5, 2)])
            unit = rng.choice(["mg", "g"]) if code == "LAB//A" else None
            value = np.nan if code == "ICD10//I10" else value
            rows.append((f"{subject:03}", day, code, float(np.float32(value)), unit))
    return pd.DataFrame(rows, columns=["subject_id", "days", "code", "value", "unit"])


BLOCKS = [
    {"codes": ["LAB//A"], "aggregates": NUMBERS, "unit": "mg", "convert": {"g": 100.0}, "range": (0.5, 900.0)},
    {"codes": ["LAB//A$"], "name": "near", "aggregates": NUMBERS, "unit": "mg", "convert": {"g": 100.0}, "window": 30},
    {"codes": ["LAB//B"], "aggregates": NUMBERS},
    {"codes": ["ICD10//I10"], "aggregates": ["ever", "count", "time_since"]},
]
INPUTS = [
    events("LAB//A", ["LAB//A$"], units=(Unit("mg", "mg"), Unit("g", "g", 100.0))),
    events("LAB//B", ["LAB//B"]),
    events("ICD10//I10", ["ICD10//I10"], units=(), values=False),
]


def event_columns():
    made = [Column(f"LAB//A:{name}", 0, 0, name, limits=(0.5, 900.0)) for name in NUMBERS]
    made += [Column(f"near:{name}@30d", 0, 0, name, window=30.0) for name in NUMBERS]
    made += [Column(f"LAB//B:{name}", 0, 1, name) for name in NUMBERS]
    return made + [Column(f"ICD10//I10:{name}", 0, 2, name) for name in ("ever", "count", "time_since")]


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    return deployed(recipe(INPUTS, event_columns()), tmp_path_factory.mktemp("counting"))


def as_patient(rows):
    return {
        "events": [
            {
                "code": row.code,
                "days_before": None if np.isnan(row.days) else row.days,
                "value": None if np.isnan(row.value) else row.value,
                "unit": row.unit,
            }
            for row in rows.itertuples()
        ]
    }


def test_aggregates_are_the_pipelines(counting, tmp_path):
    rng = np.random.default_rng(1)
    found = history(rng)
    subjects = pd.DataFrame({"subject_id": [f"{place:03}" for place in range(60)], "index_time": INDEX})
    # pandas rounds what stands in the memory of missing values, and warns where that is large.
    times = (INDEX - pd.to_timedelta(found["days"].fillna(0), unit="D")).where(found["days"].notna())
    table = found.assign(time=times)[["subject_id", "time", "code", "value"]]
    write(tmp_path, subjects, table.to_numpy().tolist(), unit=found["unit"])
    expected, _ = make(tmp_path, events=BLOCKS)
    assert list(expected.columns) == [each["name"] for each in counting.schema["columns"]]
    assert expected.notna().sum().min() > 5
    # In any order: the module sorts. Of several codes or units sums are made in another order.
    shuffled = found.sample(frac=1.0, random_state=2)
    for subject, row in expected.iterrows():
        counting.set_patient(as_patient(shuffled[shuffled["subject_id"] == subject]))
        np.testing.assert_allclose(
            counting.predict(contributions=False).columns, row.to_numpy(), rtol=1e-11, atol=1e-12
        )


def test_mean_of_equal_values_is_the_value(counting):
    some = [{"code": "LAB//B//1", "days_before": day, "value": 0.1} for day in range(7)]
    counting.set_patient({"events": some})
    columns = dict(zip(NUMBERS, counting.predict().columns[2 * len(NUMBERS) :], strict=False))
    assert columns["mean"] == 0.1
    assert columns["sd"] == 0.0
    assert columns["slope"] == 0.0


def test_values_at_one_time_have_no_slope(counting):
    some = [{"code": "LAB//B//1", "days_before": 3.0, "value": value} for value in (1.0, 2.0)]
    counting.set_patient({"events": some})
    columns = dict(zip(NUMBERS, counting.predict().columns[2 * len(NUMBERS) :], strict=False))
    assert np.isnan(columns["slope"])
    # Of several at one instant the largest.
    assert columns["last"] == 2.0


# Designs


SITES = np.array(["a", "b", "c", "d", "e", "f", None], dtype=object)


def tables(rng, count):
    """Return two feature sets of one modality, a further one that some lack, and one of columns that do not vary."""
    index = pd.Index([f"{place:04}" for place in range(count)], name="subject_id")
    bmi = rng.normal(27, 5, count)
    first = pd.DataFrame(
        {
            "age": rng.normal(60, 10, count),
            "bmi": np.where(rng.random(count) < 0.3, np.nan, bmi),
            "copy": 2.0 * bmi + 1.0,
            "smoker": rng.integers(0, 2, count).astype(float),
            "same": 1.0,
            "sex": rng.choice(["female", "male"], count),
            "site": rng.choice(SITES, count, p=[0.4, 0.3, 0.1, 0.002, 0.002, 0.002, 0.194]),
        },
        index=index,
    )
    second = pd.DataFrame({"lab": np.exp(rng.normal(0, 2, count))}, index=index)
    third = pd.DataFrame({"walk": rng.normal(400, 90, count), "pain": rng.normal(0, 1, count)}, index=index)
    third.loc[rng.random(count) < 0.2, "pain"] = np.nan
    fourth = pd.DataFrame({"flat": 3.0}, index=index)
    return [
        FeatureTable("base", "ehr", first, categorical=("sex", "site")),
        FeatureTable("labs", "ehr", second),
        FeatureTable("tests", "function", third[rng.random(count) < 0.7]),
        FeatureTable("flat", "other", fourth),
    ]


ASKED = ["age", "bmi", "copy", "smoker", "same", "sex", "site", "lab", "walk", "pain", "flat"]
CATEGORIES = {"sex": ("female", "male"), "site": ("a", "b", "c", "other")}
OF_SET = {"lab": 1, "walk": 2, "pain": 2, "flat": 3}
SETS = (
    FeatureSet("base", "ehr", "always"),
    FeatureSet("labs", "ehr", "measured"),
    FeatureSet("tests", "function", "measured"),
    FeatureSet("flat", "other", "measured"),
)


def fitted_recipe(design):
    """Return the recipe of a design, and a Cox model that does nothing."""
    inputs = [category(name, CATEGORIES[name]) if name in CATEGORIES else number(name) for name in ASKED]
    columns = [
        Column(f"{SETS[place].name}.{name}", place, number_, "static", categories=CATEGORIES.get(name, ()))
        for number_, name in enumerate(ASKED)
        for place in [OF_SET.get(name, 0)]
    ]
    modalities = ("ehr", "function", "other")
    terms = _terms(design, {each.name: place for place, each in enumerate(columns)}, columns, modalities)
    masks = tuple(modalities.index(name) for name in design.masks_)
    zeros = np.zeros((1, len(terms) + len(masks)))
    member = Member(terms, masks, 0, (), Cox(zeros, zeros, [(np.zeros(0), np.zeros(0))]))
    return recipe(inputs, columns, sets=SETS, members=[member])


def test_design_is_the_pipelines(tmp_path):
    rng = np.random.default_rng(3)
    train = tables(rng, 2500)
    design = DesignMatrix().fit(train, train[0].frame.index)
    assert "has_function" in design.columns_
    assert "base.site=other" in design.columns_
    assert "base.bmi=missing" in design.columns_
    module = deployed(fitted_recipe(design), tmp_path, probe=PROBE)
    # New people, some further out than any of the training rows, and a category that nobody had.
    fresh = tables(rng, 80)
    fresh[0].frame["age"] *= rng.choice([0.1, 1.0, 10.0], 80)
    fresh[0].frame.loc[rng.random(80) < 0.1, "site"] = "unheard"
    expected = design.design(fresh, fresh[0].frame.index).values  # noqa: PD011 - no table of pandas
    for row, subject in zip(expected, fresh[0].frame.index, strict=True):
        values = {
            name: value
            for table in fresh
            if subject in table.frame.index
            for name, value in table.frame.loc[subject].items()
            if pd.notna(value)
        }
        if values.get("site") not in (None, "a", "b", "c"):
            values["site"] = "other"
        module.set_patient({"values": values})
        result = module.predict(contributions=False)
        found = module.host.read(module.host.call("test_design"), len(row))
        np.testing.assert_allclose(found, row, **EXACT)
        assert ("function" in result.absent) == (subject not in fresh[2].frame.index)
        assert ("base.bmi" in result.imputed) == ("bmi" not in values)


# Models


def identity(count, name):
    """Return a network in C that hands on its input."""
    return f"void {name}(const float *x, float *y) {{ for (int i = 0; i < {count}; i++) y[i] = x[i]; }}\n"


CUTS = np.array([0.0, 90.0, 200.0, 430.0, 1000.0])
TIMES = (30.0, 90.0, 365.0, 430.0, 999.0, 1826.0)
KINDS = {"logistic_hazard": {}, "pc_hazard": {}, "pmf": {}, "mtlr": {}, "deep_hit": {"alpha": 0.5, "sigma": 0.1}}


def outcomes(rng, count, causes):
    """Return days and event codes with ties and censoring."""
    time = np.ceil(rng.exponential(600, count)) + 0.0
    return time, np.where(rng.random(count) < 0.5, rng.integers(1, causes + 1, count), 0)


def cox_member(rng, columns, causes):
    """Return a fitted Cox model and its member."""
    x = rng.normal(size=(300, columns))
    time, event = outcomes(rng, 300, causes)
    if causes > 2:
        event[event == 3] = 0  # The last cause never happens.
    model = CauseSpecificCox(penalties=[0.1], causes=causes).fit(x, time, event, x, time, event)
    hazards = [each.hazard for each in model._fitted]
    zeros, never = np.zeros(columns), (np.zeros(0), np.zeros(0))
    learnt = Cox(
        np.stack([zeros if each is None else each.coefficients for each in hazards]),
        np.stack([zeros if each is None else each.means for each in hazards]),
        [never if each is None else (each.baseline.times, each.baseline.cumulative) for each in hazards],
    )
    return model, learnt


def heads(rng, causes):
    """Return connected heads of all kinds, with what they need to turn outputs into risks."""
    time, event = outcomes(rng, 400, causes)
    made = {}
    for kind, options in KINDS.items():
        made[kind] = make_head(kind, causes=causes, intervals=4, **options)
        made[kind].learnt["cuts"] = CUTS.tolist()
    made["deep_surv"] = make_head("deep_surv", causes=causes)
    made["deep_surv"].finish(rng.normal(size=(400, causes)), time, event)
    return made


@pytest.mark.parametrize("causes", [1, 2, 3])
def test_models_are_the_pipelines(causes, tmp_path):
    rng = np.random.default_rng(causes)
    columns = causes * (len(CUTS) - 1)
    cox, learnt = cox_member(rng, columns, causes)
    networks = heads(rng, causes)
    plain = tuple(Term("number", 0, place, 0.0, 1.0, fill=0.0) for place in range(columns))
    models = [learnt] + [Network(torch.nn.Identity(), kind, CUTS, head.learnt) for kind, head in networks.items()]
    names = [f"x{place}" for place in range(columns)]
    of = recipe(
        [number(name) for name in names],
        static(*names),
        members=[Member(plain, (), 0, (), model) for model in models],
        causes=[f"cause_{k}" for k in range(causes)],
        times=TIMES,
    )
    sources = {f"network_{place + 1}": identity(columns, f"network_{place + 1}") for place in range(len(networks))}
    module = deployed(of, tmp_path, **sources)
    outputs = np.concatenate([rng.normal(-2, 2, (30, columns)), rng.normal(0, 15, (30, columns))])
    outputs = outputs.astype(np.float32).astype(np.float64)
    shaped = outputs.reshape(-1, causes, len(CUTS) - 1)
    expected = [cox.predict(outputs, list(TIMES))]
    expected += [head.incidence(shaped, np.array(TIMES)) for kind, head in networks.items() if kind != "deep_surv"]
    expected.append(networks["deep_surv"].incidence(outputs[:, :causes], np.array(TIMES)))
    for place, row in enumerate(outputs):
        module.set_patient({"values": dict(zip(names, row.tolist(), strict=True))})
        result = module.predict(contributions=False)
        assert np.array(result.risks) == pytest.approx(np.mean(result.members, axis=0), rel=1e-15)
        for wanted, found in zip(expected, result.members, strict=True):
            np.testing.assert_allclose(found, wanted[place], rtol=1e-12, atol=1e-15)


def test_a_baseline_is_no_finer_than_the_risks_need():
    from riskweave.deployment.generate import generate

    days, hazards = np.arange(1.0, 1000.0), np.arange(1.0, 1000.0) / 1000
    learnt = Cox(np.ones((1, 1)), np.zeros((1, 1)), [(days, hazards)])
    terms = (Term("number", 0, 0, 0.0, 1.0, fill=0.0),)
    of = recipe([number("x")], static("x"), members=[Member(terms, (), 0, (), learnt)], times=(100.0, 365.25))
    text = generate(of, {})["model.c"]
    assert "days_0_0[] = {\n  100.0, 365.25,\n};" in text
    assert "hazards_0_0[] = {\n  0.1, 0.365,\n};" in text
    assert text == generate(of, {})["model.c"]
