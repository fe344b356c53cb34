"""What the demo cohort generates on request: notes, heart sounds, repeated recordings. The rest stays as it was."""

import hashlib
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lifelines.utils import concordance_index
from pydantic import ValidationError

from riskweave.study.sources import SyntheticSource
from riskweave.synthetic import generate
from riskweave.synthetic.latent import FURTHER_LATENTS, draw_latents, log_hazards
from riskweave.synthetic.notes import write_note
from riskweave.synthetic.outcomes import calibrate, draw_outcomes
from riskweave.synthetic.schedule import draw_schedule, states_shown
from riskweave.synthetic.sound import SAMPLING_RATE, HeartSound, synthesise_sound

SUBJECTS = 60
# Of the cohort as it was before notes and sounds could be generated: 60 subjects, everything else by default.
TEXT_FILES = {
    "subjects.csv": "da06b8a16d942107",
    "recordings.csv": "8218820eb0980a7f",
    "images.csv": "86ef52ca1b4c5ed7",
}
ECG_FILES = "06c98a14c29bd4c8"
IMAGE_FILES = "7080067f887f4582"
EVENTS, TRUTH = "2381febefa9fbeb3", "414bc71cc52b56cb"


def _source(**changes) -> SyntheticSource:
    return SyntheticSource(source="synthetic", **{"subjects": SUBJECTS, **changes})


