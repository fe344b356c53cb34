"""What a training that was killed may go on from: nothing of other code, other inputs, or other people's inputs."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted_recordings import features, planted

from riskweave.modalities.dense import Dense
from riskweave.modalities.event_sequence import EVENT
from riskweave.modalities.sequences import Sequences
from riskweave.modalities.words import Notes
from riskweave.survival.encoding import members
from riskweave.survival.encoding.members import Kept, train_member
from riskweave.survival.encoding.pretraining import _Recordings
from riskweave.survival.training import ArrayInputs, PooledInputs, checkpoint
from riskweave.survival.training.inputs import digest_of_inputs


class Untouchable:
    """An array whose values nobody may read."""

    shape = (500, 2, 4)

    def __getitem__(self, rows):
        raise AssertionError("read")


def test_every_subject_counts_where_the_array_has_no_digest():
    x = np.random.default_rng(0).normal(size=(500, 2, 4)).astype(np.float32)
    digests = set()
    for row in (None, 1, 250, 498):
        changed = x.copy()
        if row is not None:
            changed[row, 0, 0] += 1
        digests |= {digest_of_inputs(ArrayInputs(changed, np.arange(500)))}
        digests |= {digest_of_inputs(PooledInputs(changed, np.arange(500).reshape(250, 2)))}
    assert len(digests) == 8


def test_a_known_digest_stands_for_the_array_and_the_rows_for_whose_they_are():
    rows = [np.array([0, 1]), np.array([2]), np.array([3])]
    several = [
        PooledInputs(Untouchable(), rows, content="a"),
        PooledInputs(Untouchable(), rows, content="b"),
        PooledInputs(Untouchable(), [rows[0], rows[2], rows[1]], content="a"),
        PooledInputs(Untouchable(), [np.array([0]), np.array([1, 2]), rows[2]], content="a"),
        ArrayInputs(Untouchable(), np.arange(3), content="a"),
        ArrayInputs(Untouchable(), np.arange(4), content="a"),
        ArrayInputs(Untouchable(), np.array([0, 2, 1]), content="a"),
        ArrayInputs(Untouchable(), np.arange(3), content="b"),
    ]
    assert len({digest_of_inputs(each) for each in several}) == len(several)
    assert digest_of_inputs(PooledInputs(Untouchable(), list(rows), content="a")) == digest_of_inputs(several[0])


def test_stored_recordings_tell_their_networks_what_they_are():
    for several in (False, True):
        made = [
            Dense(Untouchable(), pd.Index(["a", "b"]), rows, several=several, fingerprint=known).fit(np.arange(2))
            for rows in ([np.array([0]), np.array([1])], [np.array([1]), np.array([0])])
            for known in ("one", "other")
        ]
        inputs = [each.inputs(np.arange(2)) for each in made]
        assert len({digest_of_inputs(each) for each in inputs}) == 4
        assert len({digest_of_inputs(_Recordings(each)) for each in inputs}) == 4


def test_notes_and_events_of_other_people_are_other_inputs():
    subjects = pd.Index(["a", "b"])
    events = np.zeros(4, dtype=EVENT)
    digests = {
        Sequences(events, ["x"], subjects, np.array(bounds), fingerprint="same").fit(np.arange(2)).inputs([0, 1])
        for bounds in ([[0, 2], [2, 4]], [[2, 4], [0, 2]], [[0, 1], [1, 4]])
    }
    assert len({each.fingerprint() for each in digests}) == 3
    notes = np.frombuffer(b"some words", dtype=np.uint8)
    bounds = np.array([[0, 4], [5, 10]])
    made = [
        Notes(notes, bounds, subjects, rows, several=True, fingerprint="same").fit(np.arange(2)).inputs([0, 1])
        for rows in ([np.array([0]), np.array([1])], [np.array([1]), np.array([0])])
    ]
    assert made[0].fingerprint() != made[1].fingerprint()


def test_the_code_is_part_of_every_key(monkeypatch):
    before = checkpoint.fingerprint({"seed": 1}, b"data")
    assert checkpoint.fingerprint({"seed": 1}, b"data") == before
    monkeypatch.setattr(checkpoint, "code_fingerprint", lambda folder: f"other code in {folder.name}")
    assert checkpoint.fingerprint({"seed": 1}, b"data") != before


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """Train the first network of a fold; tells how often it was trained."""
    job, rows, _ = planted(features(cross_fit=2, epochs=1), strength=0.5, sizes=(40, 20, 4))
    trained = []
    fit = members.fit
    monkeypatch.setattr(members, "fit", lambda *given, **settings: trained.append(0) or fit(*given, **settings))

    def train():
        prepared = job.stored.fit(rows["train"].position)
        held_out = np.arange(40) % 2 == 0
        train_member(
            job, rows["train"], rows["validation"], held_out=held_out, fold=0, part=0, prepared=prepared,
            kept=Kept(tmp_path / "kept"),
        )  # fmt: skip
        return len(trained)

    return job, train


def test_a_finished_network_of_older_code_is_trained_again(networks, monkeypatch):
    _, train = networks
    assert train() == 1
    assert train() == 1
    monkeypatch.setattr(checkpoint, "code_fingerprint", lambda _: "after a fix of the network")
    assert train() == 2


def test_a_finished_network_of_recordings_of_other_people_is_trained_again(networks):
    job, train = networks
    assert train() == 1
    job.stored.rows[1], job.stored.rows[3] = job.stored.rows[3], job.stored.rows[1]
    assert train() == 2
    assert torch.is_tensor(job.stored.fit(np.arange(4)).inputs(np.arange(4)).batch(np.arange(2))[0])
