"""What models rely on and what was searched: figures and tables of other stages, where a study has asked for them."""

import pandas as pd

from riskweave.page import Section
from riskweave.study_report.inputs import Content, EndpointContent
from riskweave.study_report.words import estimate

__all__ = ["add_explanations", "importance_rows"]

MOST_ROWS = 15
FIGURES = {
    "importance.svg": (
        "What predictions lose when the values of a column, a feature set or a modality change places between people: "
        "the further to the right, the more the model relies on it. Below 0 within its interval: of no use."
    ),
    "effects.svg": (
        "How the predicted risk changes over the values of a column, others as they are; 0 is the mean over the "
        "people. Band: interval; dashed: lowest and highest of the folds' models; open points: fewer than 50 people. "
        "This is what the model makes of the values, not what would happen if they changed."
    ),
}
SHAPLEY = (
    "What each feature set adds to the concordance: its share over experiments with all subsets, each trained without "
    "the rest, and what it adds alone and last. Shares add up to what all sets together have beyond the others."
)
SEARCHED = {
    "importance.svg": "Which hyper-parameters mattered: share of the validation score's variance that each explains.",
    "slices.svg": "All trials along each hyper-parameter; marks with a dark edge were chosen.",
}


def importance_rows(table: pd.DataFrame, most: int = MOST_ROWS) -> pd.DataFrame:
    """Return what the model relies on most, at the last horizon, as text.

    Parameters
    ----------
    table : DataFrame
        ``importance.parquet`` of an experiment.
    most : int
        Rows kept; those of whole modalities and feature sets are among them by their size like all others.

    Returns
    -------
    DataFrame
        level, name, and the loss of concordance by method, largest first.
    """
    own = table[(table["metric"] == "harrell_c") & (table["horizon"] == table["horizon"].max())]
    own = own.sort_values(["estimate", "level", "name"], ascending=[False, True, True])
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for _, row in own.iterrows():
        key = (row["level"], str(row["feature_set"]), row["name"])
        found = rows.setdefault(key, {"level": row["level"].replace("_", " "), "name": row["name"]})
        found[f"loss of concordance, {row['method']}"] = estimate(row["estimate"], row["lower"], row["upper"])
    return pd.DataFrame(list(rows.values())[:most]).fillna("")


def _add_search(section: Section, content: Content, folder: str) -> None:
    for file, caption in SEARCHED.items():
        path = content.files.optional(f"{folder}/{file}")
        if path is not None:
            section.figure(path, caption)
    if f"{folder}/chosen.csv" in content.files.names:
        section.table(content.files.text(f"{folder}/chosen.csv"), folded="What each fold chose")


def add_explanations(section: Section, content: Content, endpoint: EndpointContent) -> None:
    """Add the explanations and the searches of an endpoint's experiments, where there are any."""
    files = content.files
    shapley = files.optional(f"evaluation/{endpoint.name}/shapley.svg")
    if shapley is not None:
        section.heading("What each feature set is worth")
        section.figure(shapley, SHAPLEY)
    explained = sorted({name.split("/")[3] for name in files.below(f"evaluation/{endpoint.name}/explain")})
    for experiment in explained:
        folder = f"evaluation/{endpoint.name}/explain/{experiment}"
        section.heading(f"What {experiment} relies on")
        section.text(
            "None of this is causal: it tells what the model makes of the values. Marginal: what the model relies on, "
            "what it shares with other columns included. Conditional: what the column adds to the others."
        )
        section.text(
            "A column of dated values is named by their code and by what was made of them. CODE:mean: the mean of all "
            "with that code; last: the latest; slope: the change over time; ever: whether there was any (1) or none "
            "(0).",
            note=True,
        )
        for file, caption in FIGURES.items():
            path = files.optional(f"{folder}/{file}")
            if path is not None:
                section.figure(path, caption)
        if f"{folder}/importance.parquet" in files.names:
            rows = importance_rows(files.table(f"{folder}/importance.parquet"))
            section.table(rows, f"The {len(rows)} largest", text=2, sortable=True)
    searched = sorted(
        {
            name.split("/")[2]
            for name in files.below(f"experiments/{endpoint.name}")
            if name.split("/")[3:4] == ["search"]
        }
    )
    for experiment in searched:
        section.heading(f"Search of hyper-parameters: {experiment}")
        section.text(
            "Values were tried on the validation rows of each fold, never on the people whose risk is predicted. Flat "
            "pictures mean that the choice mattered little."
        )
        _add_search(section, content, f"experiments/{endpoint.name}/{experiment}/search")
