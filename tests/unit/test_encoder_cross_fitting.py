"""Cross-fitting: what a model learns from the embeddings of training rows holds for new subjects."""

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from planted_recordings import features, planted

from riskweave.survival.encoding import members
from riskweave.survival.encoding.fold import EVIDENCE, EVIDENCE_OF_ONE, evidence, train_fold
from riskweave.survival.encoding.members import Kept
from riskweave.survival.roles import association


def cox(rows, risk):
    frame = pd.DataFrame({"time": rows.time, "event": rows.event == 1, "risk": risk})
    return float(CoxPHFitter().fit(frame, "time", "event").params_["risk"])


def slope(rows, risk):
    """Return the calibration slope in test rows of a Cox model of a risk that learnt from the training rows."""
    of = {role: risk[part.position] for role, part in rows.items()}
    return cox(rows["test"], cox(rows["train"], of["train"]) * of["test"])


# Many leads of noise and one of signal, which the networks learn by heart.
PLANTED = {"strength": 0.8, "sizes": (450, 120, 500), "leads": 24}


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    job, rows, _ = planted(features(cross_fit=3, channels=24), **PLANTED)
    return job, rows, train_fold(job, rows, fold=0, kept=Kept(tmp_path_factory.mktemp("kept") / "kept"))


def test_a_model_on_cross_fitted_embeddings_is_calibrated_and_on_others_is_not(crossed, tmp_path):
    _, rows, honest = crossed
    job, _, truth = planted(features(cross_fit=0, channels=24), **PLANTED)
    own = train_fold(job, rows, fold=0, kept=Kept(tmp_path / "kept"))
    # The true log hazard's own slope tells how the test rows differ from the training rows by chance.
    chance = slope(rows, truth)
    found = {name: slope(rows, each.embeddings[:, 0]) / chance for name, each in (("honest", honest), ("own", own))}
    assert found["honest"] == pytest.approx(1.0, abs=0.15)
    assert found["own"] < 0.85
    assert honest.summary["params"]["networks"] == 3
    assert own.summary["params"]["networks"] == 1


def test_training_rows_are_embedded_by_the_network_that_did_not_see_them(crossed):
    job, rows, encoded = crossed
    everybody = torch.from_numpy(np.array(job.stored.array))
    with torch.no_grad():
        each = torch.stack([member(everybody) for member in encoded.ensemble.members]).numpy()
    others = np.concatenate([rows["validation"].position, rows["test"].position])
    with torch.no_grad():
        mean = encoded.ensemble(everybody[others]).numpy()
    np.testing.assert_allclose(encoded.embeddings[others], mean, atol=1e-5)
    assert np.corrcoef(mean[:, 0], each[:, others, 0].mean(axis=0))[0, 1] == pytest.approx(1.0)
    own = np.abs(each[:, rows["train"].position] - encoded.embeddings[rows["train"].position]).max(axis=2)
    assert np.all(own.min(axis=0) < 1e-5)
    assert sorted(np.bincount(own.argmin(axis=0))) == [150, 150, 150]


def test_networks_speak_of_the_same(crossed):
    job, rows, encoded = crossed
    test = torch.from_numpy(np.array(job.stored.array[rows["test"].position]))
    with torch.no_grad():
        scores = [member(test).numpy() for member in encoded.ensemble.members]
    for other in scores[1:]:
        assert np.corrcoef(scores[0][:, 0], other[:, 0])[0, 1] > 0.8
        assert np.corrcoef(scores[0][:, 1], other[:, 1])[0, 1] > 0.8


def test_an_encoder_without_signal_gives_zeros(tmp_path):
    job, rows, _ = planted(features(cross_fit=2, epochs=4), strength=0.0, seed=4)
    encoded = train_fold(job, rows, fold=0, kept=Kept(tmp_path / "kept"))
    assert not encoded.ensemble.signal
    assert np.all(encoded.embeddings == 0)
    with torch.no_grad():
        assert torch.all(encoded.ensemble(torch.from_numpy(np.array(job.stored.array[:3]))) == 0)


def judged(z, *, role, crossed):
    """Return what the gate finds of a score that goes with the outcome of one role alone, by about this z."""
    rng = np.random.default_rng(3)
    _, rows, _ = planted(features(cross_fit=3), strength=0.0, sizes=(400, 400, 10))
    score = rng.normal(size=810)
    part = rows[role]
    # Of earlier events first, the higher the score: mixed with noise until the association is that.
    order = -part.time + np.where(part.event == 1, 0, -1500)
    order = (order - order.mean()) / order.std()
    noise = score[part.position]
    for share in np.linspace(0, 1, 200):
        score[part.position] = share * order + (1 - share) * noise
        found = association(time=part.time, event=part.event == 1, risk=score[part.position])
        if found >= z:
            break
    return found, *evidence(rows, score, crossed=crossed)


def test_rows_that_stopped_the_training_do_not_speak_for_cross_fitted_networks():
    _, z, signal = judged(6.0, role="validation", crossed=True)
    assert abs(z) < EVIDENCE
    assert not signal
    planted_z, z, signal = judged(1.7, role="train", crossed=True)
    assert z == pytest.approx(planted_z)
    assert signal


def test_a_single_network_needs_more_in_the_rows_that_stopped_it():
    planted_z, z, signal = judged(1.7, role="validation", crossed=False)
    assert EVIDENCE < planted_z < EVIDENCE_OF_ONE
    assert z == pytest.approx(planted_z)
    assert not signal
    assert judged(2.1, role="validation", crossed=False)[2]


def test_a_killed_fold_goes_on_and_gives_the_same(crossed, tmp_path, monkeypatch):
    job, rows, whole = crossed
    kept, calls = Kept(tmp_path / "kept"), []
    fit = members.fit

    def killed(*arguments, **settings):
        calls.append(settings["checkpoint"].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **settings)

    monkeypatch.setattr(members, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        train_fold(job, rows, fold=0, kept=kept)
    again = train_fold(job, rows, fold=0, kept=kept)
    assert calls == [f"fold_0_network_{k}.running" for k in (1, 2, 2, 3)]
    np.testing.assert_array_equal(again.embeddings, whole.embeddings)
    pd.testing.assert_frame_equal(again.curves, whole.curves)
    assert sorted(path.name for path in kept.folder.iterdir()) == [f"fold_0_network_{k}.pt" for k in (1, 2, 3)]
    kept.discard()
    assert not kept.folder.exists()


def test_networks_of_other_settings_or_broken_files_are_trained_again(tmp_path):
    kept = Kept(tmp_path / "kept")
    kept.keep("network", "one", {"value": 1})
    assert kept.find("network", "one")["value"] == 1
    assert kept.find("network", "two") is None
    assert kept.find("network", "one") is None
    (tmp_path / "kept" / "network.pt").write_bytes(b"broken")
    assert kept.find("network", "one") is None


def test_few_people_with_the_event_make_fewer_parts(tmp_path, caplog):
    job, rows, _ = planted(features(cross_fit=3, epochs=1), strength=0.5, sizes=(60, 20, 20))
    train = rows["train"]
    train.event[:] = 0
    train.event[:1] = 1
    encoded = train_fold(job, rows, fold=0, kept=Kept(tmp_path / "kept"))
    assert encoded.summary["params"]["networks"] == 1
    assert "1 parts instead of 3" in caplog.text