@pytest.fixture(scope="module")
def default(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("default")
    generate(directory=directory, source=_source())
    return directory


@pytest.fixture(scope="module")
def further(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("further")
    generate(directory=directory, source=_source(also=["text", "audio"], missing_text=0.2, missing_audio=0.3))
    return directory


def _digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def _table(frame: pd.DataFrame) -> str:
    """Digest of the values: the bytes of a Parquet file tell the version of its writer."""
    return _digest([frame.round(6).to_csv(index=False, lineterminator="\n").encode()])


def digests(directory: Path) -> dict[str, str]:
    """Digest all that does not depend on the version of a library."""
    from PIL import Image

    found = {name: _digest([(directory / name).read_bytes()]) for name in TEXT_FILES}
    found["ecg"] = _digest([path.read_bytes() for path in sorted((directory / "ecg").rglob("*.*"))])
    found["png"] = _digest([np.asarray(Image.open(p)).tobytes() for p in sorted((directory / "images").rglob("*.png"))])
    found["events"] = _table(pd.concat([pd.read_parquet(p) for p in sorted((directory / "data").glob("*.parquet"))]))
    found["truth"] = _table(pd.read_parquet(directory / "truth.parquet"))
    return found


def test_the_default_cohort_is_the_one_it_always_was(default):
    expected = TEXT_FILES | {"ecg": ECG_FILES, "png": IMAGE_FILES, "events": EVENTS, "truth": TRUTH}
    assert digests(default) == expected
    assert not (default / "sounds").exists()
    assert not (default / "sounds.csv").exists()


def test_further_modalities_leave_who_the_subjects_are(default, further):
    names = ["subject_id", "age", "sex", "centre"]
    before, after = (pd.read_csv(folder / "subjects.csv")[[*names, "index_time"]] for folder in (default, further))
    pd.testing.assert_frame_equal(before, after)
    old, new = (pd.read_parquet(folder / "truth.parquet") for folder in (default, further))
    for name in ("log_hazard_ehr", "log_hazard_ecg", "log_hazard_image", "metabolic", "ischaemia", "heart_size"):
        pd.testing.assert_series_equal(old[name], new[name])
    parts = ["demographic", "ehr", "ecg", "image", "interaction", "text", "audio"]
    np.testing.assert_allclose(new[[f"log_hazard_{p}" for p in parts]].sum(axis=1), new["log_hazard"], atol=1e-6)
    assert set(new.columns) - set(old.columns) == {
        "log_hazard_text", "log_hazard_audio", *FURTHER_LATENTS["text"], *FURTHER_LATENTS["audio"]
    }  # fmt: skip


def _events(directory: Path) -> pd.DataFrame:
    events = pd.concat([pd.read_parquet(path) for path in sorted((directory / "data").glob("*.parquet"))])
    subjects = pd.read_csv(directory / "subjects.csv", parse_dates=["index_time", "followup_end"])
    return events.merge(subjects[["subject_id", "index_time", "followup_end"]], on="subject_id")


def test_notes_are_dated_events_with_a_text(further):
    events = _events(further)
    notes = events[events["code"].str.startswith("NOTE//")]
    assert notes["numeric_value"].isna().all()
    assert notes["text_value"].str.split().str.len().between(30, 200).all()
    assert (notes["time"] <= notes["followup_end"]).all()
    before = notes[notes["time"] <= notes["index_time"]]
    assert before["subject_id"].nunique() == SUBJECTS - round(0.2 * SUBJECTS)
    assert len(before) > 1.5 * before["subject_id"].nunique()
    codes = pq.read_table(further / "metadata/codes.parquet")["code"].to_pylist()
    assert set(notes["code"]) <= set(codes)
    # Sorted as MEDS wants it, static events first.
    ids, time = events["subject_id"], events["time"].fillna(pd.Timestamp("1800-01-01"))
    assert ids.is_monotonic_increasing
    assert (time.diff()[ids.diff() == 0] >= pd.Timedelta(0)).all()


def test_sounds_are_wav_files_of_ten_seconds(further):
    manifest = pd.read_csv(further / "sounds.csv", dtype={"subject_id": str}, parse_dates=["time"])
    subjects = pd.read_csv(further / "subjects.csv", dtype={"subject_id": str}, parse_dates=["index_time"])
    joined = manifest.merge(subjects, on="subject_id")
    available = joined.loc[joined["time"] <= joined["index_time"], "subject_id"].nunique()
    assert available == SUBJECTS - round(0.3 * SUBJECTS)
    for path in manifest["path"][:10]:
        with wave.open(str(further / path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLING_RATE)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert len(samples) == 10 * SAMPLING_RATE
        assert 1000 < np.abs(samples.astype(int)).max() <= 32767


def test_a_second_call_replaces_sounds_too(tmp_path):
    generate(directory=tmp_path, source=_source(subjects=20, also=["audio"], missing_ecg=1, missing_image=1))
    assert (tmp_path / "sounds.csv").is_file()
    generate(directory=tmp_path, source=_source(subjects=20, missing_ecg=1, missing_image=1))
    assert not (tmp_path / "sounds.csv").exists()
    assert not (tmp_path / "sounds").exists()


def _large(also, noise=(), n=4000, seed=11):
    latents = draw_latents(subjects=n, centres=4, seed=seed, also=also)
    parts = log_hazards(latents, noise=noise, also=also)
    intercepts = calibrate(noise=noise, also=also)
    outcomes = draw_outcomes(parts=parts, intercepts=intercepts, noise=noise, seed=seed)
    outcomes["time"], outcomes["event"] = outcomes[["target", "end"]].min(axis=1), outcomes["target"] <= outcomes["end"]
    return latents, parts, outcomes


def test_each_further_modality_is_worth_about_as_much_as_the_others():
    _, parts, outcomes = _large(["text", "audio"])
    at_risk = outcomes["prior"].isna()
    o, parts = outcomes[at_risk], parts[at_risk]
    found = {name: concordance_index(o["time"], -parts[name], o["event"]) for name in parts}
    assert 0.62 < found["text"] < 0.68
    assert 0.62 < found["audio"] < 0.68
    assert 0.84 < found["total"] < 0.89


@pytest.mark.parametrize("modality", sorted(FURTHER_LATENTS))
def test_a_further_modality_of_noise_says_nothing(modality):
    latents, parts, outcomes = _large(["text", "audio"], noise=[modality])
    assert (parts[modality] == 0).all()
    for name in FURTHER_LATENTS[modality]:
        assert abs(concordance_index(outcomes["time"], latents[name], outcomes["event"]) - 0.5) < 0.035


def test_noise_that_is_not_generated_is_a_mistake():
    with pytest.raises(ValidationError, match="not generated"):
        _source(noise=["audio"])
    with pytest.raises(ValidationError, match="twice"):
        _source(also=["text", "text"])


def test_notes_show_their_states():
    latents = draw_latents(subjects=800, centres=3, seed=2, also=["text"])
    rng = np.random.default_rng(0)
    notes = pd.Series([write_note(state=s, after_target=False, rng=rng) for s in latents.to_dict("records")])
    assert notes.is_unique
    said = {
        "denial": notes.str.contains("free of chest discomfort|No chest pain or tightness|Denies chest pain"),
        "severe": notes.str.contains("[Cc]rushing"),
        "dependent": notes.str.contains("NYHA class four|NYHA IV"),
        "family": notes.str.contains("Strong family history|premature coronary disease with|heart attack aged"),
    }
    assert latents["angina"][said["denial"]].max() < latents["angina"][said["severe"]].min() + 0.3
    assert latents["frailty"][said["dependent"]].min() > 0.3
    assert latents["family_history"][said["family"]].mean() > 0.9
    # Words alone deceive: neighbours have heart attacks, and most of those without a family history mention one.
    assert notes[latents["family_history"] == 0].str.contains("heart attack").mean() > 0.2


def test_sounds_show_their_states():
    from scipy.signal import stft

    rng = np.random.default_rng(3)
    states = rng.normal(size=(80, 2))
    found = []
    for murmur, gallop in states:
        sound = synthesise_sound(sound=HeartSound(murmur=murmur, gallop=gallop), gain=0.7, rng=rng)
        _, _, spectrum = stft(sound, SAMPLING_RATE, nperseg=200)
        energy = (np.abs(spectrum) ** 2).mean(axis=1)
        # Against the first sound at 60 Hz: the murmur at 120 to 250 Hz, the third sound at 30 Hz.
        found.append(np.log([energy[12:26].sum(), energy[2:4].sum()]) - np.log(energy[5:8].sum()))
    for k, least in ((0, 0.75), (1, 0.6)):
        assert np.corrcoef(np.array(found)[:, k], states[:, k])[0, 1] > least


def test_repeats_are_further_noisy_views():
    latents, _, outcomes = _large([], n=2000)
    plan = {"latents": latents, "outcomes": outcomes, "modality": "ecg", "missing": 0.5, "seed": 1}
    few, many = draw_schedule(**plan), draw_schedule(**plan, further=2)
    assert len(many) - len(few) == pytest.approx(2 * 1000, rel=0.1)
    # The others stay where they are, and nobody gains a modality.
    assert set(zip(few["row"], few["time"], strict=True)) <= set(zip(many["row"], many["time"], strict=True))
    assert set(many.loc[many["days"] <= 0, "row"]) == set(few.loc[few["days"] <= 0, "row"])
    assert (many.groupby("row")["number"].max() + 1 == many["row"].value_counts().sort_index()).all()

    shown = {"latents": latents, "schedule": many, "modality": "ecg", "names": ("ischaemia",), "seed": 1}
    own = latents["ischaemia"].to_numpy()[many["row"]]
    assert (states_shown(**shown, repeats=0)["ischaemia"].to_numpy() == own).all()
    seen = states_shown(**shown, repeats=2)
    latest = many.groupby("row")["number"].transform("max") == many["number"]
    mean = seen.groupby(many["row"])["ischaemia"].mean()
    assert np.corrcoef(seen["ischaemia"][latest], own[latest])[0, 1] == pytest.approx(0.894, abs=0.03)
    assert np.corrcoef(mean, latents["ischaemia"][mean.index])[0, 1] > 0.93
    assert (seen["conduction"].to_numpy() == latents["conduction"].to_numpy()[many["row"]]).all()
