"""Stored models: what training writes is read, and what would run something else is refused before it does."""

import io
import os
import pickle
import zlib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.tree import DecisionTreeRegressor

from riskweave.errors import DataError
from riskweave.networks.mlp import MLP
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable
from riskweave.survival.stored_models import load_models, store_models


def write(content, folder: Path) -> Path:
    joblib.dump(content, folder / "models.joblib", compress=3)
    return folder / "models.joblib"


def test_what_models_are_made_of_is_read(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60), "site": ["a", "b", "c"] * 20}, index=[f"p{i}" for i in range(60)])
    table = FeatureTable("set", "ehr", frame, ("site",))
    content = {
        "design": DesignMatrix().fit([table], frame.index),
        "tree": DecisionTreeRegressor(max_depth=3).fit(frame[["x"]], frame["x"]),
        "network": MLP(3, hidden=[4], dropout=0.0).double(),
        "names": np.array(["a", None, 3.5], dtype=object),
        "rng": np.random.default_rng(5),
        "frame": frame,
        "sets": (frozenset({1}), {2}, slice(3), complex(1, 2)),
    }
    store_models(content, tmp_path / "models.joblib")
    found = load_models(tmp_path / "models.joblib")
    designs = [each["design"].design([table], frame.index).values for each in (content, found)]  # noqa: PD011
    np.testing.assert_array_equal(*designs)
    np.testing.assert_array_equal(found["tree"].predict(frame[["x"]]), content["tree"].predict(frame[["x"]]))
    x = torch.ones(2, 3, dtype=torch.float64)
    assert torch.equal(found["network"].eval()(x), content["network"].eval()(x))
    assert all(weights.requires_grad for weights in found["network"].parameters())
    assert found["names"].tolist() == ["a", None, 3.5]
    assert found["rng"].random() == content["rng"].random()
    pd.testing.assert_frame_equal(found["frame"], frame)
    assert found["sets"] == content["sets"]


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    made = torch.nn.Sequential(MLP(3, hidden=[4], dropout=0.1), torch.nn.BatchNorm1d(1))
    made[1].weight.requires_grad_(False)
    return made


