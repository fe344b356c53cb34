"""ECG recordings as the module reads and measures them, against the package and scipy."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import wasmtime
import wfdb

from riskweave.deployment.compile import compile_wasm, library
from riskweave.modalities.ecg import LEADS, QUALITY, read_recording
from riskweave.modalities.ecg_measurements import MEASUREMENTS
from riskweave.study.features import EcgFeatures
from riskweave.synthetic.ecg import Ecg, synthesise

NAMES = [name for name, *_ in (*MEASUREMENTS, *QUALITY)]
FEATURES = EcgFeatures(modality="ecg")
RW_ECG_SHORT, RW_ECG_RATE, RW_ECG_EMPTY, RW_ECG_FLAT = 32, 33, 34, 35
REAL = Path(os.environ.get("RISKWEAVE_DATA", ""), "ecg12_chapman_cpsc")

# One module for all settings: here the description of the model can be written to.
MODEL = """
#define rw_model rw_model_as_declared
#include "ecg.h"
#undef rw_model
#include <stdlib.h>
#define EXPORT(name) __attribute__((export_name(#name), used)) name
rw_description rw_model;
void *EXPORT(room)(size_t bytes) { return malloc(bytes); }
void EXPORT(leave)(void *room) { free(room); }
void EXPORT(settings)(double rate, double seconds, double low, double high, int measured) {
  rw_model.ecg_rate = rate;
  rw_model.ecg_seconds = seconds;
  rw_model.ecg_low = low;
  rw_model.ecg_high = high;
  rw_model.ecg_measured = measured;
}
int EXPORT(read)(double *leads, int samples, double rate, float *prepared, double *measured) {
  return rw_ecg_read(leads, samples, rate, prepared, measured);
}
void EXPORT(bandpass)(double low, double high, double rate, rw_section *sections) {
  rw_butter_bandpass(low, high, rate, sections);
}
void EXPORT(highpass)(double edge, double rate, rw_section *sections) { rw_butter_highpass(edge, rate, sections); }
double EXPORT(median)(double *values, int count) { return rw_median(values, count); }
"""


class Module:
    """The compiled reader of ECGs, as a host calls it."""

    def __init__(self, folder):
        parts = ("ecg", "filter.c", "resample.c")
        sources = {name: text for name, text in library().items() if name.startswith(parts) or name.endswith(".h")}
        self.store = wasmtime.Store()
        module = wasmtime.Module(self.store.engine, compile_wasm({**sources, "model.c": MODEL}, folder))
        assert not module.imports
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.call("_initialize")

    def call(self, name, *arguments):
        return self.exports[name](self.store, *arguments)

    def put(self, array):
        """Return the address of a copy of the array."""
        array = np.ascontiguousarray(array)
        address = self.call("room", array.nbytes)
        self.exports["memory"].write(self.store, array.tobytes(), address)
        return address

    def take(self, address, shape, dtype=float):
        """Return a copy of the array at an address, whose room is given back."""
        end = address + int(np.prod(shape)) * np.dtype(dtype).itemsize
        array = np.frombuffer(bytes(self.exports["memory"].read(self.store, address, end)), dtype).reshape(shape)
        self.call("leave", address)
        return array

    def read(self, leads, rate, features=FEATURES):
        """Return the code, the prepared signal and the measurements by name."""
        shape = (len(LEADS), round(features.seconds * features.sampling_rate))
        numbers = float(features.sampling_rate), features.seconds, *features.band
        self.call("settings", *numbers, int(features.measurements))
        addresses = self.put(leads), self.put(np.zeros(shape, np.float32)), self.put(np.zeros(len(NAMES)))
        code = self.call("read", addresses[0], leads.shape[1], rate, *addresses[1:])
        self.call("leave", addresses[0])
        prepared = self.take(addresses[1], shape, np.float32)
        return code, prepared, dict(zip(NAMES, self.take(addresses[2], len(NAMES)).tolist(), strict=True))

    def sections(self, kind, count, *arguments):
        """Return a filter as scipy writes one: (count, 6)."""
        address = self.put(np.zeros((count, 5)))
        self.call(kind, *map(float, arguments), address)
        return np.insert(self.take(address, (count, 5)), 3, 1.0, axis=1)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return Module(tmp_path_factory.mktemp("ecg") / "module")


def recording(*, rate=500.0, seconds=10.0, seed=0, state=(0.0, 0.0, 0.0), fibrillation=False):
    """Return 12 leads in mV: the demo cohort's generator at another rate and length."""
    rng = np.random.default_rng(seed)
    ecg = Ecg(*state, fibrillation=fibrillation)
    signal = np.hstack([synthesise(ecg=ecg, rng=rng).T for _ in range(int(np.ceil(seconds / 10)))])
    time = np.arange(round(seconds * rate)) / rate
    signal = np.stack([np.interp(time, np.arange(signal.shape[1]) / 500, lead) for lead in signal])
    return signal + rng.normal(0, 0.003, signal.shape) + rng.normal(0, 0.5, (12, 1))


