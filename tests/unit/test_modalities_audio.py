"""Sounds: one sound in many formats gives one spectrogram; measurements and filters against hand calculation."""

import struct
import wave

import numpy as np
import pandas as pd
import pytest
import scipy.io.wavfile
import torch

from riskweave.errors import DataError
from riskweave.modalities.audio import MODALITY, RANGE, log_mel, measure, mel, mel_filters, read_sound
from riskweave.modalities.base import read_features
from riskweave.modalities.dense import Dense
from riskweave.modalities.files import UnreadableFileError
from riskweave.modalities.wav import read_wav
from riskweave.networks.augment import jitter_spectrograms
from riskweave.study.features import AudioFeatures

FEATURES = AudioFeatures(modality="audio", seconds=4)
INDEX = pd.Timestamp("2020-06-01 12:00")
RATE = 2000


def heart_sound(*, rate=RATE, seconds=10.0, per_minute=72, murmur=0.0, seed=0):
    """Return first and second heart sounds (40 ms at 45 Hz and 30 ms at 60 Hz) and noise between them."""
    time = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 0.002, len(time))
    for beat in np.arange(0.2, seconds, 60 / per_minute):
        for start, frequency, width, height in ((0, 45, 0.04, 0.5), (0.3, 60, 0.03, 0.3)):
            after = time - beat - start
            signal += height * np.exp(-0.5 * (after / width) ** 2) * np.sin(2 * np.pi * frequency * after)
        between = (time > beat + 0.08) & (time < beat + 0.25)
        signal += between * murmur * np.sin(2 * np.pi * 250 * time)
    return signal


def write_wav(path, signal, *, bits=16, rate=RATE, channels=1):
    """Write integer samples with the standard library."""
    limit = 2 ** (bits - 1)
    whole = np.clip(np.round(signal * limit), -limit, limit - 1).astype(np.int64)
    whole = np.repeat(whole[:, None], channels, axis=1)
    data = (whole + 128).astype(np.uint8).tobytes() if bits == 8 else None
    if data is None:
        data = whole.astype("<i8").tobytes()
        data = np.frombuffer(data, np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def run(folder, rows, *, features=FEATURES, most=None):
    """Read the sounds of a manifest (subject_id, days from the index, path)."""
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "path"]).astype({"path": str})
    frame["time"] = INDEX + pd.to_timedelta(frame["time"], "D")
    frame.to_parquet(folder / "sounds.parquet")
    subjects = sorted({row[0] for row in rows})
    pd.DataFrame({"subject_id": subjects, "person_id": subjects, "index_time": INDEX}).to_parquet(
        folder / "subjects.parquet"
    )
    out = folder / "out"
    MODALITY.read(
        subjects=folder / "subjects.parquet",
        raw=folder / "sounds.parquet",
        features=features if most is None else features.model_copy(update={"most": most}),
        table=out / "features.parquet",
        inputs=out / "inputs.npy",
        index=out / "index.parquet",
        threads=2,
    )
    return out


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("channels", [1, 2])
def test_integer_samples_of_all_widths(tmp_path, bits, channels):
    signal = heart_sound(seconds=2)
    read = read_wav(write_wav(tmp_path / "s.wav", signal, bits=bits, channels=channels))
    np.testing.assert_allclose(read.samples, signal, atol=2.0 ** (1 - bits))
    assert (read.rate, read.channels, read.bits) == (RATE, channels, bits)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.int32, np.uint8])
def test_agrees_with_scipy(tmp_path, kind):
    rng = np.random.default_rng(0)
    stereo = rng.uniform(-1, 1, (3001, 2)) if kind in (np.float32, np.float64) else rng.integers(0, 120, (3001, 2))
    scipy.io.wavfile.write(tmp_path / "s.wav", 4000, stereo.astype(kind))
    _, expected = scipy.io.wavfile.read(tmp_path / "s.wav")
    expected = expected.astype(float)
    if kind is np.uint8:
        expected = (expected - 128) / 128
    elif kind not in (np.float32, np.float64):
        expected = expected / 2.0 ** (8 * np.dtype(kind).itemsize - 1)
    np.testing.assert_allclose(read_wav(tmp_path / "s.wav").samples, expected.mean(axis=1), atol=1e-12)


