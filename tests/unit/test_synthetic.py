"""The demo cohort: readable by the libraries of its formats, reproducible to the byte, true to its planted hazards."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lifelines.utils import concordance_index

from riskweave.errors import DataError
from riskweave.study.sources import SyntheticSource
from riskweave.synthetic import generate
from riskweave.synthetic.ecg import LEADS, Ecg, synthesise
from riskweave.synthetic.image import Radiograph, render
from riskweave.synthetic.image_files import write_image
from riskweave.synthetic.latent import LATENTS, draw_latents, log_hazards
from riskweave.synthetic.outcomes import HORIZONS, calibrate, cumulative_incidence, draw_outcomes
from riskweave.synthetic.wfdb_files import write_record

SUBJECTS = 120


def _source(**changes) -> SyntheticSource:
    return SyntheticSource(source="synthetic", **{"subjects": SUBJECTS, "seed": 3, **changes})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("cohort")
    generate(directory=directory, source=_source())
    return directory


@pytest.fixture(scope="module")
def subjects(cohort) -> pd.DataFrame:
    frame = pd.read_csv(cohort / "subjects.csv", dtype={"subject_id": str}, parse_dates=["index_time", "followup_end"])
    return frame.set_index("subject_id")


@pytest.fixture(scope="module")
def events(cohort, subjects) -> pd.DataFrame:
    frame = pd.concat([pd.read_parquet(path) for path in sorted((cohort / "data").glob("*.parquet"))])
    frame["subject_id"] = frame["subject_id"].astype(str)
    return frame.join(subjects[["index_time", "followup_end"]], on="subject_id")


def _tree(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        generate(directory=tmp_path / name, source=_source(subjects=24, seed=seed))
    first, second, third = (_tree(tmp_path / name) for name in "abc")
    assert first == second
    assert first["subjects.csv"] != third["subjects.csv"]
    # A second call replaces the first one's files and leaves none behind.
    generate(directory=tmp_path / "c", source=_source(subjects=24, seed=5))
    assert _tree(tmp_path / "c") == first


def test_foreign_files_are_not_overwritten(tmp_path):
    (tmp_path / "subjects.csv").write_text("subject_id\n001\n")
    with pytest.raises(DataError, match="not made by its generator"):
        generate(directory=tmp_path, source=_source(subjects=24))
    assert (tmp_path / "subjects.csv").read_text() == "subject_id\n001\n"


# flexible_schema (of meds) imports jsonschema's optional format checkers, which warn of their own deprecations.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_are_valid_meds(tmp_path):
    meds = pytest.importorskip("meds")
    generate(directory=tmp_path, source=_source(subjects=510, missing_ecg=1.0, missing_image=1.0))
    seen, used = [], set()
    shards = sorted((tmp_path / meds.data_subdirectory).glob("*.parquet"))
    assert len(shards) == 2
    for shard in shards:
        table = pq.read_table(shard)
        meds.DataSchema.validate(table)
        ids = table["subject_id"].to_pandas()
        assert ids.is_monotonic_increasing
        # Sorted by time within a subject, static events first.
        time = table["time"].to_pandas().fillna(pd.Timestamp("1800-01-01"))
        assert (time.diff()[ids.diff() == 0] >= pd.Timedelta(0)).all()
        seen.append(set(ids))
        used |= set(table["code"].to_pylist())
    assert not seen[0] & seen[1]
    assert sum(map(len, seen)) == 510
    codes = pq.read_table(tmp_path / meds.code_metadata_filepath)
    meds.CodeMetadataSchema.validate(codes)
    assert used <= set(codes["code"].to_pylist())
    frame = codes.to_pandas().set_index("code")
    assert frame.loc[frame.index.str.match("LAB|VITAL"), "unit"].notna().all()


def test_every_event_fits_the_subject(events, subjects):
    timed = events[events["time"].notna()]
    assert (timed["time"] <= timed["followup_end"]).all()
    birth = timed[timed["code"] == "MEDS_BIRTH"].set_index("subject_id")
    age = (birth["index_time"] - birth["time"]) / pd.Timedelta(days=365.25)
    np.testing.assert_allclose(age, subjects.loc[birth.index, "age"], atol=1e-3)
    death = timed[timed["code"] == "MEDS_DEATH"]
    assert (death["time"] == death["followup_end"]).all()
    assert (subjects["followup_end"] > subjects["index_time"]).all()
    others = timed[timed["code"] != "MEDS_BIRTH"]
    assert (others.groupby("subject_id")["time"].min() < subjects["index_time"]).all()
    # Something lies after the index time (a leak would be possible), and some measurements are lost.
    assert (others["time"] > others["index_time"]).any()
    lost = events[events["code"].str.startswith("LAB")]["numeric_value"].isna().mean()
    assert 0.005 < lost < 0.05


def test_truth_agrees_with_the_recorded_events(cohort, events, subjects):
    truth = pd.read_parquet(cohort / "truth.parquet").set_index("subject_id")
    assert list(truth.index) == list(subjects.index)
    infarction = events[(events["code"] == "ICD10//I21") & (events["time"] > events["index_time"])]
    first = infarction.groupby("subject_id").first()
    days = (first["time"] - first["index_time"]) / pd.Timedelta(days=1)
    expected = truth.loc[truth["days_to_target"] <= truth["days_to_end"], "days_to_target"]
    np.testing.assert_allclose(days, expected, atol=1e-4)
    assert len(days) == len(expected) > 0
    before = events[(events["code"] == "ICD10//I21") & (events["time"] <= events["index_time"])]
    assert set(before["subject_id"]) == set(truth.index[truth["prevalent"]])
    assert truth["prevalent"].sum() == round(0.03 * SUBJECTS)
    parts = truth[[f"log_hazard_{p}" for p in ("demographic", "ehr", "ecg", "image", "interaction")]]
    np.testing.assert_allclose(parts.sum(axis=1), truth["log_hazard"], atol=1e-6)


@pytest.mark.parametrize(("manifest", "missing"), [("recordings.csv", 0.15), ("images.csv", 0.2)])
def test_missing_shares_are_exact(cohort, subjects, manifest, missing):
    frame = pd.read_csv(cohort / manifest, dtype={"subject_id": str}, parse_dates=["time"])
    frame = frame.join(subjects, on="subject_id")
    assert (frame["time"] <= frame["followup_end"]).all()
    available = frame.loc[frame["time"] <= frame["index_time"], "subject_id"].nunique()
    assert available == SUBJECTS - round(missing * SUBJECTS)
    assert frame["path"].is_unique


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_extreme_missing_shares(tmp_path, share):
    generate(directory=tmp_path, source=_source(subjects=20, centres=1, missing_ecg=share, missing_image=1.0))
    subjects = pd.read_csv(tmp_path / "subjects.csv", parse_dates=["index_time"]).set_index("subject_id")
    frame = pd.read_csv(tmp_path / "recordings.csv", parse_dates=["time"]).join(subjects, on="subject_id")
    available = frame.loc[frame["time"] <= frame["index_time"], "subject_id"].nunique()
    assert available == 20 * (1 - share)


def test_recordings_are_read_by_wfdb(cohort):
    import wfdb

    manifest = pd.read_csv(cohort / "recordings.csv")
    orders = set()
    for path in manifest["path"][:30]:
        record = wfdb.rdrecord(cohort / path)
        assert (record.fs, record.p_signal.shape, set(record.units)) == (500, (5000, 12), {"mV"})
        digital = wfdb.rdrecord(cohort / path, physical=False)
        assert digital.calc_checksum() == digital.checksum
        orders.add(tuple(record.sig_name))
        assert set(record.sig_name) == set(LEADS)
        assert 0.3 < np.abs(record.p_signal).max() < 8
        lead = dict(zip(record.sig_name, record.p_signal.T, strict=True))
        # Einthoven's law, up to the rounding of three digitised leads.
        np.testing.assert_allclose(lead["I"] + lead["III"], lead["II"], atol=2 / min(record.adc_gain))
    assert len(orders) == 2


def test_record_writer_agrees_with_wfdb(tmp_path):
    import wfdb

    signal = np.random.default_rng(0).normal(size=(700, 2))
    write_record(path=tmp_path / "ours", signal=signal, leads=["I", "II"], sampling_rate=500, gain=200)
    digital = np.rint(signal * 200).astype(int)
    wfdb.wrsamp(
        "theirs",
        fs=500,
        units=["mV", "mV"],
        sig_name=["I", "II"],
        d_signal=digital,
        fmt=["16", "16"],
        adc_gain=[200, 200],
        baseline=[0, 0],
        write_dir=str(tmp_path),
    )
    assert (tmp_path / "ours.dat").read_bytes() == (tmp_path / "theirs.dat").read_bytes()
    ours, theirs = wfdb.rdheader(tmp_path / "ours"), wfdb.rdheader(tmp_path / "theirs")
    for key in ("fs", "sig_len", "adc_gain", "baseline", "units", "init_value", "checksum", "sig_name", "fmt"):
        assert getattr(ours, key) == getattr(theirs, key)


def test_images_are_read_by_pillow_and_pydicom(cohort):
    import pydicom
    from PIL import Image

    kinds, uids = set(), set()
    for path in pd.read_csv(cohort / "images.csv")["path"]:
        if path.endswith(".png"):
            with Image.open(cohort / path) as image:
                kinds.add(image.mode)
                assert min(image.size) >= 96
        else:
            dataset = pydicom.dcmread(cohort / path)
            kinds.add(dataset.PhotometricInterpretation)
            uids.add(dataset.SOPInstanceUID)
            assert dataset.SOPInstanceUID.is_valid
            assert dataset.pixel_array.max() < 4096
            assert b"PYDICOM" not in (cohort / path).read_bytes()[:600]
    assert kinds == {"L", "I;16", "MONOCHROME1", "MONOCHROME2"}
    assert len(uids) > 20


def test_one_image_is_the_same_in_every_format(tmp_path):
    import pydicom
    from PIL import Image

    image = render(radiograph=Radiograph(heart_size=0, texture=0), shape=(96, 112), rng=np.random.default_rng(0))
    same = {"image": image, "subject_id": "1", "time": pd.Timestamp("2015-01-01"), "key": "x"}
    for kind in ("png8", "png16", "monochrome1", "monochrome2"):
        write_image(path=tmp_path / kind, kind=kind, **same)
    np.testing.assert_allclose(np.array(Image.open(tmp_path / "png8")) / 255, image, atol=1 / 255)
    np.testing.assert_allclose(np.array(Image.open(tmp_path / "png16")) / 65535, image, atol=1 / 65535)
    np.testing.assert_allclose(pydicom.dcmread(tmp_path / "monochrome2").pixel_array / 4095, image, atol=1 / 4095)
    np.testing.assert_allclose(1 - pydicom.dcmread(tmp_path / "monochrome1").pixel_array / 4095, image, atol=1 / 4095)


def _large(noise=(), seed=11, n=4000):
    latents = draw_latents(subjects=n, centres=4, seed=seed)
    parts = log_hazards(latents, noise=noise)
    intercepts = calibrate(noise=noise)
    outcomes = draw_outcomes(parts=parts, intercepts=intercepts, noise=noise, seed=seed)
    outcomes["time"] = outcomes[["target", "end"]].min(axis=1)
    outcomes["event"] = outcomes["target"] <= outcomes["end"]
    return latents, parts, intercepts, outcomes


def test_planted_concordances_are_those_announced():
    _, parts, _, outcomes = _large()
    at_risk = outcomes["prior"].isna()
    o, parts = outcomes[at_risk], parts[at_risk]
    found = {name: concordance_index(o["time"], -parts[name], o["event"]) for name in parts}
    assert 0.82 < found["total"] < 0.87
    assert 0.57 < found["demographic"] < 0.63
    for modality in LATENTS:
        assert 0.65 < found[modality] < 0.71
    # The interaction is worth finding.
    additive = concordance_index(o["time"], -(parts["total"] - parts["interaction"]), o["event"])
    assert found["total"] - additive > 0.005


def test_incidences_are_those_announced_and_agree_with_the_drawn_times():
    _, parts, intercepts, outcomes = _large(n=20_000)
    risk = cumulative_incidence(
        target=parts["total"].to_numpy(), death=parts["death"].to_numpy(), intercepts=intercepts, days=HORIZONS
    )
    assert (risk >= 0).all()
    assert (risk.sum(axis=1) <= 1 + 1e-9).all()
    assert (np.diff(risk, axis=2) >= -1e-12).all()
    first = outcomes["target"] < outcomes["death"]
    for k, day in enumerate(HORIZONS):
        # Binomial standard error at n = 20,000 is below 0.0034.
        assert abs(((outcomes["target"] <= day) & first).mean() - risk[:, 0, k].mean()) < 0.012
        assert abs(((outcomes["death"] <= day) & ~first).mean() - risk[:, 1, k].mean()) < 0.012
    assert 0.27 < risk[:, 0, -1].mean() < 0.33
    assert 0.08 < risk[:, 1, -1].mean() < 0.12


@pytest.mark.parametrize("modality", sorted(LATENTS))
def test_a_noise_modality_says_nothing(modality):
    latents, parts, _, outcomes = _large(noise=[modality])
    assert (parts[modality] == 0).all()
    died = outcomes["death"] <= outcomes["end"]
    for name in LATENTS[modality]:
        for time, event in ((outcomes["time"], outcomes["event"]), (outcomes["end"], died)):
            # The standard error of a concordance with about 1,000 events is 0.009.
            assert abs(concordance_index(time, latents[name], event) - 0.5) < 0.035
        prevalent = latents.loc[outcomes["prior"].notna(), name]
        assert abs(prevalent.mean() - latents[name].mean()) < 4 * latents[name].std() / np.sqrt(len(prevalent))
    others = [name for name in LATENTS if name != modality]
    assert all(concordance_index(outcomes["time"], -parts[name], outcomes["event"]) > 0.62 for name in others)


def test_the_health_record_shows_its_states(events, cohort):
    truth = pd.read_parquet(cohort / "truth.parquet").set_index("subject_id")
    before = events[events["time"] <= events["index_time"]]
    mean = before.pivot_table(index="subject_id", columns="code", values="numeric_value", aggfunc="mean")
    for code, state in (("VITAL//SBP", "vascular"), ("LAB//TRIGLYCERIDES", "metabolic"), ("LAB//EGFR", "renal")):
        assert abs(mean[code].corr(truth[state])) > 0.5
    smokers = set(before.loc[before["code"] == "ICD10//F17", "subject_id"])
    assert truth.loc[sorted(smokers), "smoker"].mean() > 0.6


def _measure_ecg(signal: np.ndarray) -> list[float]:
    """Rate, irregularity, QRS area over height and T of lead V5, from R peaks that SciPy finds."""
    from scipy.signal import find_peaks

    steep = np.abs(np.diff(signal[:, 6:], axis=0)).sum(axis=1)
    peaks, _ = find_peaks(np.convolve(steep, np.ones(40), "same"), distance=140, prominence=steep.max() * 8)
    intervals = np.diff(peaks) / 500
    peaks = peaks[(peaks > 60) & (peaks < 4700)]
    beat = np.mean([signal[p - 60 : p + 250] for p in peaks], axis=0)
    beat = beat - np.median(beat, axis=0)
    energy = np.abs(beat[:140, 6:]).sum(axis=1)
    shift = int(180 * np.sqrt(intervals.mean()))
    return [
        60 / intervals.mean(),
        intervals.std() / intervals.mean(),
        energy.sum() / energy.max(),
        beat[shift:, 10].sum(),
    ]


def test_recordings_show_their_states():
    rng = np.random.default_rng(1)
    states = pd.DataFrame(rng.normal(size=(60, 3)), columns=["rate", "conduction", "ischaemia"])
    states["fibrillation"] = rng.random(60) < 0.3
    rows = [_measure_ecg(synthesise(ecg=Ecg(**row), rng=rng)) for row in states.to_dict("records")]
    found = pd.DataFrame(rows, columns=["rate", "irregular", "width", "t"])
    sinus = ~states["fibrillation"]
    assert found["rate"][sinus].corr(states["rate"][sinus]) > 0.9
    assert found["irregular"][~sinus].min() > found["irregular"][sinus].quantile(0.9)
    assert found["width"].corr(states["conduction"]) > 0.5
    assert found["t"].corr(states["ischaemia"]) < -0.6


def test_images_show_their_states():
    rng = np.random.default_rng(2)
    states = pd.DataFrame(rng.normal(size=(80, 2)), columns=["heart_size", "texture"])
    found = []
    for row in states.to_dict("records"):
        image = render(radiograph=Radiograph(**row), shape=(128, 128), rng=rng)
        lower = image[70:86].mean(axis=0)
        dark = lower < (lower[20:108].min() + lower.max()) / 2
        left_lung = image[35:70, 25:45]
        found.append([(~dark[20:108]).sum(), np.log((left_lung - left_lung.mean(axis=1, keepdims=True)).std())])
    heart, texture = np.array(found).T
    assert np.corrcoef(heart, states["heart_size"])[0, 1] > 0.6
    assert np.corrcoef(texture, states["texture"])[0, 1] > 0.6
