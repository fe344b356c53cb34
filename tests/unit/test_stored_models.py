"""Stored models: what training writes is read with the same bits, and nothing that a file says is run."""

import builtins
import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import get_args
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save
from sklearn.tree import DecisionTreeRegressor

from riskweave.errors import DataError
from riskweave.networks.cnn import CNN, SmallCNN
from riskweave.networks.mlp import MLP
from riskweave.study.encoders import CnnEncoder
from riskweave.study.training import Training
from riskweave.survival.preprocessing import DesignMatrix, DropRedundant, FeatureTable
from riskweave.survival.proportional import Baseline
from riskweave.survival.stored_models import load_models, store_models
from riskweave.survival.stored_reader import read_parts
from riskweave.survival.stored_types import class_of
from riskweave.survival.stored_writer import Writer

REFUSED = "is no part of a fitted model"
DAMAGED = "cannot be read as stored models"


def again(content, folder: Path):
    store_models(content, folder / "models.zip")
    return load_models(folder / "models.zip")


def write(part, folder: Path, arrays=None) -> Path:
    """Write a file as somebody else may make it."""
    with ZipFile(folder / "models.zip", "w") as file:
        file.writestr("content.json", part if isinstance(part, bytes) else json.dumps(part))
        file.writestr("arrays.safetensors", save(arrays or {}))
    return folder / "models.zip"


def test_designs_and_trees_are_read(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60), "site": ["a", "b", "c"] * 20}, index=[f"p{i}" for i in range(60)])
    table = FeatureTable("set", "ehr", frame, ("site",))
    tree = DecisionTreeRegressor(max_depth=3).fit(frame[["x"]], frame["x"]).tree_
    content = {"design": DesignMatrix().fit([table], frame.index), "tree": tree}
    found = again(content, tmp_path)
    designs = [each["design"].design([table], frame.index).values for each in (content, found)]  # noqa: PD011
    np.testing.assert_array_equal(*designs)
    x = frame[["x"]].to_numpy(dtype=np.float32)
    np.testing.assert_array_equal(found["tree"].predict(x), tree.predict(x))
    assert found["tree"].node_count == tree.node_count > 1


def test_tables_are_read(tmp_path):
    frame = pd.DataFrame(
        {"x": [1.5, np.nan], "n": [2, 3], "site": ["a", None], "flag": [True, False]},
        index=pd.Index(["p", "q"], name="id"),
    )
    column = pd.Series([1, 2], index=pd.Index([3.5, 4.5]), dtype=np.int8, name="c")
    found = again({"frame": frame, "empty": frame.iloc[:0, :0], "column": column, "rows": pd.RangeIndex(3)}, tmp_path)
    pd.testing.assert_frame_equal(found["frame"], frame, check_exact=True)
    pd.testing.assert_frame_equal(found["empty"], frame.iloc[:0, :0])
    pd.testing.assert_series_equal(found["column"], column)
    pd.testing.assert_index_equal(found["rows"], pd.RangeIndex(3), exact=True)


def test_what_else_models_hold_is_read_with_its_type_and_its_bits(tmp_path):
    content = {
        "numbers": [1, -0.0, 0.1, 2**70, float("inf"), -float("inf"), True, None, "é\n\ud800"],
        "of arrays": [np.float32(0.1), np.float64(-0.0), np.int8(-3), np.uint64(2**63), np.bool_(True)],
        1: {("a", 2): [(), (1, (2,))], None: OrderedDict(b=1, a=2)},
        "sets": [{1, "a", (2, 3)}, set()],
        "slices": slice(3, None, -1),
        "types": [np.float64, np.dtype("float32"), np.dtype(object)],
        "block": Training(epochs=3),
    }
    found = again(content, tmp_path)
    assert found["sets"] == content["sets"]
    # As text: equal numbers of other types, and zeros of other signs, look different. The order of a set is no matter.
    assert repr({**found, "sets": 0}) == repr({**content, "sets": 0})
    assert [type(each) for each in found["of arrays"]] == [type(each) for each in content["of arrays"]]
    assert found["block"].model_fields_set == {"epochs"}
    assert np.isnan(again({"nan": float("nan")}, tmp_path)["nan"])


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -0.0], [np.nan, np.inf]]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, ::2],
        np.arange(3, dtype=">f8"),
        np.zeros((0, 3), dtype=bool),
        np.array(2, dtype=np.uint8),
        np.array([["a", None], [3.5, (1,)]], dtype=object),
        np.zeros(3, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    ],
    ids=["numbers", "turned", "part", "other bytes", "empty", "one", "objects", "records"],
)
def test_arrays_are_read_and_lie_as_they_lay(array, tmp_path):
    found = again({"array": array}, tmp_path)["array"]
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(array)) if array.dtype == float else None
    assert found.flags.f_contiguous == array.flags.f_contiguous
    assert found.flags.writeable


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
    made = torch.nn.Sequential(network(), torch.nn.LSTM(2, 3), SmallCNN(embedding=2, dropout=0.0, channels=3))
    found = again({"network": made}, tmp_path)["network"]
    state = found.state_dict()
    assert list(state) == list(made.state_dict())
    assert all(torch.equal(state[name], values) for name, values in made.state_dict().items())
    assert [each.requires_grad for each in found.parameters()] == [each.requires_grad for each in made.parameters()]
    assert all(ours is theirs for ours, theirs in zip(found[1]._flat_weights, found[1].parameters(), strict=True))
    strides = [[each.stride() for each in one.parameters()] for one in (made, found)]
    assert strides[0] == strides[1]
    assert any(
        each.is_contiguous(memory_format=torch.channels_last) for each in found[2].parameters() if each.ndim == 4
    )


