"""Notes: read at or before the index time, told apart by the words of training subjects, never told to anybody."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from riskweave.cohort.tables import EVENTS
from riskweave.errors import DataError
from riskweave.modalities.base import read_features
from riskweave.modalities.stored import FlatWriter
from riskweave.modalities.text import MODALITY
from riskweave.modalities.tokens import tokens_of
from riskweave.study.encoders import LstmEncoder
from riskweave.study.features import TextFeatures

FEATURES = TextFeatures(modality="text", codes=["NOTE//"], encoder=LstmEncoder(minimum_count=2, tokens=4))
INDEX = pd.Timestamp("2020-06-01 12:00")


def write_events(folder, rows):
    """Write events (subject_id, days from the index, code, text)."""
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "code", "text_value"])
    frame["time"] = INDEX + pd.to_timedelta(frame["time"], "D")
    frame = frame.sort_values(["subject_id", "time"], kind="stable").assign(numeric_value=None, unit=None)
    table = pa.Table.from_pandas(frame[EVENTS.columns.names], schema=EVENTS.columns, preserve_index=False)
    pq.write_table(table, folder / "events.parquet")


def run(folder, rows, *, features=FEATURES, subjects=("a", "b", "c"), **further):
    write_events(folder, rows)
    people = pd.DataFrame({"subject_id": list(subjects), "person_id": [name[0] for name in subjects]})
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


ROWS = [
    ("a", -30, "NOTE//GP", "Known murmur, EF 55 %."),
    ("a", -3, "NOTE//GP", "  No dyspnoea today "),
    ("a", 0.2, "NOTE//GP", "Admitted with infarction"),
    ("a", -1, "LAB//CHOL", "high"),
    ("b", -5, "NOTE//ED", "dyspnoea, ankle swelling; EF 30"),
    ("b", -4, "NOTE//ED", "   "),
    ("b", -2, "NOTE//ED", None),
    ("c", 3, "NOTE//GP", "dyspnoea"),
    ("z", -3, "NOTE//GP", "somebody else"),
]


def test_words_and_numbers_of_a_note():
    assert tokens_of("Follow-up: BP 140/90, EF 55.5 %; S3 heard. Don't") == [
        "follow-up", "bp", "140", "90", "ef", "55.5", "s", "3", "heard", "don't",
    ]  # fmt: skip
    assert tokens_of("Größe 1,80 m… ???") == ["größe", "1,80", "m"]
    assert tokens_of("...") == []


def test_notes_at_or_before_the_index_time(tmp_path, caplog):
    with caplog.at_level("DEBUG", logger="riskweave"):
        out = run(tmp_path, ROWS)
    table, columns = read_features(out / "features.parquet")
    assert table.to_dict("list") == {
        "subject_id": ["a", "b"], "notes": [2.0, 1.0], "words": [3.0, 5.0], "days_since": [3.0, 5.0],
    }  # fmt: skip
    assert [(column.name, column.unit) for column in columns] == [
        ("notes", "notes"), ("words", "words"), ("days_since", "days"),
    ]  # fmt: skip
    stored = MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")
    assert stored.subjects.tolist() == ["a", "b"]
    assert bytes(np.load(out / "inputs.npy")).decode() == "No dyspnoea todaydyspnoea, ankle swelling; EF 30"
    assert "dyspnoea" not in caplog.text
    assert "dyspnoea" not in (out / "index.parquet").read_bytes().decode("latin-1")
    assert not list(out.glob(".*"))


def test_a_note_dated_to_the_day_of_the_index_may_be_later(tmp_path):
    rows = [("a", -0.5, "NOTE//GP", "midnight of the day"), ("b", -1.5, "NOTE//GP", "midnight of the day before")]
    out = run(tmp_path, rows, subjects=("a", "b"))
    assert read_features(out / "features.parquet")[0]["subject_id"].tolist() == ["b"]


def test_windows_several_notes_and_chunks(tmp_path):
    several = FEATURES.model_copy(update={"most": 2, "window": 20})
    rows = [*ROWS, ("a", -2, "NOTE//GP", "third"), ("a", -2, "NOTE//ED", "fourth")]
    out = run(tmp_path, rows, features=several)
    first = [(out / name).read_bytes() for name in ("inputs.npy", "index.parquet", "features.parquet")]
    table, _ = read_features(out / "features.parquet")
    assert table["notes"].tolist() == [3.0, 1.0]
    # Of one time the codes decide, in alphabetical order; the older note is beyond the two.
    assert bytes(np.load(out / "inputs.npy")).decode().startswith("fourththird")
    out = run(tmp_path, rows, features=several, chunk_events=1, threads=2)
    assert [(out / name).read_bytes() for name in ("inputs.npy", "index.parquet", "features.parquet")] == first
    prepared = MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet").fit(np.array([0, 1]), FEATURES.encoder)
    assert prepared.several
    words, owner = prepared.inputs(np.array([1, 0])).batch(np.array([0, 1]))
    assert owner.tolist() == [0, 1, 1]
    assert words.shape == (3, 4)


def test_vocabulary_is_of_the_training_subjects_alone(tmp_path):
    notes = ("pain pain edema 12", "pain edema rest", "pain 12 cough cough", "cough 77 later word")
    rows = [(name, -1, "NOTE//A", note) for name, note in zip("abcd", notes, strict=True)]
    out = run(tmp_path, rows, subjects=("a", "b", "c", "d"))
    stored = MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")
    prepared = stored.fit(np.array([0, 1, 2]), FEATURES.encoder)
    # By the subjects who have them: two at least; `cough` stands twice in one note alone, `77` in no training note.
    assert prepared.state() == {"words": ["pain", "12", "edema"], "tokens": 4}
    assert prepared.sizes() == {"words": 6}
    (words,) = prepared.inputs(np.arange(4)).batch(np.arange(4))
    assert words.tolist() == [[3, 3, 5, 4], [3, 5, 1, 0], [3, 4, 1, 1], [1, 2, 1, 1]]
    assert stored.fit(np.array([3]), LstmEncoder(minimum_count=1)).state()["words"] == ["77", "cough", "later", "word"]
    few = stored.fit(np.arange(4), LstmEncoder(minimum_count=1, vocabulary=10, tokens=20))
    assert few.state()["words"][:3] == ["pain", "12", "cough"]
    again = MODALITY.prepared_from(prepared.state(), stored).inputs(np.arange(4))
    assert again.fingerprint() == prepared.inputs(np.arange(4)).fingerprint()
    assert again.fingerprint() != few.inputs(np.arange(4)).fingerprint()
    assert again.fingerprint() != prepared.inputs(np.arange(3)).fingerprint()


def test_one_patient_is_read_as_the_pipeline_reads(tmp_path):
    for most in (1, 2):
        features = FEATURES.model_copy(update={"most": most})
        out = run(tmp_path, ROWS, features=features)
        stored = MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")
        prepared = stored.fit(np.array([0, 1]), features.encoder)
        raw = pd.DataFrame([(-days, code, text) for who, days, code, text in ROWS if who == "a" and days < 0])
        raw.columns = ["days", "code", "text_value"]
        patient = MODALITY.one_patient(raw, features)
        table, _ = read_features(out / "features.parquet")
        assert patient.measurements == table.drop(columns="subject_id").iloc[0].to_dict()
        seen = prepared.inputs(np.array([0])).batch(np.array([0]))
        alone = MODALITY.prepared_from(prepared.state(), patient.stored).inputs([0]).batch([0])
        for one, other in zip(seen, alone, strict=True):
            torch.testing.assert_close(one, other)
    with pytest.raises(DataError, match="1 events come after the index time"):
        MODALITY.one_patient(raw.assign(days=[-1.0, *raw["days"][1:]]), features)
    with pytest.raises(DataError, match="there is no note"):
        MODALITY.one_patient(raw.assign(code="OTHER"), features)


def test_what_cannot_be_read_is_answered_without_any_text(tmp_path):
    with pytest.raises(DataError, match="no event at or before the index time has a code") as error:
        run(tmp_path, ROWS, features=FEATURES.model_copy(update={"codes": ["NOTES//"]}))
    assert "murmur" not in str(error.value)
    late = [("a", 2, "NOTE//GP", "secret"), ("a", -3, "NOTE//GP", " ")]
    with pytest.raises(DataError, match="no subject of the study has a dated note") as error:
        run(tmp_path, late)
    assert "secret" not in str(error.value)
    assert not list((tmp_path / "out").glob("*"))


def test_changed_inputs_are_found(tmp_path):
    out = run(tmp_path, ROWS)
    with FlatWriter(out / "inputs.npy", np.dtype(np.uint8)) as writer:
        writer.write(np.frombuffer(b"other notes", np.uint8))
    assert np.load(out / "inputs.npy").tobytes() == b"other notes"
    with pytest.raises(DataError, match="its content is not that of the text inputs"):
        MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")


def test_network_of_words_finds_a_word():
    """Notes of 3 to 8 words; the outcome is whether word 5 is among them. Empty notes are read too."""
    torch.manual_seed(1)
    encoder = LstmEncoder(width=8, hidden=8, embedding=2, dropout=0.0)
    words = torch.randint(6, 40, (256, 8))
    words[:, 3:] *= torch.rand(256, 5).sort(descending=True)[0] > 0.3
    words[:128, 1] = 5
    words[-1] = 0
    target = (words == 5).any(dim=1).float()
    net = torch.nn.Sequential(MODALITY.build(encoder, _Sized(words=40)), torch.nn.Linear(2, 1))
    assert net[0].features == 2
    assert (net[0](words) == 0).all()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(words)[:, 0], target).backward()
        optimiser.step()
    net.eval()
    assert ((net(words)[:, 0] > 0) == (target > 0)).float().mean() > 0.95
    longer = torch.nn.functional.pad(words, (0, 7))
    torch.testing.assert_close(net(longer), net(words))
    changed, owner = MODALITY.augmentation()(words, torch.arange(256))
    assert ((changed == words) | (changed == 1)).all()
    assert 0.05 < (changed[words != 0] == 1).float().mean() < 0.15
    assert owner.tolist() == list(range(256))


class _Sized:
    """Stands for prepared inputs of known sizes."""

    def __init__(self, **sizes):
        self._sizes = sizes

    def sizes(self):
        return self._sizes


def test_a_name_in_the_notes_of_one_person_is_not_kept_however_many_index_times_there_are(tmp_path):
    notes = ("pain Quimby", "pain Quimby", "pain Quimby", "pain rest", "pain rest")
    rows = [(name, -1, "NOTE//A", note) for name, note in zip("abcde", notes, strict=True)]
    out = run(tmp_path, rows, subjects=tuple("abcde"))
    stored = MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")
    people = np.array(["q", "q", "q", "r", "s"], dtype=object)
    kept = stored.fit(np.arange(5), LstmEncoder(minimum_count=2), people=people).state()["words"]
    assert kept == ["pain", "rest"]
    # Of some subjects in another order, people go with their subjects.
    kept = stored.fit(np.array([4, 0, 3]), LstmEncoder(minimum_count=2), people=people[[4, 0, 3]]).state()["words"]
    assert kept == ["pain", "rest"]