def with_faults(signal, rate, *, seed=0):
    """Return the signal with missing, flat, clipped and silent leads, gaps and artefacts, chosen at random."""
    rng = np.random.default_rng(seed)
    signal = signal.copy()
    for lead in signal:
        first, last = np.sort(rng.integers(0, signal.shape[1], 2))
        match rng.integers(0, 9):
            case 0:
                lead[:] = np.nan
            case 1:
                lead[:] = lead[0]
            case 2:
                np.clip(lead, *np.quantile(lead, [0.02, 0.97]) + rng.normal(0, 0.3, 2), out=lead)
            case 3:
                lead[first:last] = np.nan
            case 4:
                lead[: rng.integers(1, round(rate))] = np.nan
            case 5:
                lead[first:last] = 0.0
            case 6:
                lead[rng.integers(0, signal.shape[1], 20)] += rng.normal(0, 3, 20)
    return signal


def assert_reads_alike(module, folder, signal, rate, features=FEATURES):
    """Compare module and package on one recording, stored and read in 16 bits."""
    units = {"units": ["mV"] * 12, "sig_name": list(LEADS), "fmt": ["16"] * 12}
    scale = {"adc_gain": [1000.0] * 12, "baseline": [0] * 12}
    wfdb.wrsamp("r", fs=rate, p_signal=signal.T, **units, **scale, write_dir=str(folder))
    compare(module, folder / "r", features)


def compare(module, path, features=FEATURES):
    record = wfdb.rdrecord(str(path))
    prepared, facts = read_recording(path, features=features)
    # A header may name the leads in another case or order; here they stand as in LEADS.
    code, found, measured = module.read(record.p_signal.T.astype(float), float(record.fs), features)
    assert code == 0
    np.testing.assert_allclose(found, prepared, rtol=0, atol=1e-6)
    assert facts.pop("unusable_leads") is not None
    expected = {name: facts.get(name, np.nan) for name in NAMES}
    np.testing.assert_allclose(list(measured.values()), list(expected.values()), rtol=1e-9, atol=1e-10)


# The last three: thousandths, a ratio that is not exact, and one that is taken for 500 Hz.
@pytest.mark.parametrize(
    "rate", [50.0, 100.0, 128.0, 250.0, 257.0, 360.0, 400.0, 500.0, 512.0, 1000.0, 62.513, 199.0 / 3, 500.0001]
)
def test_sampling_rates(module, tmp_path, rate):
    assert_reads_alike(module, tmp_path, recording(rate=rate, seed=1), rate)


@pytest.mark.parametrize(
    "settings",
    [
        {"sampling_rate": 250, "seconds": 10.0, "band": (0.5, 40.0)},
        {"sampling_rate": 100, "seconds": 5.0, "band": (0.05, 45.0)},
        {"sampling_rate": 200, "seconds": 2.5, "band": (5.0, 15.0)},
        {"sampling_rate": 100, "seconds": 10.0, "band": (0.5, 49.9)},
        {"sampling_rate": 100, "seconds": 10.0, "band": (38.0, 48.0)},
        {"sampling_rate": 1000, "seconds": 1.3, "band": (1.0, 150.0)},
        {"sampling_rate": 100, "seconds": 30.0, "band": (0.5, 40.0)},
        {"measurements": False, "encoder": {}},
    ],
)
def test_settings_of_the_study(module, tmp_path, settings):
    features = EcgFeatures(modality="ecg", **settings)
    assert_reads_alike(module, tmp_path, recording(rate=360.0, seconds=14.0, seed=2), 360.0, features)


@pytest.mark.parametrize("seconds", [1.0, 1.2, 2.0, 3.0, 8.0, 12.0, 12.01, 47.0])
def test_lengths(module, tmp_path, seconds):
    assert_reads_alike(module, tmp_path, recording(seconds=seconds, seed=3), 500.0)


@pytest.mark.parametrize("seed", range(12))
def test_rhythms_and_shapes(module, tmp_path, seed):
    state = np.random.default_rng(seed).normal(0, 2, 3)
    signal = recording(seed=seed, seconds=12.0, state=state, fibrillation=bool(seed % 2))
    assert_reads_alike(module, tmp_path, signal, 500.0)


