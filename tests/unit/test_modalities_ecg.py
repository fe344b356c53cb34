"""ECG reading and measuring against planted truth, filter theory, wfdb's own detector and real records."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from wfdb.processing import XQRS

from riskweave.errors import DataError
from riskweave.modalities.base import read_features
from riskweave.modalities.ecg import LEADS, MODALITY, bandpass, read_recording
from riskweave.modalities.ecg_measurements import MEASUREMENTS, detect_beats, qrs_bounds
from riskweave.modalities.signals import resample
from riskweave.study.features import EcgFeatures

FEATURES = EcgFeatures(modality="ecg")
INDEX = pd.Timestamp("2020-06-01 12:00")
REAL = Path(os.environ.get("RISKWEAVE_DATA", ""), "ecg12_chapman_cpsc")


def synthetic_ecg(beats, *, rate=500, seconds=10, noise=0.01, seed=0):
    """Return 12 leads with a QRS complex and a T wave (Gaussian, in mV) at each beat (s), scaled by a gain per lead."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.zeros_like(time)
    for beat in beats:
        wave += np.exp(-0.5 * ((time - beat) / 0.012) ** 2) - 0.25 * np.exp(-0.5 * ((time - beat - 0.035) / 0.010) ** 2)
        wave += 0.3 * np.exp(-0.5 * ((time - beat - 0.28) / 0.04) ** 2)
    gains = np.array([0.7, 1.0, 0.4, -0.8, 0.3, 0.7, -0.5, 0.6, 0.9, 1.2, 1.1, 0.9])
    rng = np.random.default_rng(seed)
    drift = 0.2 * np.sin(2 * np.pi * 0.2 * time)
    return gains[:, None] * wave + drift + rng.normal(0, noise, (12, len(time)))


def write_record(folder, name, signal, *, rate=500, leads=LEADS, unit="mV", gain=1000.0):
    n = len(leads)
    wfdb.wrsamp(
        name, fs=rate, units=[unit] * n, sig_name=list(leads), p_signal=signal.T, fmt=["16"] * n,
        adc_gain=[gain] * n, baseline=[0] * n, write_dir=str(folder),
    )  # fmt: skip
    return folder / name


def run(folder, rows, *, features=FEATURES, subjects=("a", "b", "c"), threads=1):
    """Read the recordings of a manifest (subject_id, days from the index, path)."""
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "path"]).astype({"path": str})
    frame["time"] = INDEX + pd.to_timedelta(frame["time"], "D")
    frame.to_parquet(folder / "recordings.parquet")
    pd.DataFrame({"subject_id": list(subjects), "person_id": list(subjects), "index_time": INDEX}).to_parquet(
        folder / "subjects.parquet"
    )
    out = folder / "out"
    MODALITY.read(
        subjects=folder / "subjects.parquet",
        raw=folder / "recordings.parquet",
        features=features,
        table=out / "features.parquet",
        inputs=out / "inputs.npy",
        index=out / "index.parquet",
        threads=threads,
    )
    table, _ = read_features(out / "features.parquet")
    return np.load(out / "inputs.npy"), pd.read_parquet(out / "index.parquet"), table


@pytest.mark.parametrize("rate", [250, 360, 500, 1000])
@pytest.mark.parametrize("per_minute", [38, 72, 150, 205])
def test_known_heart_rate(tmp_path, rate, per_minute):
    beats = np.arange(0.4, 9.7, 60 / per_minute)
    _, facts = read_recording(
        write_record(tmp_path, "r", synthetic_ecg(beats, rate=rate), rate=rate), features=FEATURES
    )
    assert facts["heart_rate"] == pytest.approx(per_minute, rel=0.005)
    assert facts["rr_sd"] < 5


def test_known_measurements(tmp_path):
    rng = np.random.default_rng(1)
    beats = 0.5 + np.cumsum(rng.normal(0.8, 0.05, 11))
    signal = synthetic_ecg(beats, noise=0.002)
    _, facts = read_recording(write_record(tmp_path, "r", signal), features=FEATURES)
    intervals = 1e3 * np.diff(beats)
    assert facts["heart_rate"] == pytest.approx(6e4 / intervals.mean(), rel=0.005)
    assert facts["rr_sd"] == pytest.approx(intervals.std(ddof=1), abs=2)
    assert facts["rmssd"] == pytest.approx(np.sqrt(np.mean(np.diff(intervals) ** 2)), abs=3)
    # Gains of the inferior leads (II, III, aVF) are 1.0, 0.4 and 0.7; the T wave is 0.3 of the gain.
    assert facts["r_inferior"] == pytest.approx(0.7, abs=0.08)
    assert facts["t_inferior"] == pytest.approx(0.21, abs=0.05)
    # From 3 SD before the R peak (-36 ms) to 3 SD behind the S wave's (+65 ms).
    assert facts["qrs_width"] == pytest.approx(101, abs=25)
    assert set(facts) >= {name for name, *_ in MEASUREMENTS}


