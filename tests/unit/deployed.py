"""Modules made of hand-written recipes, for tests: without torch, ONNX or a study."""

import numpy as np

from riskweave.deployment.compile import compile_wasm, library
from riskweave.deployment.generate import generate
from riskweave.deployment.recipe import Column, Cox, FeatureSet, Input, Member, Recipe, Term, Unit
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.runtime.stored import Stored

CORE = ("abi.c", "design.c", "events.c", "stored.c", "survival.c")

PROBE = '#include "internal.h"\nRW_EXPORT(test_design) const double *test_design(void) { return rw_memory.design; }\n'
"""Shows the design of the last member."""


def number(name, **more):
    return Input(name, "number", {"en": name}, **{"units": (Unit("", ""),), **more})


def category(name, categories, **more):
    return Input(name, "category", {"en": name}, categories=tuple(categories), **more)


def events(name, codes, **more):
    return Input(name, "events", {"en": name}, codes=tuple(codes), **{"units": (Unit("", ""),), "values": True, **more})


def recipe(inputs, columns, *, sets=None, members=None, causes=("target",), times=(365.0, 730.0), **more):
    """Return a recipe; without members one whose design is the first column as it is."""
    sets = sets or (FeatureSet("ehr", "ehr", "always"),)
    if members is None:
        nothing = (np.zeros(0), np.zeros(0))
        terms = tuple(Term("number", 0, 0, 0.0, 1.0, fill=0.0) for _ in columns[:1])
        shape = (len(causes), len(terms))
        members = (Member(terms, (), 0, (), Cox(np.zeros(shape), np.zeros(shape), [nothing] * len(causes))),)
    return Recipe(
        study="test",
        endpoint="target",
        experiment="test",
        causes=tuple(causes),
        times=tuple(times),
        horizons=(times[-1],),
        inputs=tuple(inputs),
        columns=tuple(columns),
        feature_sets=tuple(sets),
        modalities=tuple(dict.fromkeys(each.modality for each in sets)),
        members=tuple(members),
        **more,
    )


def schema(of):
    """Return what schema.json holds of a recipe, as far as the host looks at it."""

    def bounds(pair):
        return [float(each) if np.isfinite(each) else None for each in pair]

    asked = [
        {
            "name": each.name,
            "kind": each.kind,
            "required": each.required,
            "units": [vars(unit) for unit in each.units],
            "limits": bounds(each.limits),
            "usual": bounds(each.usual),
            "usual_share": each.usual_share,
            "typical": None if np.isnan(each.typical) else each.typical,
            "categories": [{"name": name} for name in each.categories],
            "codes": list(each.codes),
            "values": each.values,
            "window": each.window if np.isfinite(each.window) else None,
        }
        for each in of.inputs
    ]
    modality = [each.modality for each in of.feature_sets]
    made = [
        {
            "name": each.name,
            "input": None if each.made in {"ecg", "image"} else each.source,
            "modality": modality[each.feature_set],
            "unit": each.unit,
            "usual": bounds(each.usual),
            "usual_share": each.usual_share,
        }
        for each in of.columns
    ]
    return {
        "format": 1,
        **{key: getattr(of, key) for key in ("study", "endpoint", "experiment")},
        "causes": [{"name": name} for name in of.causes],
        **{key: list(getattr(of, key)) for key in ("times", "horizons", "modalities")},
        "members": len(of.members),
        "inputs": asked,
        "columns": made,
        "same_day": True,
        "ecg": None if of.ecg is None else {"modality": "ecg", "window": None},
        "image": None if of.image is None else {"modality": "image", "window": None},
    }


def deployed(of, folder, **sources):
    """Return the running module of a recipe; further sources by the stem of their name."""
    shared = {name: text for name, text in library().items() if name in CORE or name.endswith(".h")}
    further = {f"{name}.c": text for name, text in sources.items()}
    return Module(compile_wasm({**shared, **generate(of, further)}, folder), schema(of))


def leads_of(leads):
    """Return the leads of a recording, as readers give them, as an array (12, samples)."""
    return np.array(leads.leads() if isinstance(leads, Stored) else leads)


def static(*names, places=None, feature_set=0):
    """Return a column for each static input."""
    places = range(len(names)) if places is None else places
    return [Column(name, feature_set, place, "static") for name, place in zip(names, places, strict=True)]