@pytest.mark.parametrize("architecture", get_args(CnnEncoder.model_fields["architecture"].annotation)[1:])
def test_networks_of_torchvision_are_read(architecture):
    torch.manual_seed(0)
    made = CNN(architecture, embedding=2, dropout=0.0).eval()
    torch.nn.init.normal_(made.embedding.linear.weight)
    writer = Writer()
    text = json.dumps(writer.part(made)).encode()
    found = read_parts(text, writer.arrays)
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(found(x), made(x))


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from riskweave.survival.stored_models import store_models
names = [chr(97 + k) * 5 for k in range(26)]
content = {"set": set(names), "model": np.arange(3.0)}
store_models(content, Path(sys.argv[1]))
print(list(content["set"]))
"""


def test_other_processes_at_other_times_write_the_same_bytes(tmp_path):
    told = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] != told[1], "or the order of a set hangs on nothing"
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    with ZipFile(tmp_path / "1") as file:
        assert {each.date_time for each in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_what_is_shared_is_stored_as_what_is_equal(tmp_path):
    first, second = "".join(["cu", "ts"]), "".join(["cut", "s"])
    shared, same = ({name: [1.0], "weights": torch.zeros(2), "steps": np.ones(2)} for name in (first, second))
    store_models({"a": shared, "b": shared}, tmp_path / "shared")
    store_models({"a": shared, "b": same}, tmp_path / "apart")
    assert (tmp_path / "shared").read_bytes() == (tmp_path / "apart").read_bytes()


# What is refused


class Runs:
    """Calls a function when it is read from a pickle."""

    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize("place", ["the file", "content.json", "arrays.safetensors"])
def test_a_pickle_under_one_of_the_names_is_refused_and_not_run(place, tmp_path):
    program = pickle.dumps(Runs(os.system, f"touch {tmp_path / 'ran'}"))
    path = write({"dict": []}, tmp_path)
    if place == "the file":
        path.write_bytes(program)
    else:
        members = {"content.json": b"{}", "arrays.safetensors": save({}), place: program}
        with ZipFile(path, "w", ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name, content)
    with pytest.raises(DataError, match=DAMAGED):
        load_models(path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(program)
    assert (tmp_path / "ran").exists()  # it was a program


@pytest.mark.parametrize("kind", ["object", "named"])
@pytest.mark.parametrize(
    "name",
    [
        "os.system", "subprocess.Popen", "builtins.eval", "builtins.type", "pathlib.Path", "numpy.memmap",
        "pandas.io.pytables.HDFStore", "joblib.numpy_pickle.load", "torch.load", "torch.nn.modules.module.partial",
        "torch.nn.modules.module.Module.load_state_dict", "torchvision.models._api.WeightsEnum",
        "riskweave.survival.stored_models.load_models", "riskweave.survival.stored_models.Path",
        "riskweave.survival.stored_models", "riskweave.survival.nothing.Here", "riskweave.survivalist.Class",
        "riskweave.tracking.store.Store", "sklearn.pipeline.make_pipeline", "sklearn.tree._tree.Tree", "Class", "",
    ],
)  # fmt: skip
def test_other_classes_and_functions_are_refused(kind, name, tmp_path):
    with pytest.raises(DataError, match=f"models.zip: it holds {name}, which {REFUSED}"):
        load_models(write([{kind: name}], tmp_path))


def test_names_are_refused_before_any_part_is_made(tmp_path, monkeypatch):
    def set_state(*_):
        raise AssertionError

    monkeypatch.setattr(Baseline, "__setstate__", set_state, raising=False)
    known = {"object": "riskweave.survival.proportional.Baseline", "state": []}
    with pytest.raises(AssertionError):
        load_models(write([known], tmp_path))
    with pytest.raises(DataError, match=f"antigravity.geohash, which {REFUSED}"):
        load_models(write([known, {"dict": [["a", {"tuple": [{"object": "antigravity.geohash"}]}]]}], tmp_path))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["__class__", "__setstate__", "__reduce__", "__dict__", 3])
def test_nothing_that_python_looks_up_is_set(name, tmp_path):
    with pytest.raises(DataError, match=REFUSED):
        load_models(write({"object": "riskweave.survival.proportional.Baseline", "state": [[name, 1]]}, tmp_path))


def test_nothing_is_called_but_what_puts_parts_together(tmp_path, monkeypatch):
    """A file as training makes it: the names of all that is imported or evaluated while it is read."""
    store_models({"network": network(), "model": Baseline(np.arange(3.0), np.arange(3.0))}, tmp_path / "models.zip")

    def refuse(*_, **__):
        raise AssertionError

    for module, name in ((builtins, "eval"), (builtins, "exec"), (pickle, "loads"), (pickle, "load"), (os, "system")):
        monkeypatch.setattr(module, name, refuse)
    for kind in (MLP, Baseline, torch.nn.Linear):
        monkeypatch.setattr(kind, "__init__", refuse)
    assert set(load_models(tmp_path / "models.zip")) == {"network", "model"}


@pytest.mark.parametrize(
    "part",
    [
        {}, {"call": "os.system"}, {"object": 3}, {"named": None}, {"float": "1e3"}, {"number": 1, "of": "object"},
        {"dtype": "O,O"}, {"array": "7"}, {"tensor": "7"}, {"tensor": "0", "strides": [2**62]}, {"slice": [1, 2, 3, 4]},
        {"dict": [[{"dict": []}, 1]]}, {"objects": [1], "shape": [2]}, {"tree": [], "features": 1, "outputs": 1},
        {"object": "riskweave.survival.proportional.Baseline", "state": 3}, {"range": ["a"], "name": None},
    ],
    ids=lambda part: json.dumps(part)[:30],
)  # fmt: skip
def test_parts_that_the_writer_does_not_make_are_damage(part, tmp_path):
    with pytest.raises(DataError, match=DAMAGED):
        load_models(write(part, tmp_path, {"0": np.zeros(3)}))


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**9), ("right_child", -5), ("left_child", 0), ("feature", 10**6)]
)
def test_trees_whose_nodes_lead_out_of_them_are_refused(field, value, tmp_path):
    """Compiled code would follow them out of the memory of the tree."""
    x = np.arange(40.0)[:, None]
    writer = Writer()
    part = writer.part(DecisionTreeRegressor(max_depth=3).fit(x, x[:, 0]).tree_)
    wrong = {**part, "outputs": 1000}
    with pytest.raises(DataError, match=DAMAGED):
        load_models(write(wrong, tmp_path, writer.arrays))
    records = dict(part["tree"])["nodes"]["records"]
    number = next(each["array"] for name, _, each in records if name == field)
    load_models(write(part, tmp_path, writer.arrays))
    writer.arrays[number] = writer.arrays[number].copy()
    writer.arrays[number][0] = value
    with pytest.raises(DataError, match=DAMAGED):
        load_models(write(part, tmp_path, writer.arrays))


def test_damaged_files_are_refused_and_missing_ones_are_missing(tmp_path):
    path = tmp_path / "models.zip"
    with pytest.raises(FileNotFoundError):
        load_models(path)
    store_models({"numbers": np.arange(1000.0)}, path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text", whole[::-1]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=DAMAGED):
            load_models(path)


def test_a_changed_byte_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "models.zip"
    store_models({"numbers": np.arange(50.0), "names": ["a", "b"]}, path)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = load_models(path)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(found["numbers"], np.arange(50.0))
            assert found["names"] == ["a", "b"]
    assert refused > len(whole) / 2


def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch):
    class_of.cache_clear()
    monkeypatch.setitem(sys.modules, "sksurv.tree.tree", None)
    with pytest.raises(DataError, match=r"its models need sksurv.*which is not installed"):
        load_models(write({"object": "sksurv.tree.tree.SurvivalTree"}, tmp_path))


# What cannot be stored


class Foreign:
    """A class of somebody else."""


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Foreign(), "Foreign"), (lambda: 1, "<lambda>"), (print, "builtin_function_or_method"),
        (Path("a"), "PosixPath"),
        (np.arange(3).astype("M8[D]"), "datetime64"), (np.array(["a"]), "<U1"), (np.array([1j]), "complex128"),
        (pd.Series(["a"], dtype="category"), "category"), (torch.zeros(2, dtype=torch.bfloat16), "BFloat16"),
        (np.random.default_rng(0), "Generator"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_could_not_be_read_is_not_written(value, named, tmp_path):
    model = DropRedundant()
    model.held = [value]
    with pytest.raises(TypeError, match=named):
        store_models({"model": model}, tmp_path / "models.zip")
    assert not list(tmp_path.iterdir())


def test_what_holds_itself_is_not_written(tmp_path):
    model = DropRedundant()
    model.held = {"me": [model]}
    with pytest.raises(TypeError, match="DropRedundant that holds itself"):
        store_models({"model": model}, tmp_path / "models.zip")