def test_wider_complexes_measure_wider():
    time = np.arange(-125, 250) / 500
    widths = []
    for sd in (0.010, 0.018, 0.026):
        beat = np.exp(-0.5 * (time / sd) ** 2) * np.ones((12, 1))
        start, end = qrs_bounds(beat, 125, sampling_rate=500)
        widths.append((end - start) / 500)
    np.testing.assert_allclose(widths, 6 * np.array([0.010, 0.018, 0.026]), rtol=0.25)
    assert widths == sorted(widths)


def test_one_noisy_lead_does_not_change_the_rate():
    beats = np.arange(0.4, 9.7, 0.8)
    signal = bandpass(synthetic_ecg(beats), (0.5, 40), 500)
    signal[3] = bandpass(np.random.default_rng(0).normal(0, 3, 5000), (0.5, 40), 500)
    np.testing.assert_allclose(detect_beats(signal, sampling_rate=500) / 500, beats, atol=0.02)


def test_a_silent_stretch_leaves_the_other_beats():
    signal = synthetic_ecg(np.arange(0.4, 9.7, 0.8), noise=0.0)
    signal[:, 3000:4500] = 0.0
    found = detect_beats(bandpass(signal, (0.5, 40.0), 500.0), sampling_rate=500.0) / 500
    assert np.abs(found[found < 5.9] - np.arange(0.4, 5.9, 0.8)).max() < 0.01
    assert not ((found > 6.2) & (found < 8.9)).any()


def test_a_lead_that_carries_only_drift_does_not_move_the_beats():
    signal = synthetic_ecg(np.arange(0.4, 9.7, 0.8))
    signal[4] = 0.3 * np.sin(1.2 * np.pi * np.arange(5000) / 500) + np.random.default_rng(0).normal(0, 1e-5, 5000)
    found = detect_beats(bandpass(signal, (0.5, 40.0), 500.0), sampling_rate=500.0) / 500
    assert np.abs(found - np.arange(0.4, 9.7, 0.8)).max() < 0.01


def test_filter_response_is_that_of_a_butterworth_run_both_ways():
    rate, band = 100.0, (0.5, 40.0)
    time = np.arange(0, 120, 1 / rate)
    for frequency in (0.1, 0.5, 1.0, 10.0, 30.0, 40.0, 45.0):
        tone = np.sin(2 * np.pi * frequency * time)
        middle = slice(4000, 8000)
        filtered = bandpass(tone, band, rate)[middle]
        # The digital filter is the analogue one, |H|^2 = 1/(1 + w^4) with w warped by the bilinear transform.
        low, high, f = (2 * rate * np.tan(np.pi * x / rate) for x in (*band, frequency))
        warped = (f**2 - low * high) / (f * (high - low))
        expected = 1 / (1 + warped**4)
        gain = filtered @ tone[middle] / (tone[middle] @ tone[middle])  # in phase: no delay
        assert gain == pytest.approx(expected, abs=0.01)


def test_resampling_keeps_a_tone():
    time = np.arange(0, 10, 1 / 360)
    resampled = resample(np.sin(2 * np.pi * 5 * time), rate=360, target=100)
    assert len(resampled) == 1000
    expected = np.sin(2 * np.pi * 5 * np.arange(0, 10, 1 / 100))
    np.testing.assert_allclose(resampled[50:-50], expected[50:-50], atol=0.01)


def test_order_of_leads_case_and_units_do_not_matter(tmp_path):
    signal = synthetic_ecg(np.arange(0.4, 9.7, 0.8))
    plain, facts = read_recording(write_record(tmp_path, "plain", signal), features=FEATURES)
    order = np.random.default_rng(0).permutation(12)
    names = [LEADS[number].upper() for number in order]
    mixed = write_record(tmp_path, "mixed", 1e3 * signal[order], leads=names, unit="uV", gain=1.0)
    shuffled, _ = read_recording(mixed.with_suffix(".hea"), features=FEATURES)
    assert plain.shape == (12, 1000)
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, shuffled, atol=2e-3)
    assert facts["unusable_leads"] == ""


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("micro", ["µ", "μ"])
def test_microvolts_may_be_written_with_the_greek_letter(tmp_path, encoding, micro):
    """wfdb reads headers as ASCII: it takes the µV of some devices for V, a million times too much."""
    if micro == "μ" and encoding == "latin-1":
        pytest.skip("Latin-1 has no Greek letters")
    signal = np.random.default_rng(1).normal(0, 300, (12, 2500)).round()
    plain = write_record(tmp_path, "plain", signal, unit="uV", gain=1.0)
    greek = write_record(tmp_path, "greek", signal, unit="uV", gain=1.0)
    header = greek.with_suffix(".hea")
    header.write_bytes(header.read_text().replace("uV", f"{micro}V").encode(encoding))
    found, wanted = (read_recording(path, features=EcgFeatures(modality="ecg"))[0] for path in (greek, plain))
    np.testing.assert_array_equal(found, wanted)


