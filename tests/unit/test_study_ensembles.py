from copy import deepcopy

import pytest
from study_mistakes import STUDY

from riskweave.errors import StudyError
from riskweave.study.study import parse_study


def study(models, used=("cox",)):
    config = deepcopy(STUDY)
    config["models"] |= models
    config["experiments"] = {"age_sex": {"feature_sets": ["age_sex"], "models": ["cox", *used]}}
    config["experiments"]["age_sex"]["models"] = list(dict.fromkeys(config["experiments"]["age_sex"]["models"]))
    config.pop("objectives")
    return config


def stacked(*members):
    return {"kind": "stacked", "members": list(members)}


def test_an_ensemble_of_models_of_the_study_is_allowed():
    found = parse_study(study({"ridge": {"kind": "cox"}, "both": stacked("cox", "ridge")}, used=["both"]))
    assert list(found.members("both")) == ["cox", "ridge"]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            {"both": stacked("cox", "forrest")},
            r"models.both.members: there is no model 'forrest'. Did you mean 'forest'",
        ),
        ({"both": stacked("cox", "cox")}, "models.both.members: names cox twice"),
        (
            {"both": stacked("cox", "forest"), "more": stacked("cox", "both")},
            "both is an ensemble .kind stacked. itself",
        ),
    ],
)
def test_impossible_members_are_named(models, message):
    with pytest.raises(StudyError, match=message):
        parse_study(study(models))


def test_models_that_need_an_extra_are_found_also_as_members(monkeypatch):
    monkeypatch.setattr("riskweave.study.ensembles.find_spec", lambda name: None if name == "sksurv" else True)
    models = {"boost": {"kind": "gradient_boosting"}, "both": stacked("cox", "boost")}
    assert parse_study(study(models))
    for used in (["boost"], ["both"]):
        with pytest.raises(StudyError, match=r"models.boost: kind gradient_boosting needs scikit-survival") as error:
            parse_study(study(models, used=used))
        assert "forest:" not in str(error.value)