def test_extensible_headers_and_further_chunks(tmp_path):
    plain = write_wav(tmp_path / "plain.wav", heart_sound(seconds=2)).read_bytes()
    data = plain[44:]
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    body = b"WAVE" + b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", 40) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    (tmp_path / "wide.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    np.testing.assert_array_equal(read_wav(tmp_path / "wide.wav").samples, read_wav(tmp_path / "plain.wav").samples)


def test_mel_scale_and_filters_by_hand():
    assert mel(1000.0) == pytest.approx(2595 * np.log10(1 + 1000 / 700))
    assert mel(700.0) == pytest.approx(2595 * np.log10(2))
    filters, points = mel_filters(rate=2000.0, bands=4)
    frequency = np.arange(points // 2 + 1) * 2000 / points
    pitch = np.linspace(float(mel(20.0)), float(mel(1000.0)), 6)
    edges = 700 * (10 ** (pitch / 2595) - 1)
    for band in range(4):
        low, centre, high = edges[band : band + 3]
        for k, f in enumerate(frequency):
            expected = max(0.0, min((f - low) / (centre - low), (high - f) / (high - centre)))
            assert filters[band, k] == pytest.approx(expected, abs=1e-12)
    for rate, bands in ((500, 64), (2000, 256), (48_000, 128)):
        filters, _ = mel_filters(rate=float(rate), bands=bands)
        assert (filters.sum(axis=1) > 0).all()


def test_a_tone_is_loudest_in_its_own_band():
    time = np.arange(4 * RATE) / RATE
    for frequency in (50.0, 200.0, 700.0):
        levels = log_mel(np.sin(2 * np.pi * frequency * time), rate=RATE, bands=32).mean(axis=1)
        pitch = np.linspace(float(mel(20.0)), float(mel(1000.0)), 34)[1:-1]
        assert abs(levels.argmax() - np.abs(pitch - float(mel(frequency))).argmin()) <= 1
        assert levels.max() == pytest.approx(0, abs=0.5)
    assert (log_mel(np.zeros(RATE), rate=RATE, bands=8) == -RANGE).all()


def test_a_frame_is_the_power_of_its_window():
    """One frame by the plain definition of the Fourier transform."""
    rng = np.random.default_rng(2)
    signal = rng.normal(size=RATE)
    spectrogram = log_mel(signal, rate=RATE, bands=6)
    filters, points = mel_filters(rate=float(RATE), bands=6)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(100) / 100)

    def power(frame):
        part = window * signal[50 * frame : 50 * frame + 100]
        k, t = np.arange(points // 2 + 1)[:, None], np.arange(100)
        return filters @ np.abs((part * np.exp(-2j * np.pi * k * t / points)).sum(axis=1)) ** 2

    expected = 10 * np.log10(power(7) / power(8))
    np.testing.assert_allclose(spectrogram[:, 7] - spectrogram[:, 8], expected, atol=1e-6)


def test_measurements_of_a_known_signal():
    time = np.arange(10 * RATE) / RATE
    values = measure(0.1 * np.sin(2 * np.pi * 100 * time), rate=RATE)
    assert values["rms"] == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.01)
    assert values["centroid"] == pytest.approx(100, abs=1)
    assert values["spread"] < 3
    assert values["middle_power"] == pytest.approx(0, abs=0.01)
    two = measure(np.sin(2 * np.pi * 40 * time) + np.sin(2 * np.pi * 200 * time), rate=RATE)
    assert two["centroid"] == pytest.approx(120, abs=1)
    assert two["spread"] == pytest.approx(80, abs=1)
    assert two["low_power"] == pytest.approx(10 * np.log10(0.5), abs=0.05)
    assert two["high_power"] == pytest.approx(10 * np.log10(0.5), abs=0.05)
    assert all(np.isnan(value) for value in measure(np.zeros(RATE), rate=RATE).values())