def test_missing_flat_and_clipped_leads_are_flagged(tmp_path):
    signal = synthetic_ecg(np.arange(0.4, 9.7, 0.8))
    signal[7] = 0.25  # V2: an offset without a signal
    signal[10] = np.clip(3 * signal[10], -1.5, 1.5)  # V5
    signal[8, 1000:1100] = np.nan  # a gap of 200 ms in V3
    keep = [row for row in range(12) if row not in (4, 11)]
    record = write_record(tmp_path, "r", signal[keep], leads=[LEADS[row] for row in keep])
    array, facts = read_recording(record, features=FEATURES)
    assert facts["unusable_leads"] == "aVL V2 V6"
    assert (facts["missing_leads"], facts["flat_leads"], facts["clipped_leads"]) == (2, 1, 1)
    assert not array[[4, 7, 11]].any()
    assert np.isfinite(array).all()
    assert facts["heart_rate"] == pytest.approx(75, rel=0.01)
    assert np.isnan(facts["cornell"])  # needs aVL


def test_noise_is_measured(tmp_path):
    beats = np.arange(0.4, 9.7, 0.8)
    quiet, loud = (
        read_recording(write_record(tmp_path, f"n{k}", synthetic_ecg(beats, noise=sd)), features=FEATURES)[1]["noise"]
        for k, sd in enumerate((0.01, 0.1))
    )
    # White noise of the standard deviation s keeps sqrt(1 - 40/250) s above 40 Hz.
    assert quiet == pytest.approx(0.01 * np.sqrt(1 - 40 / 250), rel=0.1)
    assert loud == pytest.approx(0.1 * np.sqrt(1 - 40 / 250), rel=0.1)


def test_lengths_are_made_equal(tmp_path):
    beats = np.arange(0.4, 30, 0.8)
    short, facts = read_recording(write_record(tmp_path, "s", synthetic_ecg(beats, seconds=6)), features=FEATURES)
    assert not short[:, 600:].any()
    assert facts["duration"] == 6
    assert facts["heart_rate"] == pytest.approx(75, rel=0.01)
    long, facts = read_recording(write_record(tmp_path, "l", synthetic_ecg(beats, seconds=30)), features=FEATURES)
    assert long.shape == (12, 1000)
    assert facts["duration"] == 10


def test_last_recording_at_or_before_the_index(tmp_path, caplog):
    paths = {
        per_minute: write_record(tmp_path, f"r{per_minute}", synthetic_ecg(np.arange(0.4, 9.7, 60 / per_minute)))
        for per_minute in (50, 60, 80, 100)
    }
    rows = [("b", -3, paths[60]), ("b", -300, paths[50]), ("a", 0, paths[80]), ("a", 0.001, paths[100])]
    rows += [("c", 1, paths[100]), ("z", -1, paths[100])]
    with caplog.at_level("INFO", logger="riskweave"):
        signals, index, table = run(tmp_path, rows)
    assert table["subject_id"].tolist() == ["a", "b"]
    np.testing.assert_allclose(table["heart_rate"], [80, 60], rtol=0.01)
    assert signals.shape == (2, 12, 1000)
    assert index[["subject_id", "row"]].to_numpy().tolist() == [["a", 0], ["b", 1]]
    np.testing.assert_array_equal(signals[1], read_recording(paths[60], features=FEATURES)[0])
    assert "2 later or undated file(s), 1 earlier" in caplog.text
    again, _, _ = run(tmp_path, rows, threads=2)
    np.testing.assert_array_equal(signals, again)
    encoder_only = EcgFeatures(modality="ecg", measurements=False, encoder={})
    assert run(tmp_path, rows, features=encoder_only)[2].columns.tolist() == ["subject_id"]


