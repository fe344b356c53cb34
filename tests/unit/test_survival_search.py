"""The search of hyper-parameters: its trials, its choice, its budget, and going on after a kill."""

import math
import multiprocessing
import os
import signal

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from pydantic import TypeAdapter

from riskweave.errors import DataError
from riskweave.study.models import CoxModel, GradientBoostingModel, LogisticHazardModel, Model
from riskweave.survival.cox import from_block
from riskweave.survival.scores import censored_log_likelihood
from riskweave.survival.search import fingerprint_of, forget, search, trials_table, validated
from riskweave.survival.spaces import USUAL, distributions, own_values, space_of, with_values

SPACE = {
    "learning_rate": {"low": 0.001, "high": 0.5, "log": True},
    "max_depth": {"low": 1, "high": 8},
    "subsample": [0.25, 0.5, 1.0],
}


def boosting(**search_block):
    return GradientBoostingModel(kind="gradient_boosting", search={"trials": 12, "space": SPACE} | search_block)


def planted(model, prune=None):
    """Score best at a learning rate of 0.1, depth 5 and all rows; twice as bad for each step away from it."""
    del prune
    return -(abs(math.log10(model.learning_rate / 0.1)) + abs(model.max_depth - 5) / 4 + abs(1 - model.subsample))


def run(tmp_path, model=None, score=planted, name="fold 0", seed=1):
    return search(model or boosting(), score, seed=seed, journal=tmp_path / "search.journal", name=name)


def told(chosen):
    """Return what a search must give again: everything but the seconds."""
    return chosen.model, [(t.number, t.state, repr(t.value), t.params) for t in chosen.trials]


def test_the_first_trial_is_the_models_own_values_and_the_best_is_chosen(tmp_path):
    chosen = run(tmp_path)
    first, values = chosen.trials[0], [trial.value for trial in chosen.trials]
    assert first.params == {"learning_rate": 0.05, "max_depth": 2, "subsample": 0.5}
    assert len(chosen.trials) == 12
    assert chosen.best.value == max(values) > first.value
    assert planted(chosen.model) == chosen.best.value
    assert chosen.model.search is None
    assert chosen.params["trial"] == chosen.best.number
    assert isinstance(chosen.model.max_depth, int)


def test_later_trials_gather_where_earlier_ones_scored_well(tmp_path):
    chosen = run(tmp_path, boosting(trials=40))
    values = [trial.value for trial in chosen.trials]
    assert np.mean(values[25:]) > np.mean(values[:10]) + 0.3
    assert chosen.best.value > -0.35


def test_the_same_seed_makes_the_same_trials_and_another_seed_others(tmp_path):
    one, two = run(tmp_path / "one"), run(tmp_path / "two")
    assert told(one) == told(two)
    assert told(run(tmp_path / "three", seed=2)) != told(one)


def test_own_values_that_score_best_are_kept_with_keys_that_the_search_could_not_give(tmp_path):
    model = CoxModel(kind="cox", penalty=[0.01, 0.1], search={"trials": 4})
    chosen = run(tmp_path, model, lambda block, prune: float(len(block.penalty)))  # noqa: ARG005
    assert chosen.best.number == 0
    assert chosen.model == CoxModel(kind="cox", penalty=[0.01, 0.1])
    assert chosen.trials[0].params == {"penalty": "[0.01, 0.1]", "l1_ratio": 0.0}
    assert all(isinstance(trial.params["penalty"], float) for trial in chosen.trials[1:])


@pytest.mark.parametrize("penalty", [[0.01, 0.1], [0.5]])
def test_the_sampler_looks_at_all_keys_together_whatever_the_models_own_values_are(tmp_path, penalty):
    """Own values that are no point of the space, as the default list of penalties, are kept out of its study."""
    model = CoxModel(kind="cox", penalty=penalty, search={"trials": 12})
    chosen = run(tmp_path, model, lambda block, prune: -abs(block.penalty[0] - 1) - block.l1_ratio[0])  # noqa: ARG005
    assert len(chosen.trials) == 12
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "search.journal")))
    study = optuna.load_study(study_name="fold 0", storage=storage)
    assert set(optuna.search_space.intersection_search_space(study.get_trials())) == {"penalty", "l1_ratio"}
    assert len(study.trials) == (12 if penalty == [0.5] else 11)
    # Going on finds all trials made, the first one too.
    assert told(run(tmp_path, model, lambda *_: 1 / 0)) == told(chosen)


def test_a_journal_of_another_fold_or_of_other_data_is_not_used(tmp_path):
    calls = []

    def counting(model, prune):
        calls.append(model)
        return planted(model, prune)

    run(tmp_path, score=counting)
    run(tmp_path, score=counting)
    assert len(calls) == 12  # the second call finds all trials made
    run(tmp_path, score=counting, name="fold 1")
    assert len(calls) == 24
    forget(tmp_path / "search.journal")
    assert list(tmp_path.iterdir()) == []
    a, b = np.arange(3.0), np.array([0.0, 1.0, 2.5])
    assert fingerprint_of(boosting(), a, 1) == fingerprint_of(boosting(), a.copy(), 1)
    assert len({fingerprint_of(boosting(), a, 1), fingerprint_of(boosting(), b, 1), fingerprint_of(a, 1)}) == 3


def test_minutes_end_a_search_between_two_trials(tmp_path):
    chosen = run(tmp_path, boosting(trials=1000, minutes=1e-4))
    assert 1 <= len(chosen.trials) < 20