@pytest.mark.parametrize("rate", [100.0, 250.0, 500.0, 1000.0])
@pytest.mark.parametrize("seed", range(8))
def test_faults(module, tmp_path, rate, seed):
    seconds = 3.0 + 2 * seed
    assert_reads_alike(module, tmp_path, with_faults(recording(rate=rate, seconds=seconds), rate, seed=seed), rate)


@pytest.mark.parametrize("seed", range(6))
def test_noise_without_a_heart(module, tmp_path, seed):
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 0.3, (12, 5000))
    assert_reads_alike(module, tmp_path, signal if seed % 2 else np.cumsum(signal, axis=1) / 5, 500.0)


def test_a_pause_and_overdue_beats(module, tmp_path):
    signal = recording(seed=4)
    signal[:, 2600:4300] = signal[:, 2600:2601]
    assert_reads_alike(module, tmp_path, signal, 500.0)
    signal = recording(seed=5)
    signal[:, 2200:2700] *= 0.35
    assert_reads_alike(module, tmp_path, signal, 500.0)


def test_infinite_samples_are_missing_ones(module):
    signal = recording(seed=6)
    signal[3, 100:130] = np.nan
    expected = module.read(signal, 500.0)
    signal[3, 100:130:2] = np.inf
    signal[3, 101:130:2] = -np.inf
    found = module.read(signal, 500.0)
    assert expected[2] == found[2]
    assert np.array_equal(expected[1], found[1])


@pytest.mark.parametrize(
    ("signal", "rate", "code"),
    [
        (np.ones((12, 499)), 500.0, RW_ECG_SHORT),
        (np.ones((12, 1)), 500.0, RW_ECG_SHORT),
        (np.ones((12, 5000)), 49.9, RW_ECG_RATE),
        (np.ones((12, 5000)), 10001.0, RW_ECG_RATE),
        (np.ones((12, 5000)), np.nan, RW_ECG_RATE),
        (np.full((12, 5000), np.nan), 500.0, RW_ECG_EMPTY),
        (np.ones((12, 5000)), 500.0, RW_ECG_FLAT),
    ],
)
def test_what_is_refused(module, signal, rate, code):
    assert module.read(signal, rate)[0] == code


def test_an_odd_rate_and_the_longest_recording(module):
    """Filters of odd rates would have a hundred million taps; 150,000 samples of 12 leads are the most there may be."""
    signal = recording(rate=9999.0, seconds=12.0, seed=7)
    even = module.read(signal, 9999.0)
    odd = module.read(signal, 9999.001)
    assert odd[0] == even[0] == 0
    assert np.abs(odd[1] - even[1]).max() < 1e-3
    long = EcgFeatures(modality="ecg", seconds=600.0)
    code, prepared, measured = module.read(recording(rate=250.0, seconds=600.0, seed=8), 250.0, long)
    assert code == 0
    assert np.isfinite(prepared).all()
    assert measured["duration"] == 600


@pytest.mark.parametrize("rate", [50.0, 100.0, 257.013, 360.0, 500.0, 10000.0])
@pytest.mark.parametrize("band", [(0.05, 0.4), (0.5, 0.45), (5.0, 18.0), (0.5, 0.499), (0.3, 0.48)])
def test_filters_are_scipys(module, rate, band):
    # Edges below 1 Hz as they are where they come first, shares of the rate elsewhere.
    low = band[0] if band[0] != 0.3 else 0.3 * rate
    high = band[1] if band[1] > 1 else band[1] * rate
    found = module.sections("bandpass", 2, low, high, rate)
    expected = scipy.signal.butter(2, (low, high), "bandpass", fs=rate, output="sos")
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    if rate >= 125:
        expected = scipy.signal.butter(2, 40.0, "highpass", fs=rate, output="sos")
        np.testing.assert_allclose(module.sections("highpass", 1, 40.0, rate), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 5, 12, 13, 14, 100, 4001, 6000])
def test_medians(module, count):
    rng = np.random.default_rng(count)
    row = np.arange(count)
    for values in (rng.normal(size=count), rng.integers(0, 4, count), row, row[::-1], abs(row - count // 2), 0 * row):
        address = module.put(values.astype(float))
        assert module.call("median", address, count) == np.median(values)
        module.call("leave", address)


@pytest.mark.skipif(not REAL.is_dir(), reason="RISKWEAVE_DATA does not name a folder with ecg12_chapman_cpsc")
def test_real_records(module):
    records = sorted(REAL.rglob("*.hea"))
    assert len(records) > 50
    for header in records:
        compare(module, header.with_suffix(""))