def test_networks_have_the_same_bytes_wherever_they_stand_in_the_memory(tmp_path):
    networks = {"one": network(), "other": network()}
    for name, made in networks.items():
        store_models({"network": made}, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_networks_are_whole_again(tmp_path):
    made = torch.nn.Sequential(network(), torch.nn.LSTM(2, 3))
    store_models({"network": made}, tmp_path / "models.joblib")
    again = load_models(tmp_path / "models.joblib")["network"]
    state = again.state_dict()
    assert list(state) == list(made.state_dict())
    assert all(torch.equal(state[name], values) for name, values in made.state_dict().items())
    assert [each.requires_grad for each in again.parameters()] == [each.requires_grad for each in made.parameters()]
    assert all(ours is theirs for ours, theirs in zip(again[1]._flat_weights, again[1].parameters(), strict=True))


class Runs:
    """Calls a function when it is read from a pickle."""

    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


def touch(path):
    return f"touch {path}"


@pytest.mark.parametrize("place", ["alone", "in an array", "in a model", "in a tensor"])
def test_programs_are_refused_before_they_run(place, tmp_path):
    program = Runs(os.system, touch(tmp_path / "ran"))
    array = np.array([program], dtype=object)
    tree = DecisionTreeRegressor()
    tree.note = program
    # As torch stores tensors within pickles: a file in the file, which it reads without looking.
    tensor = Runs(torch.storage._load_from_bytes, pickle.dumps(program, protocol=2))
    content = {"alone": program, "in an array": array, "in a model": tree, "in a tensor": tensor}[place]
    path = write({"folds": {0: content}}, tmp_path)
    with pytest.raises(DataError, match=r"models.joblib: it holds (posix.system|torch.storage._load_from_bytes)"):
        load_models(path)
    assert not (tmp_path / "ran").exists()
    joblib.load(path) if place != "in a tensor" else pickle.loads(pickle.dumps(program))
    assert (tmp_path / "ran").exists()  # it was a program


@pytest.mark.parametrize(
    "program",
    [
        Runs(eval, "1 + 1"),
        Runs(getattr, "text", "upper"),
        Runs(__import__, "os"),
        Runs(np.load, "other.npy"),
        Runs(np.memmap, "other.npy"),
        Runs(pd.read_csv, "other.csv"),
        Runs(pd.HDFStore, "other.h5"),
        Runs(joblib.load, "other.joblib"),
        Runs(torch.load, "other.pt"),
    ],
    ids=lambda program: getattr(program.what[0], "__name__", "program"),
)
def test_functions_of_libraries_that_do_more_than_compute_are_refused(program, tmp_path):
    with pytest.raises(DataError, match="is no part of a fitted model"):
        load_models(write([program], tmp_path))


@pytest.mark.parametrize(
    "program",
    [
        b"(cpandas\nHDFStore\nS'other.h5'\no.",
        b"(S'other.h5'\nipandas\nHDFStore\n.",
        b"cpandas\nHDFStore\n(tcbuiltins\ndict\n)R\x92.",
        b"cpandas.core.indexes.base\n_new_Index\n(cnumpy\nmemmap\n}S'filename'\nS'other.npy'\nstR.",
    ],
    ids=["OBJ", "INST", "NEWOBJ_EX", "a file behind an index"],
)
def test_no_way_of_a_pickle_leads_around_the_fence(program, tmp_path):
    path = tmp_path / "models.joblib"
    path.write_bytes(zlib.compress(program))
    with pytest.raises(DataError, match="is no part of a fitted model"):
        load_models(path)


def named(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


LINEAR = named("torch.nn.modules.linear", "Linear") + b")\x81"
"""A layer that was never made: an object that can be called."""
STEPS = named("torch.nn.modules.container", "ModuleList") + b")\x81"
BASELINE = named("riskweave.survival.proportional", "Baseline")


@pytest.mark.parametrize(
    "program",
    [
        LINEAR + b")R.",
        LINEAR + b")\x81.",
        BASELINE + b")\x81}(S'__setstate__'\n" + named("torch.nn.modules.linear", "Linear") + b"ub.",
        BASELINE + b"N}(S'at'\nI1\nu\x86b.",
        STEPS + b"I1\na.",
        STEPS + b"(I1\ne.",
        STEPS + b"(I1\n\x90.",
        STEPS + b"I0\nI1\ns.",
        STEPS + b"(I0\nI1\nu.",
        named("numpy.random._pickle", "__generator_ctor") + b"(S'/etc/passwd'\n" + BASELINE + b"tR.",
        named("numpy.random._pickle", "__bit_generator_ctor") + b"(" + BASELINE + b"tR.",
        named("numpy._core.multiarray", "_reconstruct") + b"(" + BASELINE + b")S'b'\ntR.",
        named("builtins", "set") + b"(" + STEPS + b"tR.",
        named("riskweave.survival.stored_models", "Path") + b"(S'other'\ntR.",
        named("riskweave.survival.stored_models", "load_models") + b"(S'other'\ntR.",
    ],
    ids=[
        "an object is called", "an object makes another", "what Python looks up", "attributes of a class", "APPEND",
        "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "another generator", "another class of generators",
        "another array", "an iterator of a library", "what a module imports", "a function of a module",
    ],
)  # fmt: skip
def test_nothing_but_what_models_need_is_done(program, tmp_path):
    path = tmp_path / "models.joblib"
    path.write_bytes(zlib.compress(program))
    with pytest.raises(DataError, match="is no part of a fitted model"):
        load_models(path)


def test_a_call_without_what_it_needs_is_damage(tmp_path):
    path = tmp_path / "models.joblib"
    path.write_bytes(zlib.compress(named("numpy._core.multiarray", "_reconstruct") + b")R."))
    with pytest.raises(DataError, match="cannot be read as stored models"):
        load_models(path)


def test_damaged_files_are_refused_and_missing_ones_are_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_models(tmp_path / "models.joblib")
    path = write({"numbers": np.arange(1000.0)}, tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text", io.BytesIO(whole).getvalue()[::-1]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read as stored models"):
            load_models(path)