@pytest.mark.parametrize("per_minute", [45, 72, 120])
def test_rate_of_the_heart_cycle(per_minute):
    values = measure(heart_sound(per_minute=per_minute), rate=RATE)
    assert values["cycle_rate"] == pytest.approx(per_minute, rel=0.02)
    assert values["periodicity"] > 0.6
    noise = measure(np.random.default_rng(3).normal(size=10 * RATE), rate=RATE)
    assert np.isnan(noise["cycle_rate"])
    murmur = measure(heart_sound(per_minute=per_minute, murmur=0.1), rate=RATE)
    assert murmur["high_power"] > values["high_power"] + 10


def test_rate_gain_and_length_do_not_matter(tmp_path):
    signal = heart_sound(rate=8000, seconds=4)
    loud, facts = read_sound(write_wav(tmp_path / "a.wav", signal, rate=8000), features=FEATURES)
    soft, _ = read_sound(write_wav(tmp_path / "b.wav", 0.5 * signal, bits=24, rate=8000), features=FEATURES)
    slow, _ = read_sound(write_wav(tmp_path / "c.wav", heart_sound(seconds=4), rate=RATE), features=FEATURES)
    assert loud.shape == slow.shape == (32, 159)
    assert loud.dtype == np.float32
    audible = loud > -40
    np.testing.assert_allclose(loud[audible], soft[audible], atol=0.3)
    assert np.abs(loud[:12] - slow[:12]).mean() < 6
    assert (facts["duration"], facts["rate"], facts["clipped"], facts["silent"]) == (4.0, 8000, 0.0, False)
    short, facts = read_sound(write_wav(tmp_path / "d.wav", heart_sound(seconds=2)), features=FEATURES)
    assert short.shape == (32, 159)
    assert (short[:, 81:] == -RANGE).all()
    assert facts["duration"] == 2.0
    cut = np.clip(4 * heart_sound(seconds=4), -0.5, 0.5)
    assert read_sound(write_wav(tmp_path / "e.wav", cut), features=FEATURES)[1]["clipped"] > 1


def test_latest_sounds_and_their_measurements(tmp_path):
    paths = [write_wav(tmp_path / f"{rate}.wav", heart_sound(per_minute=rate)) for rate in (50, 60, 80, 100)]
    rows = [("a", -30, paths[0]), ("a", -3, paths[1]), ("a", 1, paths[3]), ("b", -1, paths[2]), ("c", 2, paths[3])]
    out = run(tmp_path, rows, most=3)
    table, columns = read_features(out / "features.parquet")
    assert table["subject_id"].tolist() == ["a", "b"]
    np.testing.assert_allclose(table["cycle_rate"], [60, 80], rtol=0.02)
    assert {column.modality for column in columns} == {"audio"}
    assert [column.name for column in columns] == [column.name for column in MODALITY.columns(FEATURES)]
    stored = MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")
    assert stored.subjects.tolist() == ["a", "b"]
    assert stored.array.shape == (3, 32, 159)
    prepared = stored.fit(np.array([0]))
    assert prepared.several
    sounds, owner = prepared.inputs(np.array([1, 0])).batch(np.array([0, 1]))
    assert owner.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(sounds[1].numpy(), read_sound(paths[0], features=FEATURES)[0])
    before = (out / "inputs.npy").read_bytes()
    assert (run(tmp_path, rows, most=3) / "inputs.npy").read_bytes() == before


