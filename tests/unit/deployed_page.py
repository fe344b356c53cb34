"""A small model with all that a page can show: every kind of input, an ECG, a picture, two causes, two members."""

import hashlib
import json
from dataclasses import replace

import numpy as np
from deployed import category, events, number, recipe, schema

from riskweave.deployment.generate import build_module
from riskweave.deployment.golden import golden_patients, with_outputs
from riskweave.deployment.page import build_page
from riskweave.deployment.recipe import Column, Cox, FeatureSet, Member, Term, Unit
from riskweave.deployment.runtime.golden import decode_ecg, decode_image
from riskweave.deployment.runtime.module import Module
from riskweave.modalities.ecg import LEADS
from riskweave.modalities.ecg_measurements import MEASUREMENTS
from riskweave.modalities.image_measurements import MEASUREMENTS as IMAGE_MEASUREMENTS
from riskweave.study.features import EcgFeatures, ImageFeatures

TIMES = tuple(float(day) for day in (183, 365, 548, 731, 913, 1096, 1279, 1461, 1644, 1826))
HORIZONS = (1096.0, 1826.0)
TYPICAL = (0, 1, 2, 3, 4, 5, 16, 17)

UMOL = Unit("µmol/L", "umol/L", 0.0113096)
INPUTS = (
    number("age", units=(Unit("years", "a"),), limits=(0.0, 120.0), usual=(41.0, 84.0), typical=62.0, required=True),
    category("sex", ["female", "male"], required=True),
    number("bmi", units=(Unit("kg/m2", "kg/m2"),), limits=(8.0, 120.0), usual=(18.4, 42.1), typical=26.5),
    events("LAB//CREATININE", ["LAB//CREATININE$"], units=(Unit("mg/dL", "mg/dL"), UMOL), limits=(0.05, 30.0),
           usual=(0.55, 2.4), typical=0.93),
    events("VITAL//SBP", ["VITAL//SBP$"], units=(Unit("mmHg", "mm[Hg]"),), limits=(40.0, 320.0), usual=(96.0, 182.0),
           typical=131.0, window=365.0),
    events("ICD10//I10", ["ICD10//I10$"], units=(), values=False),
    events("ICD10//E11", ["ICD10//E11"], units=(), values=False, window=730.0),
)  # fmt: skip
NAMES = {
    "age": ("Age", "Alter"), "sex": ("Sex", "Geschlecht"), "bmi": ("Body mass index", "Body-Mass-Index"),
    "female": ("female", "weiblich"), "male": ("male", "männlich"),
    "LAB//CREATININE": ("Creatinine in serum", "Kreatinin im Serum"),
    "VITAL//SBP": ("Systolic blood pressure", "Systolischer Blutdruck"),
    "ICD10//I10": ("Hypertension (ICD-10 I10)", "Hypertonie (ICD-10 I10)"),
    "ICD10//E11": ("Type 2 diabetes (ICD-10 E11)", "Typ-2-Diabetes (ICD-10 E11)"),
    "mi": ("First acute myocardial infarction", "Erster akuter Herzinfarkt"),
    "competing": ("Death from another cause first", "Tod aus anderer Ursache vorher"),
}  # fmt: skip


def _columns():
    made = [
        Column("ehr.age", 0, 0, "static", unit="years", description="Age"),
        Column("ehr.sex", 0, 1, "static", description="Sex", categories=("female", "male")),
        Column("ehr.bmi", 0, 2, "static", unit="kg/m2", description="Body mass index"),
        Column("ehr.creatinine:last", 0, 3, "last", unit="mg/dL", description="Last value"),
        Column("ehr.sbp:mean@365d", 0, 4, "mean", window=365.0, unit="mmHg", description="Mean of the values"),
        Column("ehr.i10:ever", 0, 5, "ever", description="1 when there is such an event, else 0"),
        Column("ehr.e11:count@730d", 0, 6, "count", window=730.0, unit="events", description="Number of events"),
    ]
    for place, (name, unit, text) in enumerate(MEASUREMENTS):
        if place in TYPICAL:
            usual = (48.0, 118.0) if name == "heart_rate" else (-np.inf, np.inf)
            made.append(Column(f"ecg.{name}", 1, place, "ecg", unit=unit, description=text, usual=usual))
    for place, (name, unit, text) in enumerate(IMAGE_MEASUREMENTS[:6]):
        made.append(Column(f"image.{name}", 2, place, "image", unit=unit, description=text))
    return made


