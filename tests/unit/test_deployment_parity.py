"""The comparison of module and pipeline: what stops a bundle, and what does not."""

import numpy as np
import pandas as pd
import pytest

from riskweave.deployment.parity import MOST, TOLERANCE, ParityError, check_parity
from riskweave.deployment.patients import _plausible
from riskweave.deployment.read import _terms
from riskweave.deployment.recipe import Column
from riskweave.study.ehr import EventFeatures
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable


def risks(n: int = 300) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 0.4, (n, 2, 3))


def check(found, wanted, rounding=0.0, refused=None):
    some = [0, 1]
    return check_parity(found, wanted, double=wanted[some] + rounding, some=some, refused=refused or {})


def test_rounding_passes_and_more_does_not():
    wanted = risks()
    found = check(wanted + 2e-7, wanted)
    assert found.allowed == TOLERANCE
    assert found.largest == pytest.approx(2e-7, rel=1e-3)
    off = wanted.copy()
    off[5, 1, 2] += 2e-6
    with pytest.raises(ParityError, match=r"1 of 300 subjects differ by more than 1.0e-06"):
        check(off, wanted)


def test_what_the_pipeline_rounds_is_allowed_but_never_much():
    wanted = risks()
    assert check(wanted + 3e-6, wanted, rounding=1e-6).allowed == pytest.approx(4e-6)
    with pytest.raises(ParityError, match="differ by more than"):
        check(wanted + 2 * MOST, wanted, rounding=0.02)


def test_few_may_be_refused_and_many_not():
    wanted, found = risks(), risks()
    found[:3] = np.nan
    assert check(found, wanted, refused={"age": 3}).refused == 3
    found[:4] = np.nan
    with pytest.raises(ParityError, match=r"refuses 4 of 300 subjects of the study \(age: 4\)"):
        check(found, wanted, refused={"age": 4})


def test_implausible_values_are_events_without_a_value_as_in_the_pipeline():
    blocks = [
        EventFeatures(codes=["LAB//K$"], aggregates=["last"], unit="mmol/L", convert={"mg/dL": 0.25}, range=(2, 8)),
        EventFeatures(codes=["LAB//"], by_code=True, aggregates=["max"], range=(1, 7)),
    ]
    assert _plausible("LAB//K", "mmol/L", blocks) == (2, 7)
    assert _plausible("LAB//K", "mg/dL", blocks[:1]) == (8, 32)
    assert _plausible("LAB//NA", "", blocks) == (1, 7)
    assert _plausible("VITAL//SBP", "", blocks) == (-np.inf, np.inf)


def test_a_record_of_categories_alone_has_terms():
    people = pd.Index([f"p{number}" for number in range(200)], dtype=object)
    table = FeatureTable("s", "ehr", pd.DataFrame({"sex": ["f", "m"] * 100}, index=people), categorical=("sex",))
    design = DesignMatrix().fit([table], people)
    column = Column("s.sex", 0, 0, "static", categories=("f", "m"))
    found = _terms(design, {"s.sex": 0}, [column], ["ehr"])
    assert [(term.kind, term.categories) for term in found] == [("category", (0,))]
