"""Figures and tables of a search: what mattered in planted trials, and nothing where there is too little."""

import numpy as np
import pandas as pd
import pytest

from riskweave.study.models import CoxModel, LogisticHazardModel
from riskweave.study.search import Interval, Search
from riskweave.survival.search import Chosen, Trial
from riskweave.survival.search_figures import chosen_values, draw_search, importances, read_trials
from riskweave.survival.spaces import text_of
from riskweave.survival.tuning import Tuned, write_trials

SPACE = {
    "training.learning_rate": Interval(low=1e-4, high=1.0, log=True),
    "dropout": Interval(low=0.0, high=0.5),
    "hidden": [[], [32], [64, 64]],
}
NET = LogisticHazardModel(kind="logistic_hazard", search=Search(space=SPACE))


def planted(folds=2, trials=24):
    """The rate decides most of the score, by its order of magnitude; the layers a little, the dropout nothing."""
    rng = np.random.default_rng(0)
    found = {}
    for fold in range(folds):
        made = []
        for number in range(trials):
            rate, dropout = 10 ** rng.uniform(-4, 0) if number else 1e-4, rng.uniform(0, 0.5)
            hidden = text_of(SPACE["hidden"][rng.integers(3)])
            value = -abs(np.log10(rate) + 2) + 0.3 * (hidden == "[32]") - fold
            state = "pruned" if number % 9 == 8 else "complete"
            params = {"training.learning_rate": rate, "dropout": dropout, "hidden": hidden}
            made.append(Trial(number, state, value if state == "complete" else float("nan"), 1.0, params))
        best = max((trial for trial in made if trial.state == "complete"), key=lambda trial: trial.value)
        found[fold] = Tuned(NET, chosen={"net": Chosen(NET, best, tuple(made))})
    return found


@pytest.fixture
def trials(tmp_path):
    write_trials(planted(), tmp_path / "trials.csv")
    return tmp_path / "trials.csv"


def test_the_key_that_decides_the_score_is_the_most_important(trials):
    shares = importances(read_trials(trials), SPACE)
    means = shares.groupby("key")["importance"].mean()
    assert shares.groupby("fold")["importance"].sum().to_list() == pytest.approx([1, 1])
    assert means["training.learning_rate"] > 0.7


def test_too_few_trials_or_equal_scores_tell_no_importance(tmp_path):
    write_trials(planted(trials=3), tmp_path / "few.csv")
    assert importances(read_trials(tmp_path / "few.csv"), SPACE).empty
    write_trials(planted(trials=12), tmp_path / "same.csv")
    same = read_trials(tmp_path / "same.csv").assign(value=1.0)
    assert importances(same, SPACE).empty


def test_the_chosen_values_of_each_fold_stand_beside_the_models_own_score(trials):
    table = chosen_values(read_trials(trials))
    assert table["fold"].tolist() == [0, 1]
    assert (table["value"] > table["own_value"]).all()
    assert list(table) == ["fold", "model", "trial", "value", "own_value", *SPACE]


def test_the_same_trials_give_the_same_bytes(trials, tmp_path):
    files = []
    for name in ("a", "b"):
        outputs = {key: tmp_path / name / f"{key}.svg" for key in ("importance", "slices")}
        outputs["chosen"] = tmp_path / name / "chosen.csv"
        draw_search(trials=trials, models={"net": NET}, **outputs)
        files.append({key: path.read_bytes() for key, path in outputs.items()})
    assert files[0] == files[1]


def test_own_values_outside_the_space_and_failed_searches_are_drawn(tmp_path):
    """A list of penalties is no number; an ensemble searches two models; all trials but one failed."""
    cox = CoxModel(kind="cox", search=Search(space={"penalty": Interval(low=1e-3, high=10.0, log=True)}))
    made = (
        Trial(0, "complete", -1.0, 0.1, {"penalty": "[0.003, 0.03]"}),
        Trial(1, "failed", float("nan"), 0.1, {"penalty": 2.0}),
    )
    tuned = planted(folds=1)[0]
    both = Tuned(NET, chosen={**tuned.chosen, "cox": Chosen(cox, made[0], made)})
    write_trials({0: both}, tmp_path / "trials.csv")
    outputs = {"importance": tmp_path / "i.svg", "slices": tmp_path / "s.svg", "chosen": tmp_path / "c.csv"}
    draw_search(trials=tmp_path / "trials.csv", models={"net": NET, "cox": cox}, **outputs)
    assert pd.read_csv(outputs["chosen"])["model"].tolist() == ["net", "cox"]
    assert outputs["slices"].stat().st_size > 1000


@pytest.mark.parametrize("searched", [(), ("net",)])
def test_models_without_a_trial_leave_empty_panels(tmp_path, searched):
    """Where no column varies in any fold nothing is searched: ``trials.csv`` then lacks the columns of the keys."""
    cox = CoxModel(kind="cox", search=Search(space={"penalty": Interval(low=1e-3, high=10.0, log=True)}))
    made = planted(folds=1)[0].chosen
    write_trials({0: Tuned(NET, chosen={name: made[name] for name in searched})}, tmp_path / "trials.csv")
    outputs = {"importance": tmp_path / "i.svg", "slices": tmp_path / "s.svg", "chosen": tmp_path / "c.csv"}
    draw_search(trials=tmp_path / "trials.csv", models={"net": NET, "cox": cox}, **outputs)
    assert pd.read_csv(outputs["chosen"])["model"].tolist() == list(searched)
    assert all(path.stat().st_size > 0 for path in outputs.values())