def test_one_patient_is_read_as_the_pipeline_reads(tmp_path):
    paths = [write_wav(tmp_path / f"{rate}.wav", heart_sound(per_minute=rate)) for rate in (50, 60)]
    out = run(tmp_path, [("a", -30, paths[0]), ("a", -3, paths[1])])
    patient = MODALITY.one_patient(paths, FEATURES)
    table, _ = read_features(out / "features.parquet")
    assert patient.measurements == pytest.approx(table.iloc[0, 1:].to_dict(), nan_ok=True)
    stored = MODALITY.open_inputs(out / "inputs.npy", out / "index.parquet")
    (seen,) = stored.fit(np.array([0])).inputs(np.array([0])).batch(np.array([0]))
    (alone,) = MODALITY.prepared_from(stored.fit(np.array([0])).state(), patient.stored).inputs([0]).batch([0])
    torch.testing.assert_close(seen, alone, rtol=0, atol=0)
    other = MODALITY.one_patient(paths, FEATURES.model_copy(update={"bands": 16})).stored
    with pytest.raises(ValueError, match="the network was trained on"):
        MODALITY.prepared_from(stored.fit(np.array([0])).state(), other)


def test_broken_sounds_stop_the_run(tmp_path):
    good = write_wav(tmp_path / "good.wav", heart_sound(seconds=2))
    content = good.read_bytes()
    broken = {
        "cut": content[:2000],
        "text": b"not a sound",
        "empty": b"",
        "headless": content[:12] + content[36:],
        "ulaw": content[:20] + struct.pack("<H", 7) + content[22:],
        "lying": content[:32] + struct.pack("<H", 7) + content[34:],
    }
    rows = [("0", -1, good), ("8", -1, write_wav(tmp_path / "short.wav", heart_sound(seconds=0.5)))]
    for number, (name, data) in enumerate(broken.items(), start=1):
        (tmp_path / f"{name}.wav").write_bytes(data)
        rows.append((str(number), -1, tmp_path / f"{name}.wav"))
    rows.append(("9", -1, tmp_path / "absent.wav"))
    with pytest.raises(DataError, match="8 of 9 file") as error:
        run(tmp_path, rows)
    assert "Accepted are WAV files" in str(error.value)
    assert str(tmp_path) not in str(error.value)
    assert not list((tmp_path / "out").iterdir())
    scipy.io.wavfile.write(tmp_path / "nan.wav", RATE, np.full(2 * RATE, np.nan, np.float32))
    with pytest.raises(UnreadableFileError, match="not finite"):
        read_sound(tmp_path / "nan.wav", features=FEATURES)


def test_silence_is_flagged_and_stops_a_run_of_nothing_else(tmp_path):
    silent = write_wav(tmp_path / "silent.wav", np.zeros(4 * RATE))
    out = run(tmp_path, [("a", -1, silent), ("b", -1, write_wav(tmp_path / "s.wav", heart_sound()))])
    assert pd.read_parquet(out / "index.parquet")["silent"].tolist() == [True, False]
    assert read_features(out / "features.parquet")[0]["rms"].isna().tolist() == [True, False]
    with pytest.raises(DataError, match="all 1 sounds are silent"):
        run(tmp_path, [("a", -1, silent)])


def test_network_of_spectrograms_learns_and_keeps_its_width():
    torch.manual_seed(0)
    encoder = FEATURES.encoder.model_copy(update={"channels": 4, "embedding": 3})
    for bands, frames in ((8, 41), (32, 159), (33, 20)):
        x = torch.randn(6, bands, frames)
        net = MODALITY.build(encoder, _stored(x).fit(np.arange(6)))
        assert net.features == 3
        net.scale.set_from(x)
        assert net(x).shape == (6, 3)
        net(x).sum().backward()
    changed, owner = MODALITY.augmentation()(x, torch.arange(6))
    assert owner.tolist() == list(range(6))
    assert changed.shape == x.shape
    moved = jitter_spectrograms(x, level=0.0)
    np.testing.assert_allclose(moved.sort(dim=2).values, x.sort(dim=2).values, atol=1e-6)


def _stored(x):
    return Dense(
        x.numpy(), pd.Index([str(k) for k in range(len(x))]), [np.array([k]) for k in range(len(x))], several=False
    )
