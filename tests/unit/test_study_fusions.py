from copy import deepcopy

import pytest
from study_mistakes import STUDY

from riskweave.study.study import parse_study

MODELS = {**STUDY["models"], "net": {"kind": "pmf"}, "all": {"kind": "multi_endpoint"}}


@pytest.mark.parametrize(
    ("sets", "model", "fusion"),
    [
        (["labs"], "cox", "late"),
        (["labs", "ecg"], "forest", "late"),
        (["labs", "ecg"], "net", "attention"),
        (["labs", "ecg"], "net", "joint"),
        (["ecg"], "net", "joint"),
        (["labs", "ecg"], "all", "early"),
        (["labs", "ecg"], "all", "attention"),
    ],
)
def test_what_goes_together_is_allowed(sets, model, fusion):
    config = deepcopy(STUDY) | {"models": MODELS}
    config["experiments"]["all"] = {"feature_sets": sets, "models": [model], "fusion": fusion}
    study = parse_study(config)
    name = f"all.{model}" if fusion == "early" else f"all.{model}.{fusion}"
    assert study.experiment("mi", name).fusion == fusion


def test_a_fusion_of_the_study_has_its_settings():
    config = deepcopy(STUDY) | {"fusions": {"shrunken": {"kind": "late", "penalty": 0.1}}}
    config["experiments"]["all"] = {"feature_sets": ["labs", "ecg"], "models": ["cox"], "fusion": "shrunken"}
    study = parse_study(config)
    assert study.fusion(study.experiment("mi", "all.cox.shrunken").fusion).penalty == 0.1


def test_products_need_two_modalities_in_some_subset():
    """All subsets of labs and ECG are three experiments, of which one has products."""
    config = deepcopy(STUDY) | {"fusions": {"crossed": {"kind": "early", "products": 4}}}
    config["experiments"]["all"] = {"feature_sets": ["labs", "ecg"], "models": ["cox"], "fusion": "crossed"}
    config["experiments"]["each"] = {"all_subsets_of": ["labs", "ecg"], "models": ["cox"], "fusion": "crossed"}
    crossed = [one.name for one in parse_study(config).matrix() if one.fusion == "crossed"]
    assert crossed == ["all.cox.crossed", "labs.cox.crossed", "ecg.cox.crossed", "labs+ecg.cox.crossed"]
    config["fusions"]["crossed"]["products"] = 0
    config["experiments"]["all"]["feature_sets"] = ["labs"]
    assert parse_study(config)
