"""The model card: what the model is, whom it was made from, how good it is, and what it must not be used for.

After the Model Facts label (Sendak et al. 2020, npj Digital Medicine 3:41) and model cards (Mitchell et al. 2019,
arXiv:1810.03993). Every number is from the study's tables; what only its authors know is said to be missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from riskweave.page import Page, Section
from riskweave.study_report.words import METRICS, estimate, number, shown

__all__ = ["CARD_FORMAT", "card_of", "card_page"]

CARD_FORMAT = 1
FEWEST = 10
RESEARCH_ONLY = (
    "For research use only. This is not a medical device: it has been examined by no authority, and no decision about "
    "a patient may rest on it."
)
NOT_TOLD = "Not told by the study's authors."
SPEAKS = {
    "refit": "The deployed model was fitted once more with everybody: most trained it, a share chose penalties and "
    "epochs. Nobody is left to test it: the figures below are "
    "those of the same recipe in cross-validation, where each person was predicted by a model that had not seen them. "
    "They speak for the recipe; a model of more people is expected to do as well or slightly better.",
    "ensemble": "The deployed risk is the mean of the models of all folds. The figures below are those of the single "
    "models, each predicting people that it had not seen. The mean is expected to do as well or slightly better.",
}
LIMITS = (
    "The figures hold for people like those of the study. In another place, time or device the risks can be wrong: "
    "check calibration there first.",
    "A prediction describes what happened to people with such values. It does not say what a treatment would change.",
    "Missing values are replaced by the median of the study, and a missing recording is left out: such a prediction is "
    "less certain than the figures below, which mix people with and without them.",
)


def card_of(
    schema: Mapping[str, Any],
    *,
    metrics: pd.DataFrame,
    calibration: pd.DataFrame,
    outcomes: pd.DataFrame,
    parity: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``card.json``.

    Parameters
    ----------
    schema : mapping
        Content of ``schema.json``.
    metrics, calibration : DataFrame
        Tables of the endpoint's evaluation.
    outcomes : DataFrame
        subject_id, time (days), event of those at risk.
    parity : mapping
        Content of ``parity.json``.
    facts : mapping
        ``wasm_sha256``, ``data``, ``commit``, ``tools``.

    Returns
    -------
    dict
        Plain values. Groups with fewer than 10 people or events are left out.
    """
    own = metrics[(metrics["experiment"] == schema["experiment"]) & metrics["metric"].isin(METRICS)]
    everyone = own[own["group"] == "all"]
    grouped = own[(own["group"] != "all") & own["metric"].isin(["harrell_c", "observed_expected"])]
    curve = calibration[calibration["experiment"] == schema["experiment"]]
    last = schema["horizons"][-1]
    return {
        "format": CARD_FORMAT,
        "title": schema["title"]["en"],
        "research_use_only": RESEARCH_ONLY,
        "intended_use": schema["intended_use"].get("en", NOT_TOLD),
        "not_for": schema["not_for"].get("en", NOT_TOLD),
        "question": schema["question"],
        "model": {
            **{key: schema[key] for key in ("study", "endpoint", "experiment", "made_by", "members", "modalities")},
            "target": schema["target"]["en"],
            "horizons_days": list(schema["horizons"]),
            **dict(facts),
        },
        "population": _population(outcomes),
        "what_speaks_for_it": SPEAKS[schema["made_by"]],
        "performance": _rows(everyone, ["metric", "horizon", "estimate", "lower", "upper"]),
        "calibration": _rows(
            curve[curve["horizon"] == last], ["horizon", "risk_group", "n", "expected", "observed", "lower", "upper"]
        ),
        "subgroups": _rows(
            grouped[grouped["horizon"] == last],
            ["group", "group_value", "n", "events", "metric", "estimate", "lower", "upper"],
        ),
        "parity": dict(parity),
        "limits": list(LIMITS),
    }


