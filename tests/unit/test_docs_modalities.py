"""docs/modalities.md: the example of a new modality runs as it stands, and the page names what there is."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from riskweave.errors import DataError
from riskweave.modalities import audio, ecg_measurements, image_measurements, text
from riskweave.modalities.base import read_features
from riskweave.modalities.implementations import PARTS, Parts
from riskweave.modalities.registry import find_modality
from riskweave.study import features as study_features
from riskweave.study.base import Positive
from riskweave.study.encoders import Encoder
from riskweave.study.study import ENCODED

PAGE = (Path(__file__).parents[2] / "docs/modalities.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def spirometry(monkeypatch):
    """Put the code of the page where the page says that it belongs."""
    _, block, reading, network, line = BLOCKS
    space = {**vars(study_features), "Encoder": Encoder, "Positive": Positive}
    exec(compile(block, "config block", "exec"), space)
    monkeypatch.setattr(study_features, "SpirometryFeatures", space["SpirometryFeatures"], raising=False)
    for name, source in (("modalities.spirometry", reading), ("networks.curve", network)):
        module = types.ModuleType(f"riskweave.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(source, name, "exec"), vars(module))
    parts = {}
    exec(compile(line, "line of the table", "exec"), {"PARTS": parts, "Parts": Parts})
    monkeypatch.setitem(PARTS, "spirometry", parts["spirometry"])
    return space["SpirometryFeatures"]


def test_the_example_reads_feeds_and_pools(spirometry, tmp_path):
    given = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE).group(1))
    features = spirometry.model_validate(given["feature_sets"]["lungs"])
    index_time = pd.Timestamp("2020-01-01 10:00")
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_text("flow\n" + "\n".join(f"{value:.3f}" for value in np.linspace(number + 4.0, 0, 300)))
    manifest = pd.DataFrame({"subject_id": ["a", "a", "b"], "path": [str(path) for path in paths]})
    manifest["time"] = index_time - pd.to_timedelta([9, 2, 3], unit="D")
    manifest.to_parquet(tmp_path / "recordings.parquet")
    people = pd.DataFrame({"subject_id": ["a", "b", "c"], "person_id": ["a", "b", "c"], "index_time": index_time})
    people.to_parquet(tmp_path / "subjects.parquet")
    modality = find_modality("spirometry")
    files = {name: tmp_path / "made" / name for name in ("features.parquet", "inputs.npy", "index.parquet")}
    table, inputs, index = files.values()
    told = {"subjects": tmp_path / "subjects.parquet", "raw": tmp_path / "recordings.parquet", "features": features}
    modality.read(**told, table=table, inputs=inputs, index=index)
    frame, columns = read_features(table)
    assert frame["subject_id"].tolist() == ["a", "b"]
    np.testing.assert_allclose(frame["peak_flow"], [5, 6])
    np.testing.assert_allclose(frame["volume"], [7.5, 9], rtol=1e-3)
    assert [(column.name, column.unit) for column in columns] == [("peak_flow", "l/s"), ("volume", "l")]
    prepared = modality.open_inputs(inputs, index).fit(np.array([0]), features.encoder)
    net = modality.build(features.encoder, prepared)
    curves, owner = prepared.inputs(np.array([0, 1])).batch(np.array([0, 1]))
    assert (curves.shape, owner.tolist()) == ((3, 1, 600), [0, 0, 1])
    assert net(curves).shape == (3, net.features)
    patient = modality.one_patient(paths[:2], features)
    assert patient.measurements == pytest.approx(frame.iloc[0, 1:].to_dict())
    alone, _ = modality.prepared_from(prepared.state(), patient.stored).inputs([0]).batch([0])
    torch.testing.assert_close(alone, curves[:2])
    paths[0].write_text("flow\nhigh\n")
    with pytest.raises(DataError, match="1 of 3 file"):
        modality.read(**told, table=table, inputs=inputs, index=index)


def test_the_page_names_all_modalities_and_measurements():
    assert set(PARTS) == set(ENCODED)
    for name in ENCODED:
        assert f"| `{name}` |" in PAGE
    assert ecg_measurements.MEASUREMENTS
    for name, unit, _ in audio.MEASUREMENTS + audio.QUALITY:
        assert f"`{name}`" in PAGE
        assert not unit or unit in PAGE
    assert all(word in PAGE for word in ("number of notes", "words", "days since the last"))
    assert len(text.MEASUREMENTS) == 3
    for name, *_ in image_measurements.MEASUREMENTS:
        if not re.match(r"grey_p(25|50|75)|power_(4|8|16|32)_", name):
            assert f"`{name}`" in PAGE
    for name in ("grey_1_1", "grey_8_8", "fine_128_1_1", "fine_32_4_4"):
        assert name in {local for local, *_ in image_measurements.LOCAL_MEASUREMENTS}
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_modality_keeps_the_contract(name):
    modality = find_modality(name)
    assert modality.name == name
    block = next(
        one for one in vars(study_features).values()
        if isinstance(one, type) and one.__name__.endswith("Features") and getattr(one, "raw", None)
        and one.model_fields["modality"].annotation.__args__ == (name,)
    )  # fmt: skip
    needed = {"codes": ["A"]} if "codes" in block.model_fields else {}
    features = block.model_validate({"modality": name, "encoder": {}, **needed})
    columns = modality.columns(features)
    assert all(column.modality == name and column.description for column in columns)
    assert len({column.name for column in columns}) == len(columns)
    assert block.raw in ("recordings", "images", "sounds", "events")
    changed = modality.augmentation()
    assert changed is None or callable(changed)
