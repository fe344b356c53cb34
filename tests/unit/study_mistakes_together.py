"""Mistakes in how models, fusions, searches and modalities of a study go together, and what the answer has to say."""

from study_mistakes import COLUMNS, TABLES, both, drop, put

__all__ = ["MISTAKES_TOGETHER"]

MISTAKES_TOGETHER = {
    "unknown fusion": (
        put("experiments.subsets.fusion", "erly"),
        ["experiments.subsets.fusion: there is no fusion 'erly'", "Did you mean 'early'?", "attention, late, joint"],
    ),
    "unknown fusion of the study's own": (
        both(put("fusions", {"narrow": {"kind": "late"}}), put("experiments.subsets.fusion", ["late", "narow"])),
        ["there is no fusion 'narow'", "Did you mean 'narrow'?"],
    ),
    "a built-in fusion that is another": (
        put("fusions", {"late": {"kind": "attention", "width": 4}}),
        ["fusions.late: the name belongs to kind late, and this is attention", "another name"],
    ),
    "attention without a network": (
        both(put("models.net", {"kind": "pmf"}), put("experiments.age_sex.fusion", ["early", "attention"])),
        ["experiments.age_sex.models: fusion 'attention' needs a network, and cox is kind cox. Allowed: net"],
    ),
    "attention in a study without networks": (
        put("experiments.age_sex.fusion", ["early", "attention"]),
        ["fusion 'attention' needs a network", "Allowed: none of the study's; add one, such as kind: logistic_hazard"],
    ),
    "joint without an encoder": (
        both(
            put("models.net", {"kind": "pmf"}),
            put("experiments.all", {"feature_sets": ["age_sex", "labs"], "models": ["net"], "fusion": "joint"}),
        ),
        ["experiments.all.fusion: 'joint' trains encoders, and all.net.joint has none", "with an encoder: ecg."],
    ),
    "products of one modality": (
        both(
            put("fusions", {"crossed": {"kind": "early", "products": 4}}),
            put("experiments.all", {"feature_sets": ["age_sex", "labs"], "models": ["cox"], "fusion": "crossed"}),
        ),
        ["experiments.all.fusion: 'crossed' has products: 4", "all of age_sex, labs are of one, ehr. Take 'early', or"],
    ),
    "products of one modality in all subsets": (
        both(
            put("fusions", {"crossed": {"kind": "early", "products": 4}}),
            put("experiments.all", {"all_subsets_of": ["labs"], "always": ["age_sex"], "models": ["cox"],
                                    "fusion": ["late", "crossed"]}),
        ),
        ["experiments.all.fusion: 'crossed' has products: 4", "all of labs, age_sex are of one, ehr"],
    ),
    "explanation of recordings": (
        both(
            put("feature_sets.ecg.encoder", {}),
            put("models.net", {"kind": "pmf"}),
            put("experiments.all", {"feature_sets": ["labs", "ecg"], "models": ["net"], "fusion": "joint"}),
            put("evaluation.explain", ["all.net.joint"]),
        ),
        ["evaluation.explain: 'all.net.joint' is fused jointly", "with the fusion `attention`"],
    ),
    "explanation of all endpoints": (
        both(
            put("models.all", {"kind": "multi_endpoint"}),
            put("experiments.all", {"feature_sets": ["age_sex"], "models": ["all"]}),
            put("evaluation.explain", ["all.all"]),
        ),
        ["evaluation.explain: 'all.all' is one network of all endpoints"],
    ),
    "risks of all endpoints stacked": (
        both(
            put("models.all", {"kind": "multi_endpoint"}),
            put("experiments.all", {"feature_sets": ["age_sex", "labs"], "models": ["all"], "fusion": "late"}),
        ),
        ["experiments.all.models: all (kind multi_endpoint) does not go with fusion 'late'", "early, attention"],
    ),
    "a network of all endpoints for some": (
        both(
            put("models.all", {"kind": "multi_endpoint"}),
            put("endpoints.death", {"kind": "codes", "target": ["MEDS_DEATH"], "horizons": [365]}),
            put("folds.stratify", "mi"),
            put("experiments.death", {"feature_sets": ["age_sex"], "models": ["cox"], "endpoints": ["death"]}),
            put("experiments.all", {"feature_sets": ["age_sex"], "models": ["all"], "endpoints": ["mi"]}),
        ),
        ["experiments.all.endpoints: all (kind multi_endpoint)", "and death is left out. Remove the key"],
    ),
    "a member of all endpoints": (
        both(
            put("models.all", {"kind": "multi_endpoint"}),
            put("models.both", {"kind": "stacked", "members": ["cox", "all"]}),
        ),
        ["models.both.members: all (kind multi_endpoint) predicts all endpoints at once", "kind: logistic_hazard"],
    ),
    "unknown key of a search": (
        put("models.cox.search", {"space": {"penalti": {"low": 0.1, "high": 1}}}),
        ["models.cox.search.space.penalti: a model of kind cox has no key", "Did you mean 'penalty'?", "l1_ratio"],
    ),
    "a search of a block": (
        put("models.net", {"kind": "pmf", "search": {"space": {"training": [1, 2]}}}),
        ["models.net.search.space.training: is a block. Name one of its keys", "training.learning_rate"],
    ),
    "a search of values that the key does not take": (
        put("models.net", {"kind": "pmf", "search": {"space": {"dropout": [0.1, 1.5]}}}),
        ["models.net.search.space.dropout: 1.5 is not allowed", "Allowed: number"],
    ),
    "a search between bounds that are no bounds": (
        put("models.cox.search", {"space": {"penalty": {"low": 1, "high": 0.1}}}),
        ["models.cox.search.space.penalty: low 1 is not below high 0.1"],
    ),
    "a search of orders of magnitude from 0": (
        put("models.cox.search", {"space": {"penalty": {"low": 0, "high": 1, "log": True}}}),
        ["models.cox.search.space.penalty.low: 0 has no order of magnitude", "above 0"],
    ),
    "a bound of another name": (
        put("models.cox.search", {"space": {"penalty": {"lo": 0.1, "high": 1}}}),
        ["models.cox.search.space.penalty: needs an interval, such as {low: 0.001", "or a list of 2 choices"],
    ),
    "a single value to search": (
        put("models.cox.search", {"space": {"penalty": 0.1}}),
        ["models.cox.search.space.penalty: needs an interval, such as {low: 0.001", "or a list of 2 choices"],
    ),
    "one choice to search": (
        put("models.cox.search", {"space": {"penalty": [0.1]}}),
        ["models.cox.search.space.penalty: needs an interval, such as {low: 0.001", "or a list of 2 choices"],
    ),
    "audio feature set without sounds": (
        both(put("cohort", TABLES), put("feature_sets.ecg", {"modality": "audio"})),
        ["feature_sets.ecg: modality audio needs cohort.sounds, which is not given", "remove the feature set"],
    ),
    "audio feature set of a demo cohort without": (
        put("feature_sets.ecg", {"modality": "audio"}),
        ["feature_sets.ecg: the demo cohort has no sounds unless they are asked for: give cohort.also: [audio]"],
    ),
    "text feature set of a demo cohort without": (
        put("feature_sets.ecg", {"modality": "text", "codes": ["NOTE//"]}),
        ["feature_sets.ecg: the demo cohort has no notes unless they are asked for: give cohort.also: [text]"],
    ),
    "text feature set without events": (
        both(put("cohort", TABLES | {"events": None}), put("endpoints.mi", COLUMNS), drop("feature_sets.labs"),
             drop("experiments.subsets"), drop("objectives"),
             put("feature_sets.ecg", {"modality": "text", "codes": ["NOTE//"]})),
        ["feature_sets.ecg: modality text needs cohort.events, which is not given"],
    ),
    "event sequence of a cohort without events": (
        both(put("cohort", {"source": "public", "name": "whas500"}), put("endpoints.mi", COLUMNS),
             drop("feature_sets.labs"), drop("experiments.subsets"), drop("objectives"),
             put("feature_sets.ecg", {"modality": "event_sequence", "codes": ["LAB//"]})),
        ["feature_sets.ecg: the source public has no events"],
    ),
}  # fmt: skip
