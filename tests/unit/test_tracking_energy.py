"""Energy from counters that start over, as the kernel and NVML give them, and the price of an hour."""

import math
import sys
import types

import pytest

from riskweave.errors import DataError
from riskweave.tracking import hardware
from riskweave.tracking.energy import PRICE, Counters, cost_of, read_gpus, read_processors
from riskweave.tracking.record import read_record, recording


def powercap(folder, **microjoules):
    """Lay out the counters of two packages and a part of one, as Linux does."""
    for name, value in {"intel-rapl:0": 0, "intel-rapl:1": 0, "intel-rapl:0:0": 9e9, **microjoules}.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "energy_uj").write_text(f"{int(value)}\n")
        (folder / name / "max_energy_range_uj").write_text("262143328850\n")
    return folder


def test_packages_are_added_and_counters_start_over(tmp_path):
    counters = Counters()
    assert counters.total() is None
    counters.add(read_processors(powercap(tmp_path, **{"intel-rapl:0": 262_143_000_000, "intel-rapl:1": 5e6})))
    assert counters.total() == 0
    # The first package used 2.5 J beyond its range, the second 4 J; the part of the first is counted in it.
    after = {"intel-rapl:0": 2_500_000 - 328_850, "intel-rapl:1": 9e6, "intel-rapl:0:0": 9.5e9}
    counters.add(read_processors(powercap(tmp_path, **after)))
    assert counters.total() == pytest.approx(2.5 + 4)
    (tmp_path / "intel-rapl:1/energy_uj").write_text("unreadable")
    assert set(read_processors(tmp_path)) == {"intel-rapl:0"}
    assert read_processors(tmp_path / "none") == {}


class FakeNvml(types.ModuleType):
    """NVML with one device that counts energy and an older one that does not."""

    class NVMLError(Exception):
        pass

    def __init__(self):
        super().__init__("pynvml")
        self.millijoules, self.open = 1_000_000, 0

    def nvmlInit(self):  # noqa: N802 - NVML's name
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802 - NVML's name
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802 - NVML's name
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, device):  # noqa: N802 - NVML's name
        if device != b"GPU-new":
            raise self.NVMLError
        self.millijoules += 1500
        return self.millijoules


def test_energy_of_a_gpu_is_nvml_s(monkeypatch):
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert read_gpus(frozenset({"new", "old"})) == {"new": (1001.5, math.inf)}
    assert nvml.open == 0
    about = types.SimpleNamespace(name="NVIDIA H200", total_memory=1, uuid="new")
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 1,
        max_memory_allocated=lambda _: 1,
        get_device_properties=lambda _: about,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda, get_num_threads=lambda: 1))
    monkeypatch.setattr(hardware, "_nvidia_smi", lambda _: [])
    sampler = hardware._Sampler(1.0)
    for _ in range(3):
        sampler.sample_gpus()
    assert hardware._gpus({}, sampler.gpu_energy)[0]["energy"] == pytest.approx(2 * 1.5)
    nvml.nvmlInit = lambda: (_ for _ in ()).throw(nvml.NVMLError)  # no driver
    assert read_gpus(frozenset({"new"})) == {}


def test_an_hour_costs_what_the_lab_says(tmp_path, monkeypatch):
    assert cost_of(1800, {PRICE: "0.5"}) == 0.25
    assert cost_of(1800, {}) is None
    monkeypatch.setenv(PRICE, "36000")
    settings = {"kind": "experiment", "name": "a", "endpoint": "b", "feature_sets": {}, "params": {}, "seed": 1}
    with recording(tmp_path / "run.json", context={}, **settings):
        pass
    record = read_record(tmp_path / "run.json")
    assert record.hardware["cost"] == pytest.approx(10 * record.duration, abs=1e-6)
    for wrong in ("ten", "-1", "nan"):
        monkeypatch.setenv(PRICE, wrong)
        with (
            pytest.raises(DataError, match="is not a price per hour"),
            recording(tmp_path / "run.json", context={}, **settings),
        ):
            pytest.fail("the training must not start")