def test_unreadable_recordings_stop_the_run(tmp_path):
    good = write_record(tmp_path, "good", synthetic_ecg(np.arange(0.4, 9.7, 0.8)))
    for name in ("cut", "garbled", "named", "short", "unit"):
        write_record(tmp_path, name, synthetic_ecg([0.5], seconds=0.6 if name == "short" else 10))
    (tmp_path / "cut.dat").write_bytes((tmp_path / "cut.dat").read_bytes()[:50_000])
    (tmp_path / "garbled.hea").write_bytes(b"\x89PNG\r\n\x1a\n not a header")
    (tmp_path / "empty.hea").write_bytes(b"")
    for name, old, new in (("named", " 0 ", " 0 x"), ("unit", "/mV", "/mmHg")):
        header = tmp_path / f"{name}.hea"
        header.write_text("\n".join(line.replace(old, new) for line in header.read_text().splitlines()))
    bad = [tmp_path / name for name in ("cut", "garbled", "named", "short", "unit", "empty", "absent")]
    rows = [(f"{number}", -1, path) for number, path in enumerate([good, *bad])]
    with pytest.raises(DataError, match="7 of 8 file") as error:
        run(tmp_path, rows, subjects=[row[0] for row in rows])
    message = str(error.value)
    # The canonical table's rows are numbered from 1; a path may hold an identifier.
    assert "first that of data row 2: it is not a whole WFDB record" in message
    assert not any(str(path) in message or path.name in message for path in bad)
    assert "Accepted are WFDB records" in message
    assert not list((tmp_path / "out").iterdir())


def test_no_usable_recording_stops_the_run(tmp_path):
    record = write_record(tmp_path, "r", synthetic_ecg(np.arange(0.4, 9.7, 0.8)))
    with pytest.raises(DataError, match="none of its 1 file"):
        run(tmp_path, [("a", 1, record)])
    with pytest.raises(DataError, match="no file of any subject"):
        run(tmp_path, [("z", -1, record)])
    flat = write_record(tmp_path, "flat", np.zeros((12, 5000)))
    with pytest.raises(DataError, match="no heart beats were found in any of the 1 recordings"):
        run(tmp_path, [("a", -1, flat)])


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if not (REAL / "index.csv").is_file():
        pytest.skip("RISKWEAVE_DATA does not name a folder with ecg12_chapman_cpsc/index.csv")
    folder = tmp_path_factory.mktemp("real")
    facts = pd.read_csv(REAL / "index.csv", dtype={"dx_snomed": str}).sort_values("record", ignore_index=True)
    rows = [(record, -1, REAL / record) for record in facts["record"]]
    signals, index, table = run(folder, rows, subjects=facts["record"])
    return facts, signals, index, table


def test_real_records_are_all_read_and_their_flat_leads_flagged(real):
    facts, signals, index, table = real
    assert signals.shape == (69, 12, 1000)
    assert np.isfinite(signals).all()
    assert table["flat_leads"].tolist() == facts["flat_leads"].tolist()
    assert (table["flat_leads"].sum(), (table["flat_leads"] > 0).sum()) == (12, 3)
    flat = index.set_index("subject_id").loc[["JS11438", "JS20004", "JS20008"], "unusable_leads"].tolist()
    assert flat == ["V1 V2 V3 V4 V5 V6", "V2 V4 V6", "V2 V4 V6"]
    # Bipolar leads obey Einthoven's law, I + III = II, after all linear steps.
    np.testing.assert_allclose(signals[:, 0] + signals[:, 2], signals[:, 1], atol=0.03)


def test_real_heart_rates_agree_with_the_physicians_labels(real):
    facts, _, _, table = real
    rate = table["heart_rate"]
    assert rate.between(30, 220).all()
    codes = facts["dx_snomed"].str.split(",")
    has = {code: codes.map(lambda found, code=code: code in found) for code in ("426177001", "427084000", "426783006")}
    extrasystoles = codes.map(lambda found: bool({"284470004", "427172004"} & set(found)))
    assert (rate[has["426177001"] & ~extrasystoles] <= 60).all()  # sinus bradycardia
    assert (rate[has["427084000"]] >= 99).all()  # sinus tachycardia
    assert rate[has["426783006"]].between(60, 100).all()  # sinus rhythm
    blocks = codes.map(lambda found: bool({"59118001", "164909002"} & set(found)))  # right or left bundle branch block
    assert table["qrs_width"][blocks].min() > table["qrs_width"][~blocks].quantile(0.9)


def test_real_beats_agree_with_wfdb(real):
    facts, _, _, table = real
    agree = []
    for record, rate in zip(facts["record"][::6], table["heart_rate"][::6], strict=True):
        signal = wfdb.rdrecord(str(REAL / record), sampto=5000).p_signal[:, 1]
        detector = XQRS(sig=signal, fs=500)
        detector.detect(verbose=False)
        if len(detector.qrs_inds) > 1:
            agree.append(abs(60 * 500 / np.diff(detector.qrs_inds).mean() - rate) < 0.02 * rate)
    assert len(agree) >= 10
    assert np.mean(agree) >= 0.9
