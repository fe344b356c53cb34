"""The lease of devices: with made-up devices, real lock files and real processes that are killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from riskweave.devices import VISIBLE, leased_device, machine_devices
from riskweave.errors import DataError

TWO = ("GPU-aaaa", "GPU-bbbb")

HOLD = """
import sys, time, pathlib
from riskweave.devices import leased_device
folder, share, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with leased_device(1, share, folder=folder, devices=lambda: {name: [name] for name in sys.argv[4:]}) as taken:
    print(*taken, flush=True)
    time.sleep(seconds)
"""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in (VISIBLE, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("riskweave.devices.SECONDS", 0.02)


@pytest.fixture
def lease(tmp_path):
    def start(gpus=1, share=1, devices=TWO):
        found = devices if isinstance(devices, dict) else {name: [name] for name in devices}
        return leased_device(gpus, share, folder=tmp_path / "locks", devices=lambda: found)

    return start


@pytest.fixture
def hold(tmp_path):
    """Start processes that hold a device; they are gone at the end."""
    started = []

    def start(share=1, devices=TWO, seconds=60):
        arguments = [sys.executable, "-c", HOLD, str(tmp_path / "locks"), str(share), str(seconds), *devices]
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
        return started[-1], started[-1].stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_each_job_has_its_own_device(lease, hold):
    _, first = hold()
    with lease() as second:
        assert {first, *second} == set(TWO)
        assert os.environ[VISIBLE] == second[0]
    assert VISIBLE not in os.environ


def test_processes_are_told_apart_and_a_killed_one_leaves_its_device(lease, hold):
    (one, first), (_, second) = hold(), hold()
    assert {first, second} == set(TWO)
    one.send_signal(signal.SIGKILL)
    one.wait()
    with lease() as taken:
        assert taken == (first,)


def test_a_job_waits_for_a_device_and_says_so(lease, hold, caplog):
    hold(devices=TWO[:1], seconds=1)
    started = time.monotonic()
    with caplog.at_level("INFO"), lease(devices=TWO[:1]) as taken:
        assert taken == TWO[:1]
    assert 0.5 < time.monotonic() - started < 30
    assert "waiting for 1 of 1 GPUs" in caplog.text
    assert "this job has GPU-aaaa" in caplog.text


def test_jobs_share_devices_where_declared_and_spread_out_first(hold):
    names = [hold(share=2)[1] for _ in range(4)]
    assert set(names[:2]) == set(names[2:]) == set(TWO)


def test_a_device_whose_jobs_have_ended_is_an_empty_one(hold):
    """Which places are free does not say how many jobs there are: of three, the first two end."""
    (one, first), (two, second), (_, third) = (hold(share=2) for _ in range(3))
    assert (first, second, third) == ("GPU-aaaa", "GPU-bbbb", "GPU-aaaa")
    for ended in (one, two):
        ended.kill()
        ended.wait()
    assert [hold(share=2)[1] for _ in range(3)] == ["GPU-bbbb", "GPU-aaaa", "GPU-bbbb"]


@pytest.mark.parametrize("share", [0, -1])
def test_a_share_of_nobody_is_an_error(lease, share):
    with pytest.raises(DataError, match=f"jobs_per_gpu of {share}: no job could ever use a GPU"), lease(share=share):
        pass


def test_a_job_that_shares_nothing_is_never_put_beside_others(lease, hold):
    _, shared = hold(share=3)
    _, alone = hold(share=1)
    assert alone != shared
    with lease(share=3) as second:
        assert second == (shared,)


def test_several_devices_are_taken_together_or_not_at_all(lease, hold):
    with lease(gpus=2) as taken:
        assert taken == TWO
        assert os.environ[VISIBLE] == "GPU-aaaa,GPU-bbbb"
    holder, _ = hold(seconds=1)
    with lease(gpus=2) as taken:
        assert taken == TWO
    assert holder.wait(10) == 0


def test_more_devices_than_there_are_is_an_error(lease):
    with pytest.raises(DataError, match=r"gpu of 3: this machine has 2 GPUs"), lease(gpus=3):
        pass


@pytest.mark.parametrize(
    ("named", "expected"),
    [("1", ("GPU-bbbb",)), ("GPU-bb", ("GPU-bbbb",)), ("1,0", ("GPU-bbbb",)), ("", ()), ("-1", ()), ("7", ())],
)
def test_the_users_devices_limit_the_choice(lease, monkeypatch, named, expected):
    monkeypatch.setenv(VISIBLE, named)
    with lease() as taken:
        assert taken == expected
    assert os.environ[VISIBLE] == named


PARTS = {"GPU-aaaa": ["MIG-1", "MIG-2"], "GPU-bbbb": ["GPU-bbbb"], "GPU-cccc": []}


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("0", ("MIG-1", "MIG-2")),
        ("GPU-aa", ("MIG-1", "MIG-2")),
        ("1", ("GPU-bbbb",)),
        ("MIG-2", ("MIG-2",)),
        ("MIG-2,1", ("MIG-2", "GPU-bbbb")),
        ("1,0,1", ("GPU-bbbb", "MIG-1", "MIG-2")),
        ("2", ()),
        ("MIG-", ()),
    ],
)
def test_a_divided_gpu_stands_for_its_instances(lease, monkeypatch, named, expected):
    monkeypatch.setenv(VISIBLE, named)
    for number in range(1, len(expected) + 1):
        with lease(gpus=number, devices=PARTS) as taken:
            assert taken == expected[:number]
    if expected:
        with pytest.raises(DataError), lease(gpus=len(expected) + 1, devices=PARTS):
            pass
    else:
        with lease(devices=PARTS) as taken:
            assert taken == ()


@pytest.mark.parametrize(("named", "warns"), [("7", True), ("GPU-x", True), ("", False), ("-1", False), ("1", False)])
def test_a_variable_that_names_nothing_is_told(lease, monkeypatch, caplog, named, warns):
    monkeypatch.setenv(VISIBLE, named)
    with lease():
        assert ("names no device of this machine, which has GPU-aaaa, GPU-bbbb" in caplog.text) == warns


@pytest.mark.parametrize(("gpus", "named"), [(1, "3"), (2, "0,1"), (1, None)])
def test_slurm_decides_in_its_jobs(lease, monkeypatch, gpus, named):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    if named:
        monkeypatch.setenv(VISIBLE, named)
    with lease(gpus=gpus) as taken:
        assert (taken, os.environ.get(VISIBLE)) == ((), named)


def test_trainings_in_one_allocation_of_slurm_share_out_its_devices(lease, monkeypatch, hold):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(VISIBLE, "0,1")
    three = (*TWO, "GPU-cccc")
    (_, first), (_, second) = hold(devices=three), hold(devices=three)
    assert {first, second} == set(TWO)
    monkeypatch.setenv(VISIBLE, "0,2")
    with lease(devices=three) as taken:
        assert taken == ("GPU-cccc",)


def test_none_wanted_hides_all(lease, monkeypatch):
    monkeypatch.setenv(VISIBLE, "0")
    with lease(gpus=0) as taken:
        assert (taken, os.environ[VISIBLE]) == ((), "")
    assert os.environ[VISIBLE] == "0"


def test_a_machine_without_devices_does_nothing(lease):
    with lease(devices=()) as taken:
        assert (taken, VISIBLE in os.environ) == ((), False)


def test_the_device_is_free_again_after_an_error(lease):
    with pytest.raises(RuntimeError), lease(devices=TWO[:1]):
        raise RuntimeError
    with lease(devices=TWO[:1]) as taken:
        assert taken == TWO[:1]


def test_a_lock_cannot_be_led_elsewhere(lease, tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "GPU-aaaa").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"), lease(devices=TWO[:1]):
        pass
    assert not (tmp_path / "other").exists()


def test_the_machine_answers():
    for gpu, devices in machine_devices().items():
        assert gpu.startswith("GPU-")
        assert devices == [gpu] or all(name.startswith("MIG-") for name in devices)


class Driver:
    """What the lease asks of NVML: a whole device, one divided in two of three places, one that is to be divided."""

    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        """NVML's own."""

    def nvmlInit(self):  # noqa: N802
        self.open = True

    def nvmlShutdown(self):  # noqa: N802
        self.open = False

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 3

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return f"GPU-{index}"

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return handle.encode() if handle.startswith("GPU") else handle

    def nvmlDeviceGetMigMode(self, handle):  # noqa: N802
        if handle == "GPU-0":
            raise self.NVMLError
        return (1, 1)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):  # noqa: ARG002, N802
        return 3

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):  # noqa: N802
        if handle == "GPU-2" or index == 1:
            raise self.NVMLError
        return f"MIG-{index}"


def test_divided_devices_are_their_parts(monkeypatch):
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert machine_devices() == {"GPU-0": ["GPU-0"], "GPU-1": ["MIG-0", "MIG-2"], "GPU-2": []}
    assert not driver.open
