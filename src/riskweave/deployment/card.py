"""The model card: what the model is, whom it was made from, how good it is, and what it must not be used for.

After the Model Facts label (Sendak et al. 2020, npj Digital Medicine 3:41) and model cards (Mitchell et al. 2019,
arXiv:1810.03993). Every number is from the study's tables; what only its authors know is said to be missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from riskweave.deployment.people import FEWEST
from riskweave.page import Page, Section
from riskweave.study_report.words import METRICS, estimate, number, shown

__all__ = ["CARD_FORMAT", "card_of", "card_page"]

CARD_FORMAT = 1
RESEARCH_ONLY = (
    "For research use only. This is not a medical device: it has been examined by no authority, and no decision about "
    "a patient may rest on it."
)
NOT_TOLD = "Not told by the study's authors."
SPEAKS = {
    "refit": "The deployed model was fitted once more: {trained} of the people trained it, the other {held_out} chose "
    "penalties and epochs. Nobody is left to test it: the figures below are "
    "those of the same recipe in cross-validation, where each person was predicted by a model that had not seen them. "
    "They speak for the recipe, as far as the models of the folds were trained alike.",
    "ensemble": "The deployed risk is the mean of the models of all folds. The figures below are those of the single "
    "models, each predicting people that it had not seen. The mean is expected to do as well or slightly better.",
}
RECALIBRATED = (
    "Its risks are recalibrated: by an intercept and a slope for each cause, on the scale of log(-log(1 - risk)), "
    "learnt from the predictions for all people, each by a model that had not seen them. Of the figures below, "
    "concordances and AUCs are those of the models without recalibration, which leaves the order of the risks at a "
    "time as it is, but for rounding and where the risks of all causes would sum to more than 1. The others are those "
    "after a recalibration that was learnt, for each fold, from the other folds."
)
ORDER_ALONE = frozenset({"harrell_c", "uno_c", "auc"})
"""Metrics that look at the order of the risks, which a recalibration leaves as it is."""

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
    recalibration: pd.DataFrame | None = None,
    held_out: float | None = None,
    people: pd.Series | None = None,
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
        ``wasm_sha256``, ``data``, ``commit``, ``dirty``, ``tools``.
    recalibration : DataFrame, optional
        Table of the endpoint's evaluation: what speaks for a recalibrated model.
    held_out : float, optional
        Share of the people who chose penalties and epochs of a final fit, and did not train it.
    people : Series indexed by subject_id, optional
        Whose index time each subject is. Without it each subject is a person of its own.

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
    learnt = schema.get("recalibration")
    if learnt:
        everyone = _after(everyone, recalibration[recalibration["experiment"] == schema["experiment"]])
        grouped = grouped[grouped["metric"].isin(ORDER_ALONE)]
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
        "population": _population(outcomes, people),
        "what_speaks_for_it": _speaks(schema["made_by"], held_out) + (f" {RECALIBRATED}" if learnt else ""),
        "recalibration": learnt,
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


def _speaks(made_by: str, held_out: float | None) -> str:
    """Return what the figures are of."""
    if held_out is None:
        return SPEAKS[made_by].format(trained="most", held_out="ones")
    return SPEAKS[made_by].format(trained=f"{1 - held_out:.0%}", held_out=f"{held_out:.0%}")


def _after(metrics: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics of a recalibrated model: those of the order as they are, the others after recalibration."""
    names = {f"after{end}": name for end, name in (("", "estimate"), ("_lower", "lower"), ("_upper", "upper"))}
    after = table.loc[table["metric"].isin(METRICS), ["metric", "horizon", *names]].rename(columns=names)
    return pd.concat([metrics[metrics["metric"].isin(ORDER_ALONE)], after], ignore_index=True)