def _rows(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows as plain values; null for what is missing."""
    return [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in table[list(columns)].astype(object).to_dict("records")
    ]


def _population(outcomes: pd.DataFrame) -> dict[str, Any]:
    return {
        "people_at_risk": _told(len(outcomes)),
        "target_events": _told((outcomes["event"] == 1).sum()),
        "competing_events": _told((outcomes["event"] > 1).sum()),
        "median_follow_up_days": float(outcomes["time"].median()),
    }


def _told(count: int) -> int | None:
    """Return a count; None for one of 1 to 9 people, which is not told."""
    return None if 0 < count < FEWEST else int(count)


def card_page(card: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return ``card.html``: the card for people, one page that needs nothing else."""
    page = Page(title=card["title"], lead=f"Model card. {card['question']}", note=card["research_use_only"])
    use = page.section("Use", "use")
    use.heading("For")
    use.text(card["intended_use"])
    use.heading("Not for")
    use.text(card["not_for"])
    use.heading("Limits")
    for limit in card["limits"]:
        use.text(limit)
    _model(page.section("Model", "model"), card)
    _performance(page.section("How good it is", "performance"), card)
    _inputs(page.section("What it asks", "inputs"), schema)
    return page.render()


def _model(section: Section, card: Mapping[str, Any]) -> None:
    model, people, parity = card["model"], card["population"], card["parity"]
    years = " and ".join(f"{days / 365.25:.3g}" for days in model["horizons_days"])
    rows = {
        "Predicts": f"{model['target']}, within {years} years, where other causes of death compete",
        "Reads": ", ".join(model["modalities"]),
        "Made from": f"{_count(people['people_at_risk'])} people at risk, {_count(people['target_events'])} with the "
        f"event, {_count(people['competing_events'])} with a competing one; median follow-up "
        f"{people['median_follow_up_days'] / 365.25:.1f} years",
        "Study": model["study"],
        "Experiment": f"{model['experiment']} ({model['made_by']}, {model['members']} model(s))",
        "Fingerprint (SHA-256 of model.wasm)": model["wasm_sha256"],
        "Data": model["data"],
        "Code": model["commit"] or "no commit",
        "Equal to the pipeline": f"{parity['subjects'] - parity['refused']} people predicted by both from their raw "
        f"data; the largest difference of a risk is {parity['largest_difference']:.1e}",
    }
    section.table(pd.DataFrame({"": list(rows), " ": list(rows.values())}), text=2)


def _count(count: int | None) -> str:
    return f"fewer than {FEWEST}" if count is None else f"{count:,}"


def _performance(section: Section, card: Mapping[str, Any]) -> None:
    section.text(card["what_speaks_for_it"])
    told = pd.DataFrame(card["performance"])
    table = pd.DataFrame(
        {
            "Metric": [METRICS[name].title for name in told["metric"]],
            "What to look for": [METRICS[name].best for name in told["metric"]],
            "Years": told["horizon"].astype(float).map(lambda days: "" if pd.isna(days) else f"{days / 365.25:.3g}"),
            "Estimate (95 % interval)": _estimates(told),
        }
    )
    section.table(table, "Out-of-sample performance", text=2)
    curve = pd.DataFrame(card["calibration"])
    if len(curve):
        shares = curve[["expected", "observed", "lower", "upper"]].astype(float) * 100
        table = pd.DataFrame(
            {
                "Group of the people, by predicted risk": curve["risk_group"].astype(str),
                "People": [shown(count) for count in curve["n"]],
                "Predicted %": [number(value, 1) for value in shares["expected"]],
                "Observed % (95 % interval)": [
                    estimate(row.observed, row.lower, row.upper, 1) for row in shares.itertuples()
                ],
            }
        )
        section.table(table, "Calibration at the last horizon")
    groups = pd.DataFrame(card["subgroups"])
    if len(groups):
        table = pd.DataFrame(
            {
                "Group": groups["group"].astype(str) + ": " + groups["group_value"].astype(str),
                "Metric": [METRICS[name].title for name in groups["metric"]],
                "People": [shown(count) for count in groups["n"]],
                "Estimate (95 % interval)": _estimates(groups),
            }
        )
        section.table(table, "In groups of people, at the last horizon", text=2)


def _estimates(table: pd.DataFrame) -> list[str]:
    values = table[["estimate", "lower", "upper"]].astype(float)
    return [estimate(*row) for row in values.itertuples(index=False, name=None)]


def _inputs(section: Section, schema: Mapping[str, Any]) -> None:
    rows = []
    for asked in schema["inputs"]:
        low, high = asked.get("usual", [None, None])
        units = asked.get("units", [])
        usual = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
        unit = units[0]["label"] if units else ", ".join(each["name"] for each in asked.get("categories", []))
        needed = "required" if asked["required"] else ""
        rows.append([asked["label"]["en"], asked["name"], unit, usual, needed])
    titles = ["Input", "Name", "Unit or categories", "Usual (98 % of the people)", ""]
    section.table(pd.DataFrame(rows, columns=titles), text=5)
