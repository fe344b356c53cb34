"""Words of a study in the schema of a compiled model: the same, whenever they are put in."""

from riskweave.deployment.texts import Texts, with_texts

SCHEMA = {
    "endpoint": "mi",
    "title": {"en": "Risk of mi", "de": "Risk of mi"},
    "causes": [{"name": "mi", "label": {"en": "mi", "de": "mi"}}, {"name": "competing_1", "label": {"en": "death"}}],
    "inputs": [
        {"name": "age", "kind": "number", "label": {"en": "Age", "de": "Alter"}, "description": {}, "limits": [0, 120]},
        {"name": "bp", "kind": "number", "label": {"en": "Bp", "de": "Bp"}, "description": {}},
        {"name": "bp (events)", "kind": "events", "label": {"en": "Bp", "de": "Bp"}, "description": {}},
    ],
}


def test_what_is_told_is_in_the_schema_and_nothing_else_changes():
    words = {
        "bp": {"label": {"en": "Glucose"}, "description": {"en": "Fasting."}},
        "age": {"label": {}, "description": {}},
    }
    texts = Texts(question="Who?", title={"en": "T"}, target={"en": "an infarction", "de": "einen"}, inputs=words)
    found = with_texts(SCHEMA, texts)
    assert found["title"] == {"en": "T", "de": "T"}
    assert found["causes"][0]["label"] == found["target"] == {"en": "an infarction", "de": "einen"}
    assert found["causes"][1] == SCHEMA["causes"][1]
    assert found["inputs"][0] == SCHEMA["inputs"][0]
    for place in (1, 2):
        assert found["inputs"][place]["label"] == {"en": "Glucose", "de": "Glukose"}
        assert found["inputs"][place]["description"] == {"en": "Fasting."}
        assert found["inputs"][place]["name"] == SCHEMA["inputs"][place]["name"]
    assert SCHEMA["inputs"][1]["label"]["en"] == "Bp"


def test_without_words_names_and_the_endpoints_description_do():
    found = with_texts(SCHEMA, Texts(description="First infarction; death competes."))
    assert found["target"] == {"en": "First infarction", "de": "First infarction"}
    assert found["title"]["en"] == "Risk of mi"
    assert with_texts(SCHEMA, Texts())["target"]["en"] == "mi"


def test_a_name_that_the_model_does_not_ask_for_is_warned_about(caplog):
    with_texts(SCHEMA, Texts(inputs={"agee": {"label": {"en": "Age"}}}))
    assert "asks for no 'agee'. Did you mean 'age'" in caplog.text
