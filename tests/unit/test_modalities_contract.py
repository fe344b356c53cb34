"""What all modalities share: arrays and indices that belong together, and code that reading does not depend on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from riskweave.errors import DataError, StudyError
from riskweave.modalities.implementations import PARTS
from riskweave.modalities.registry import find_modality
from riskweave.modalities.stored import FlatWriter, read_index, write_index
from riskweave.study.code import code_of

SOURCE = Path(__file__).parents[2] / "src"
SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def write(folder, array, rows, *, most=1):
    np.save(folder / "inputs.npy", array)
    index = pd.DataFrame({"subject_id": list(rows), "row": list(rows.values())}).explode("row", ignore_index=True)
    index = index.astype({"row": "int64"})
    write_index(index, folder / "index.parquet", inputs=folder / "inputs.npy", modality="ecg", most=most)


def opened(folder):
    return find_modality("ecg").open_inputs(folder / "inputs.npy", folder / "index.parquet")


@pytest.mark.parametrize("name", sorted(PARTS))
def test_reading_depends_on_no_network_and_no_training(name):
    files = code_of(SCRIPTS / "read_modality.py", SOURCE, [PARTS[name].reading])
    rooms = {Path(file).relative_to(SOURCE / "riskweave").parts[0] for file in files[1:]}
    assert rooms <= {"__init__.py", "cohort", "modalities", "parquet.py", "study"}
    inputs = Path(*PARTS[name].inputs.split(".")).with_suffix(".py")
    assert str(SOURCE / inputs) not in files
    others = {PARTS[other].reading.rpartition(".")[2] for other in PARTS if other != name}
    assert not others & {Path(file).stem for file in files}


def test_an_unknown_modality_is_answered():
    with pytest.raises(StudyError, match=r"there is none 'egc'\. Did you mean 'ecg'"):
        find_modality("egc")


def test_recordings_stay_on_the_disk_and_keep_their_order(tmp_path):
    array = np.random.default_rng(0).normal(size=(5, 2, 7)).astype(np.float32)
    write(tmp_path, array, {"a": [3, 1], "c": [0], "d": [1, 4, 2]}, most=3)
    stored = opened(tmp_path)
    assert isinstance(stored.array, np.memmap)
    assert stored.subjects.tolist() == ["a", "c", "d"]
    prepared = stored.fit(np.array([0]))
    assert prepared.sizes() == {"shape": (2, 7)}
    recordings, owner = prepared.inputs(np.array([2, 0])).batch(np.array([1, 0]))
    np.testing.assert_array_equal(recordings.numpy(), array[[3, 1, 1, 4, 2]])
    assert owner.tolist() == [0, 0, 1, 1, 1]
    write(tmp_path, array, {"a": [3], "c": [0]})
    (one,) = opened(tmp_path).fit(np.array([0])).inputs(np.array([1, 0])).batch(np.array([0, 1]))
    np.testing.assert_array_equal(one.numpy(), array[[0, 3]])


def test_arrays_and_indices_that_do_not_fit_are_refused(tmp_path):
    array = np.zeros((3, 2, 4), dtype=np.float32)
    write(tmp_path, array, {"a": [0], "b": [3], "c": [-1]})
    with pytest.raises(DataError, match=r"2 of 3 rows are not in inputs\.npy"):
        opened(tmp_path)
    array[1, 0, 0] = np.nan
    write(tmp_path, array, {"a": [0], "b": [1]})
    with pytest.raises(DataError, match="1 of 3 rows hold values that are not finite"):
        opened(tmp_path)
    before = (tmp_path / "inputs.npy").read_bytes()
    (tmp_path / "inputs.npy").write_bytes(before[:-1] + b"\x01")
    with pytest.raises(DataError, match="its content is not that of the ecg inputs"):
        opened(tmp_path)
    (tmp_path / "inputs.npy").unlink()
    with pytest.raises(DataError, match=r"inputs\.npy: the file does not exist"):
        opened(tmp_path)
    (tmp_path / "index.parquet").unlink()
    with pytest.raises(DataError, match=r"index\.parquet: the file does not exist"):
        opened(tmp_path)


def test_a_flat_array_is_written_part_by_part(tmp_path):
    kind = np.dtype([("code", np.int32), ("value", np.float32)])
    parts = [np.zeros(0, kind), np.ones(3, kind), np.full(100_000, 7).astype(np.int32).astype(kind)]
    with FlatWriter(tmp_path / "inputs.npy", kind) as writer:
        for part in parts:
            writer.write(part)
    np.testing.assert_array_equal(np.load(tmp_path / "inputs.npy", mmap_mode="r"), np.concatenate(parts))
    index = pd.DataFrame({"subject_id": ["a"], "start": [0], "stop": [3]})
    told = {"inputs": tmp_path / "inputs.npy", "modality": "event_sequence", "most": 5, "names": ["x", "ü"]}
    write_index(index, tmp_path / "index.parquet", **told)
    again, layout = read_index(tmp_path / "index.parquet", columns=["stop", "start"])
    assert again.to_dict("list") == {"stop": [3], "start": [0]}
    assert (layout.modality, layout.most, layout.shape, layout.names) == ("event_sequence", 5, (100_003,), ("x", "ü"))
