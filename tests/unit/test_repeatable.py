"""Two processes write the same bytes: sets of names in the same order, encoders wherever their parts came from."""

import io
import os
import subprocess
import sys

import torch

from riskweave.repeatable import HASHES, alike, fix_hashes
from riskweave.survival.encoding.network import read_encoder, save_encoder

PROGRAM = "import pickle, sys; sys.stdout.buffer.write(pickle.dumps({chr(97 + k) * 5 for k in range(26)}))"


def orders(environment):
    """Return what four processes write."""
    return {
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True).stdout
        for _ in range(4)
    }


def test_sets_are_stored_alike():
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
    for name, folds in {"resumed.pt": resumed, "whole.pt": whole}.items():
        save_encoder({"folds": folds}, tmp_path / name)
    assert (tmp_path / "resumed.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()
    found = read_encoder(tmp_path / "whole.pt")["folds"]
    assert found[0]["cuts"] == [0.0, 1.5]
    assert found[0]["sizes"] == ("samples", 12)
    assert torch.equal(found[1]["state"]["linear"], weights["linear"])


def test_equal_texts_become_one_and_all_else_stays():
    first, second = "".join(["cu", "ts"]), "".join(["cut", "s"])
    assert first is not second
    shared = [1.0]
    found = alike({first: [second, shared, shared], "more": (None, 2, True)})
    assert found == {"cuts": ["cuts", [1.0], [1.0]], "more": (None, 2, True)}
    assert next(iter(found)) is found["cuts"][0]
    assert found["cuts"][1] is not found["cuts"][2]