def _member(columns, shift):
    about = {"ehr.age": (62.0, 11.0, 0.55), "ehr.bmi": (26.5, 4.6, 0.12), "ehr.creatinine:last": (0.95, 0.4, 0.3),
             "ehr.sbp:mean@365d": (131.0, 18.0, 0.2), "ehr.i10:ever": (0.4, 0.5, 0.15),
             "ehr.e11:count@730d": (0.3, 0.9, 0.18), "ecg.heart_rate": (72.0, 14.0, 0.2)}  # fmt: skip
    terms, weights = [], []
    for place, column in enumerate(columns):
        modality = column.feature_set
        if column.made == "static" and column.categories:
            terms.append(Term("category", modality, place, 0.5, 0.5, categories=(1,)))
            weights.append(0.25)
            continue
        mean, scale, weight = about.get(column.name, (0.0, 1.0, 0.02))
        terms.append(
            Term("number", modality, place, mean, scale, lower=mean - 5 * scale, upper=mean + 5 * scale, fill=mean)
        )
        weights.append(weight)
    masks = (1, 2)
    target = np.array([*weights, 0.1, -0.1]) + shift
    other = np.array([0.8 if column.name == "ehr.age" else 0.0 for column in columns] + [0.0, 0.0])
    days = np.array(TIMES)
    baselines = [(days, 2.2e-5 * days), (days, 1.1e-5 * days)]
    shape = (2, len(target))
    return Member(tuple(terms), masks, 0, (), Cox(np.stack([target, other]), np.zeros(shape), baselines))


def page_recipe():
    """Return the recipe."""
    columns = _columns()
    sets = (FeatureSet("ehr", "ehr", "always"), FeatureSet("ecg", "ecg", "ecg"), FeatureSet("image", "image", "image"))
    made = recipe(
        INPUTS, columns, sets=sets, members=(_member(columns, 0.0), _member(columns, 0.02)), causes=("mi", "competing"),
        times=TIMES, ecg=EcgFeatures(modality="ecg", encoder=None),
        image=ImageFeatures(modality="image", size=64, measurements=True, encoder=None),
    )  # fmt: skip
    return replace(made, horizons=HORIZONS, study="demo", endpoint="mi", experiment="ehr+ecg+image.cox")


def _texts(name):
    english, german = NAMES[name]
    return {"en": english, "de": german}


def page_schema(of):
    """Return schema.json of the recipe."""
    made = schema(of)
    for given, column in zip(made["columns"], of.columns, strict=True):
        given |= {"made": column.made, "description": column.description}
    for given, asked in zip(made["inputs"], of.inputs, strict=True):
        given |= {"label": _texts(asked.name), "description": {}}
        given |= {"categories": [{"name": name, "label": _texts(name)} for name in asked.categories]}
    title = {"en": "Risk of a first myocardial infarction", "de": "Risiko eines ersten Herzinfarkts"}
    return made | {
        "abi": 2,
        "title": title,
        "question": "Do an ECG and a chest radiograph add to the health record?",
        "target": _texts("mi"),
        "causes": [{"name": name, "label": _texts(name)} for name in of.causes],
        "made_by": "ensemble",
        "intended_use": {"en": "Research on cardiovascular risk.", "de": "Forschung zum Herz-Kreislauf-Risiko."},
        "not_for": {"en": "Decisions on single patients.", "de": "Entscheidungen über einzelne Personen."},
        "ecg": {"leads": list(LEADS), "rate": 100, "seconds": 10.0, "window": 365, "modality": "ecg"},
        "image": {"size": 64, "window": None, "modality": "image"},
    }


def give(module, golden):
    """Give a golden patient to the module and return its result."""
    module.set_patient(golden["patient"])
    if golden["ecg"]:
        module.set_ecg(decode_ecg(golden["ecg"]), golden["ecg"]["rate"])
    if golden["image"]:
        module.set_image(decode_image(golden["image"]))
    return module.predict()


class Bundle:
    """What a page is made of, and the running module to compare with."""

    def __init__(self, folder):
        of = page_recipe()
        self.schema = json.loads(json.dumps(page_schema(of)))
        self.wasm = build_module(of, folder)
        self.module = Module(self.wasm, self.schema)
        patients = golden_patients(self.schema, count=4)
        self.golden = with_outputs(patients, [give(self.module, one).risks for one in patients])
        self.facts = {"version": "0.1.0", "wasm_sha256": hashlib.sha256(self.wasm).hexdigest()}

    def page(self, **changed):
        """Return the page, with other parts where they are given."""
        parts = {name: changed.get(name, getattr(self, name)) for name in ("schema", "wasm", "golden", "facts")}
        return build_page(**parts)