def _rows(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows as plain values; null for what is missing."""
    return [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in table[list(columns)].astype(object).to_dict("records")
    ]


def _population(outcomes: pd.DataFrame, people: pd.Series | None) -> dict[str, Any]:
    """Return how many people and index times the model is of; events are the people who had one."""
    whose = np.arange(len(outcomes)) if people is None else people.loc[outcomes["subject_id"]].to_numpy()
    event, follow_up = outcomes["event"].to_numpy(), outcomes["time"].groupby(whose).median()
    return {
        "people_at_risk": _told(whose),
        "index_times": None if _told(whose) is None else len(outcomes),
        "target_events": _told(whose[event == 1]),
        "competing_events": _told(whose[event > 1]),
        "median_follow_up_days": float(follow_up.median()) if len(follow_up) >= 2 * FEWEST else None,
    }


def _told(people: np.ndarray) -> int | None:
    """Return how many people there are; None for 1 to 9, which is not told."""
    count = len(np.unique(people))
    return None if 0 < count < FEWEST else count


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
    _model(page.section("Model", "model"), card, schema)
    _performance(page.section("How good it is", "performance"), card)
    _inputs(page.section("What it asks", "inputs"), schema)
    return page.render()


def _model(section: Section, card: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    model, people, parity = card["model"], card["population"], card["parity"]
    years = " and ".join(f"{days / 365.25:.3g}" for days in model["horizons_days"])
    rows = {
        "Predicts": f"{model['target']}, within {years} years, where other causes of death compete",
        "Reads": ", ".join(model["modalities"]) + "".join(f". {words}" for words in _ages(schema)),
        "Made from": _made_from(people),
        "Study": model["study"],
        "Experiment": f"{model['experiment']} ({model['made_by']}, {model['members']} model(s))",
        "Fingerprint (SHA-256 of model.wasm)": model["wasm_sha256"],
        "Data": model["data"],
        "Code": (model["commit"] or "no commit") + (", with changes that are not in it" if model.get("dirty") else ""),
        "Equal to the pipeline": f"{parity['subjects'] - parity['refused']} people predicted by both from their raw "
        f"data; the largest difference of a risk is {parity['largest_difference']:.1e}",
    }
    if parity["pictures_to_export_anew"]:
        anew = parity["pictures_to_export_anew"]
        few = _count(None if anew < FEWEST else anew)
        rows["Pictures"] = (
            f"{few} of {parity['pictures']:,} had to be exported anew: compressed DICOM, which a bundle does not read"
        )
    section.table(pd.DataFrame({"": list(rows), " ": list(rows.values())}), text=2)


def _ages(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what counts by its time: recordings within a window, and the day of prediction itself."""
    for kind, words in (("ecg", "ECG"), ("image", "Image")):
        if schema[kind] is not None:
            window = schema[kind]["window"]
            age = "of any age" if window is None else f"of less than {window:g} days before the prediction"
            yield f"{words}: the latest, {age}"
    if not schema["same_day"]:
        yield "Of the day of prediction, what is known to be of an earlier hour: no event counted that had none"


def _made_from(people: Mapping[str, Any]) -> str:
    several = people["index_times"] is not None and people["index_times"] > people["people_at_risk"]
    parts = [
        f"{_count(people['people_at_risk'])} people at risk",
        *([f"at {people['index_times']:,} index times"] if several else []),
        f"{_count(people['target_events'])} with the event",
        f"{_count(people['competing_events'])} with a competing one",
    ]
    days = people["median_follow_up_days"]
    return ", ".join(parts) + ("" if days is None else f"; median follow-up {days / 365.25:.1f} years")


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
        before = ", before recalibration" if card["recalibration"] else ""
        section.table(table, f"Calibration at the last horizon{before}")
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
        share = f" ({100 * asked['usual_share']:.0f} %)" if low is not None and high is not None else ""
        units = asked.get("units", [])
        usual = "" if low is None or high is None else f"{low:.4g} to {high:.4g}{share}"
        unit = units[0]["label"] if units else ", ".join(each["name"] for each in asked.get("categories", []))
        needed = "required" if asked["required"] else ""
        rows.append([asked["label"]["en"], asked["name"], unit, usual, needed])
    titles = ["Input", "Name", "Unit or categories", "Usual (share of the people)", ""]
    section.table(pd.DataFrame(rows, columns=titles), text=5)
