"""Two processes write the same bytes: sets of names in the same order, encoders wherever their parts came from."""

import io
import os
import subprocess
import sys

import torch

from riskweave.repeatable import HASHES, fix_hashes
from riskweave.survival.encoding.network import read_encoder, save_encoder

PROGRAM = "import pickle, sys; sys.stdout.buffer.write(pickle.dumps({chr(97 + k) * 5 for k in range(26)}))"


def orders(environment):
    """Return what four processes write."""
    return {
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True).stdout
        for _ in range(4)
    }


def test_sets_have_the_same_order():
    environment = {key: value for key, value in os.environ.items() if key != HASHES}
    assert len(orders(environment)) > 1, "or there is nothing to be fixed"
    fix_hashes(environment)
    assert len(orders(environment)) == 1


def test_what_the_user_chose_stays():
    environment = {HASHES: "17"}
    fix_hashes(environment)
    assert environment == {HASHES: "17"}


def content(weights):
    """Return what a job stores that has kept the first network, been killed, and trained the second after it."""
    made = {"cuts": [0.0, 1.5], "sizes": ("samples", 12), "state": weights}
    kept = io.BytesIO()
    torch.save(made, kept)
    kept.seek(0)
    return {0: torch.load(kept, weights_only=True), 1: {**made, "state": dict(weights)}}


def test_an_encoder_has_the_same_bytes_after_a_kill(tmp_path):
    weights = {"linear": torch.arange(3.0)}
    resumed = content(weights)
    whole = {0: {**resumed[1], "state": {"linear": torch.arange(3.0)}}, 1: resumed[1]}
    for name, folds in {"resumed.zip": resumed, "whole.zip": whole}.items():
        save_encoder({"folds": folds}, tmp_path / name)
    assert (tmp_path / "resumed.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()
    found = read_encoder(tmp_path / "whole.zip")["folds"]
    assert found[0]["cuts"] == [0.0, 1.5]
    assert found[0]["sizes"] == ("samples", 12)
    assert torch.equal(found[1]["state"]["linear"], weights["linear"])