def killed(journal, *, survives):
    """Search in a process of its own, which is killed when it begins the trial after those that it survives."""
    made = []

    def score(model, prune):
        if len(made) == survives:
            os.kill(os.getpid(), signal.SIGKILL)
        made.append(model)
        return planted(model, prune)

    process = multiprocessing.get_context("fork").Process(
        target=search, args=(boosting(), score), kwargs={"seed": 1, "journal": journal, "name": "fold 0"}
    )
    process.start()
    process.join()
    return process.exitcode


def test_a_killed_job_goes_on_with_its_finished_trials_and_chooses_the_same(tmp_path):
    whole = run(tmp_path / "whole")
    journal = tmp_path / "killed" / "search.journal"
    for survives in (0, 4, 3):  # in the first trial, in the fifth, in the eighth
        assert killed(journal, survives=survives) == -signal.SIGKILL
    with journal.open("ab") as file:
        file.write(b'{"op_code":6,"wor')  # and once more in the middle of a line, with the lock held
    journal.with_name("search.journal.lock").symlink_to(journal)
    made = []

    def counting(model, prune):
        made.append(model)
        return planted(model, prune)

    assert told(run(tmp_path / "killed", score=counting)) == told(whole)
    assert len(made) == 12 - 7


def test_trials_that_fail_or_fall_behind_are_told_and_not_chosen(tmp_path):
    def score(model, prune):
        if model.subsample == 1.0:
            raise DataError("model", "the training diverged", "Lower its learning rate")
        for epoch in range(10):
            prune(epoch, 1.0 + epoch * planted(model) / 20)  # a scale of its own, as losses have
        return -planted(model)

    chosen = run(tmp_path, boosting(trials=30), score)
    states = [trial.state for trial in chosen.trials]
    assert set(states) == {"complete", "pruned", "failed"}
    assert all(math.isnan(trial.value) == (trial.state != "complete") for trial in chosen.trials)
    assert chosen.best.value == np.nanmax([trial.value for trial in chosen.trials])
    assert chosen.model.subsample < 1
    assert states[:5].count("pruned") == 0


def test_without_pruning_networks_report_nothing(tmp_path):
    run(tmp_path, boosting(pruning=False), lambda model, prune: planted(model) if prune is None else 1 / 0)


def test_when_every_trial_fails_the_last_ones_problem_is_told(tmp_path):
    def score(*_):
        raise DataError("model net", "the training diverged", "Lower its learning rate")

    for problem in ("the training diverged", "all 12 trials failed"):  # now, and when the journal tells it
        with pytest.raises(DataError, match=problem):
            run(tmp_path, score=score)


@pytest.mark.parametrize("kind", sorted(USUAL))
def test_usual_spaces_hold_values_that_their_models_take(kind):
    model = TypeAdapter(Model).validate_python({"kind": kind, "search": {}})
    ranges = distributions(model)
    assert set(ranges) == set(space_of(model)) == set(own_values(model))
    for pick in (0, -1):
        values = {key: r.choices[pick] if hasattr(r, "choices") else (r.low, r.high)[pick] for key, r in ranges.items()}
        tried = with_values(model, values)
        assert tried.search is None
        tried = tried.model_copy(update={"search": model.search})
        assert with_values(tried, own_values(tried)) == tried.model_copy(update={"search": None})


def test_the_table_of_trials_has_the_keys_of_all_models(tmp_path):
    chosen = run(tmp_path, boosting(trials=2))
    net = LogisticHazardModel(kind="logistic_hazard", search={"trials": 2, "space": {"hidden": [[], [8, 8]]}})
    other = run(tmp_path, net, lambda model, prune: float(len(model.hidden)), name="net")  # noqa: ARG005
    table = trials_table([(0, "boosting", chosen.trials), (0, "net", other.trials)])
    assert list(table) == ["fold", "model", "trial", "state", "value", "seconds", *SPACE, "hidden"]
    assert table["hidden"].tolist()[2:] == ["[32]", other.trials[1].params["hidden"]]
    assert list(trials_table([])) == ["fold", "model", "trial", "state", "value", "seconds"]


def test_a_cox_model_finds_its_penalty(tmp_path):
    """Many noise columns and few rows: the own penalty of nearly none scores worse than the searched one."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 25))
    time = rng.exponential(1000 * np.exp(-0.8 * x[:, 0]))
    event, time = (time < 900).astype(int), np.minimum(time, 900)
    train, times = np.arange(300) < 120, [300, 600, 900]
    model = CoxModel(
        kind="cox", penalty=[1e-4], search={"trials": 10, "space": {"penalty": {"low": 1e-4, "high": 10, "log": True}}}
    )

    def fitted(block):
        return from_block(block, causes=1, seed=0, threads=1, columns=None).fit(
            x[train], time[train], event[train], x[~train], time[~train], event[~train]
        )

    def score(block, prune):
        del prune
        return validated(fitted(block), x[~train], times=times, time=time[~train], event=event[~train])

    chosen = search(model, score, seed=0, journal=tmp_path / "search.journal", name="cox")
    assert chosen.best.value > chosen.trials[0].value + 0.02
    assert 0.01 < chosen.model.penalty[0] < 3
    again = fitted(chosen.model).predict(x[~train], times)
    assert censored_log_likelihood(again, times, time[~train], event[~train]).mean() == chosen.best.value
