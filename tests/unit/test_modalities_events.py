"""Event sequences: the latest events in time order; codes and scales of training subjects; networks that find them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from riskweave.cohort.tables import EVENTS
from riskweave.errors import DataError
from riskweave.modalities.base import read_features
from riskweave.modalities.event_sequence import MODALITY
from riskweave.study.encoders import EventEncoder
from riskweave.study.features import EventSequenceFeatures

FEATURES = EventSequenceFeatures(modality="event_sequence", codes=["LAB//", "DX//"])
INDEX = pd.Timestamp("2020-06-01 12:00")
FEW = EventEncoder(minimum_subjects=2)
ROWS = [
    ("a", -30.0, "LAB//CHOL", 5.0, "mmol/L"),
    ("a", -3.0, "LAB//CHOL", 7.0, "mmol/L"),
    ("a", -3.0, "DX//I10", None, None),
    ("a", 0.1, "DX//I21", None, None),
    ("a", None, "DX//OLD", None, None),
    ("b", -5.0, "LAB//CHOL", 180.0, "mg/dL"),
    ("b", -4.0, "DX//I10", None, None),
    ("b", -1.0, "MED//X", 1.0, None),
    ("c", -2.0, "LAB//CHOL", 6.0, "mmol/L"),
    ("d", 2.0, "LAB//CHOL", 6.0, "mmol/L"),
]


def run(folder, rows=ROWS, *, features=FEATURES, subjects="abcd", **further):
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value", "unit"])
    frame["time"] = INDEX + pd.to_timedelta(frame["time"], "D")
    frame = frame.sort_values(["subject_id", "time"], kind="stable").assign(text_value=None)
    table = pa.Table.from_pandas(frame[EVENTS.columns.names], schema=EVENTS.columns, preserve_index=False)
    pq.write_table(table, folder / "events.parquet")
    people = pd.DataFrame({"subject_id": list(subjects), "person_id": list(subjects)})
    people.assign(index_time=INDEX, followup_end=INDEX).to_parquet(folder / "subjects.parquet")
    out = folder / "out"
    MODALITY.read(
        subjects=folder / "subjects.parquet",
        raw=folder / "events.parquet",
        features=features,
        table=out / "features.parquet",
        inputs=out / "inputs.npy",
        index=out / "index.parquet",
        **further,
    )
    return out


def opened(out):
    return MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")


def test_events_at_or_before_the_index_time_in_time_order(tmp_path):
    out = run(tmp_path)
    stored = opened(out)
    assert stored.subjects.tolist() == ["a", "b", "c"]
    assert read_features(out / "features.parquet")[0]["subject_id"].tolist() == ["a", "b", "c"]
    events = stored.events[slice(*stored.bounds[0])]
    names = [stored.names[code] for code in events["code"]]
    # Of one time the codes are in alphabetical order; undated and later events are left out.
    assert names == ['["LAB//CHOL", "mmol/L"]', '["DX//I10", ""]', '["LAB//CHOL", "mmol/L"]']
    assert events["days"].tolist() == [30, 3, 3]
    np.testing.assert_array_equal(events["value"], [5, np.nan, 7])
    assert pd.read_parquet(out / "index.parquet")["events"].tolist() == [3, 2, 1]


def test_limits_and_chunks(tmp_path):
    few = FEATURES.model_copy(update={"most": 2, "window": 5})
    out = run(tmp_path, features=few)
    stored, content = opened(out), (out / "inputs.npy").read_bytes()
    assert (stored.bounds[:, 1] - stored.bounds[:, 0]).tolist() == [2, 1, 1]
    assert stored.events["days"].tolist() == [3, 3, 4, 2]
    assert pd.read_parquet(out / "index.parquet")["events"].tolist() == [2, 1, 1]
    assert (run(tmp_path, features=few, chunk_events=1, threads=2) / "inputs.npy").read_bytes() == content


def test_codes_and_scales_are_of_the_training_subjects_alone(tmp_path):
    values = {"a": [1, 2, 3], "b": [4, 5], "c": [100, 200]}
    rows = [(who, -place - 1.0, "LAB//K", float(v), None) for who, own in values.items() for place, v in enumerate(own)]
    rows += [("a", -9.0, "DX//I10", None, None), ("b", -9.0, "DX//I10", None, None), ("c", -9.0, "DX//E11", None, None)]
    stored = opened(run(tmp_path, rows, subjects="abc"))
    prepared = stored.fit(np.array([0, 1]), FEW)
    # Median 3; quartiles 2 and 4.
    expected = {'["DX//I10", ""]': [0.0, 0.0], '["LAB//K", ""]': [3.0, pytest.approx(2 / 1.349)]}
    assert prepared.state() == {"scales": expected}
    assert list(prepared.state()["scales"]) == list(expected)
    assert prepared.sizes() == {"codes": 4}
    codes, scaled, days = prepared.inputs(np.array([2, 0])).batch(np.array([0, 1]))
    assert codes.tolist() == [[1, 3, 3, 0], [2, 3, 3, 3]]
    assert days.tolist() == [[9, 2, 1, 0], [9, 3, 2, 1]]
    z = np.array([0, -1, -2]) * 1.349 / 2
    np.testing.assert_allclose(scaled[1], [[0, 0], [z[0], 1], [z[1], 1], [z[2], 1]], atol=1e-6)
    np.testing.assert_allclose(scaled[0], [[0, 0], [4, 1], [4, 1], [0, 0]])  # held within 4
    assert stored.fit(np.array([2]), EventEncoder(minimum_subjects=1)).sizes() == {"codes": 4}
    # Two index times of one person are one person.
    own = stored.fit(np.arange(3), FEW, people=np.array(["p", "p", "q"], dtype=object)).state()["scales"]
    assert list(own) == ['["LAB//K", ""]']
    again = MODALITY.prepared_from(prepared.state(), stored).inputs(np.arange(3))
    assert again.fingerprint() == prepared.inputs(np.arange(3)).fingerprint()
    assert again.fingerprint() != stored.fit(np.arange(3), FEW).inputs(np.arange(3)).fingerprint()


def test_units_are_told_apart(tmp_path):
    stored = opened(run(tmp_path))
    assert '["LAB//CHOL", "mg/dL"]' in stored.names
    assert '["LAB//CHOL", "mmol/L"]' in stored.names
    prepared = stored.fit(np.arange(3), FEW)
    assert '["LAB//CHOL", "mg/dL"]' not in prepared.state()["scales"]
    codes, scaled, _ = prepared.inputs(np.array([1])).batch(np.array([0]))
    assert codes[0].tolist()[0] == 1
    assert scaled[0, 0].tolist() == [0, 0]  # the value of an unknown code says nothing


def test_one_patient_is_read_as_the_pipeline_reads(tmp_path):
    features = FEATURES.model_copy(update={"most": 2})
    stored = opened(run(tmp_path, features=features))
    prepared = stored.fit(np.arange(3), FEW)
    raw = pd.DataFrame(
        [(-days, code, value, unit) for who, days, code, value, unit in ROWS if who == "a" and days is not None],
        columns=["days", "code", "numeric_value", "unit"],
    )
    patient = MODALITY.one_patient(raw[raw["days"] >= 0].iloc[::-1], features)
    assert patient.measurements == {}
    seen = prepared.inputs(np.array([0])).batch(np.array([0]))
    alone = MODALITY.prepared_from(prepared.state(), patient.stored).inputs([0]).batch([0])
    for one, other in zip(seen, alone, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(DataError, match="there is no event"):
        MODALITY.one_patient(raw.assign(code="MED//X", days=1.0), features)
    with pytest.raises(DataError, match="1 columns are missing"):
        MODALITY.one_patient(raw.drop(columns="days"), features)


def test_nothing_to_read_is_answered(tmp_path):
    with pytest.raises(DataError, match="has a code that starts with 'LABS"):
        run(tmp_path, features=FEATURES.model_copy(update={"codes": ["LABS//"]}))
    with pytest.raises(DataError, match="no subject of the study has a dated event"):
        run(tmp_path, [("a", None, "DX//OLD", None, None)], features=FEATURES.model_copy(update={"codes": ["DX//"]}))
    out = run(tmp_path)
    events = np.load(out / "inputs.npy")
    np.save(out / "inputs.npy", events[::-1])
    with pytest.raises(DataError, match="its content is not that of the event_sequence inputs"):
        opened(out)
    (out / "inputs.npy").unlink()
    with pytest.raises(DataError, match="does not exist"):
        opened(out)


class _Sized:
    """Stands for prepared inputs of known sizes."""

    several = False

    def sizes(self):
        return {"codes": 12}


@pytest.mark.parametrize("architecture", ["set", "sequence"])
def test_networks_find_the_value_of_a_code(architecture):
    """The outcome is whether the value of code 5 is high; a set does not depend on the order, a sequence may."""
    torch.manual_seed(2)
    n, length = 256, 6
    codes = torch.randint(2, 12, (n, length))
    codes[codes == 5] = 6
    codes[:, 2] = 5
    codes[torch.rand(n) < 0.5, -1] = 0
    values = torch.stack([torch.randn(n, length), torch.ones(n, length)], dim=-1)
    days = torch.rand(n, length).sort(dim=1, descending=True)[0] * 300
    target = (values[:, 2, 0] > 0).float()
    encoder = EventEncoder(architecture=architecture, width=12, embedding=3, dropout=0.0)
    net = torch.nn.Sequential(MODALITY.build(encoder, _Sized()))
    head = torch.nn.Linear(3, 1)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        score = head(net[0](codes, values, days))[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(score, target).backward()
        optimiser.step()
    net.eval()
    found = net[0](codes, values, days)
    assert ((head(found)[:, 0] > 0) == (target > 0)).float().mean() > 0.9
    padded = [
        torch.nn.functional.pad(part, pad) for part, pad in ((codes, (0, 3)), (values, (0, 0, 0, 3)), (days, (0, 3)))
    ]
    torch.testing.assert_close(net[0](*padded), found)
    order = torch.randperm(length)
    moved = net[0](codes[:, order], values[:, order], days[:, order])
    assert torch.allclose(moved, found, atol=1e-5) == (architecture == "set")
    empty = net[0](torch.zeros_like(codes), values, days)
    assert torch.isfinite(empty).all()
    changed, same, _ = MODALITY.augmentation()(codes, values, days)
    assert ((changed == codes) | (changed == 0)).all()
    assert torch.isfinite(net[0](changed, same, days)).all()
