"""Which GPU a job uses: one of its own on a machine that several jobs share, until the process ends, however it ends.

Snakemake counts GPUs and names none: two jobs of one machine would both take the first. Here each job locks a file of
its device. The kernel releases the lock when the process dies, killed or not, so nothing is ever left to be cleaned.
"""

import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from riskweave.errors import DataError

__all__ = ["FOLDER", "leased_device", "machine_devices"]

logger = logging.getLogger(__name__)

FOLDER = Path("/dev/shm/riskweave-devices")
"""Lock files of this machine's devices: in its memory, where all its users meet, and on no network file system."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS = 1.0
"""Time between two looks for a free device."""
REMIND = 600.0
"""Time after which the log says again that a job waits."""


def machine_devices() -> dict[str, list[str]]:
    """Return this machine's GPUs (``GPU-...``) in NVML's order, which `nvidia-smi` shows; none without a driver.

    Returns
    -------
    dict of str to list of str
        By GPU the devices that CUDA sees: itself, or the instances (``MIG-...``) of one in MIG mode, which may be none.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    found = {}
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = _text(pynvml.nvmlDeviceGetUUID(device))
            instances = _instances(pynvml, device)
            found[name] = [name] if instances is None else instances
    except pynvml.NVMLError as error:
        logger.warning("the driver lists %d of its GPUs, then fails (%s): the others are not used", len(found), error)
    finally:
        pynvml.nvmlShutdown()
    return found


def _instances(pynvml, device) -> list[str] | None:
    """Return the MIG instances of a device, without which CUDA cannot use it; None where it is whole."""
    try:
        if pynvml.nvmlDeviceGetMigMode(device)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return None
    except pynvml.NVMLError:
        return None  # a device that knows no MIG
    found = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(device)):
        try:
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index)
        except pynvml.NVMLError:
            continue  # a place without an instance
        found.append(_text(pynvml.nvmlDeviceGetUUID(instance)))
    return found


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


@contextmanager
def leased_device(
    gpus: int = 1,
    share: int = 1,
    *,
    folder: Path = FOLDER,
    devices: Callable[[], Mapping[str, Sequence[str]]] = machine_devices,
) -> Iterator[tuple[str, ...]]:
    """Give this process GPUs of its own while the body runs: ``CUDA_VISIBLE_DEVICES`` names them, by identifier.

    Enter it before CUDA is used for the first time. What a scheduler or the user has decided is respected:

    - in a Slurm job (``SLURM_JOB_ID``) the devices are taken as Slurm gave them, unless they are more than this job
      wants, as in an allocation in which a whole study runs: it then leases among them;
    - devices that the user names in ``CUDA_VISIBLE_DEVICES`` (numbers as `nvidia-smi` counts, or identifiers) limit
      the choice, and an empty one means none; a GPU that is divided (MIG) stands for its instances;
    - on a machine without NVIDIA devices nothing happens.

    Otherwise it waits until `gpus` devices have room, and says so in the log. Devices without any job are taken first.
    Jobs that share a device have declared so; a job with a `share` of 1 has its device alone.

    Parameters
    ----------
    gpus : int
        Devices wanted; 0 hides them all, for jobs that would use one because it is there.
    share : int
        Most jobs on one device, from 1.
    folder : Path
        Of the lock files, on this machine; made, open to all its users.
    devices : callable
        Returns the devices of each GPU of the machine (`machine_devices`).

    Yields
    ------
    tuple of str
        The devices; empty where there is none, where Slurm decides, or for 0.

    Raises
    ------
    DataError
        When more devices are wanted than the machine has or the user allows, or no job may use a device.
    """
    if gpus == 0:
        with _visible(""):
            yield ()
        return
    if share < 1:
        raise DataError(
            f"profile, resource jobs_per_gpu of {share}",
            "no job could ever use a GPU",
            "Allowed are whole numbers from 1; without a GPU for any job set CUDA_VISIBLE_DEVICES to nothing.",
        )
    named = os.environ.get(VISIBLE)
    if _given_by_slurm(named, gpus):
        logger.info("devices as Slurm gave them: %s", named or "none named")
        yield ()
        return
    allowed = _allowed(devices(), named)
    if not allowed:
        yield ()
        return
    if gpus > len(allowed):
        raise DataError(
            f"profile, resource gpu of {gpus}",
            f"this machine has {len(allowed)} GPUs that may be used",
            f"Lower the rule's gpu in the profile's set-resources, or name more devices in {VISIBLE}.",
        )
    with ExitStack() as stack:
        taken = _wait(stack, _prepared(folder), allowed, gpus, share)
        stack.enter_context(_visible(",".join(taken)))
        yield taken


@contextmanager
def _visible(value: str) -> Iterator[None]:
    """Set the variable, and put it back at the end."""
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _given_by_slurm(named: str | None, gpus: int) -> bool:
    """Return whether this is a Slurm job with no more devices than are wanted: they are its own."""
    return "SLURM_JOB_ID" in os.environ and (not named or len(named.split(",")) <= gpus)


def _allowed(found: Mapping[str, Sequence[str]], wanted: str | None) -> list[str]:
    """Return those of the machine's devices that the user's variable names; CUDA stops at the first unknown one."""
    if wanted is None:
        return [device for devices in found.values() for device in devices]
    allowed: list[str] = []
    for name in (part.strip() for part in wanted.split(",")):
        named = _named(found, name)
        if named is None:
            break
        allowed += [device for device in named if device not in allowed]
    if found and not allowed and wanted.strip() not in ("", "-1"):
        told = "%s=%s names no device of this machine, which has %s: it is left as it is, and nothing is leased"
        logger.warning(told, VISIBLE, wanted, ", ".join(found))
    return allowed


def _named(found: Mapping[str, Sequence[str]], name: str) -> Sequence[str] | None:
    """Return the devices of the GPU, or the instance, that a number or the beginning of an identifier means, if any."""
    if re.fullmatch(r"\d+", name):
        return dict(enumerate(found.values())).get(int(name))
    whole = [devices for gpu, devices in found.items() if name and gpu.startswith(name)]
    parts = [[each] for devices in found.values() for each in devices if name and each.startswith(name)]
    means = whole or parts
    return means[0] if len(means) == 1 else None


def _prepared(folder: Path) -> Path:
    """Make the folder of the locks, which every user of the machine may add to."""
    try:
        folder.mkdir(parents=True)
        folder.chmod(stat.S_ISVTX | 0o777)
    except FileExistsError:
        pass
    return folder


def _wait(stack: ExitStack, folder: Path, devices: Sequence[str], gpus: int, share: int) -> tuple[str, ...]:
    """Return devices once enough of them have room; their locks are held as long as the stack lives."""
    started = reminded = time.monotonic()
    told = False
    while True:
        with ExitStack() as attempt:
            taken = _take(attempt, folder, devices, gpus, share)
            if len(taken) == gpus:
                stack.push(attempt.pop_all())
                waited = f" after {time.monotonic() - started:.0f} s" if told else ""
                logger.info("this job has %s, of %d on this machine%s", ", ".join(taken), len(devices), waited)
                return taken
        if not told or time.monotonic() - reminded > REMIND:
            logger.info("waiting for %d of %d GPUs: all are in use (%d jobs on each)", gpus, len(devices), share)
            told, reminded = True, time.monotonic()
        time.sleep(SECONDS)


def _take(stack: ExitStack, folder: Path, devices: Sequence[str], gpus: int, share: int) -> tuple[str, ...]:
    """Lock places on up to `gpus` devices, the empty devices first, and return the devices."""
    taken: list[str] = []
    # A device without jobs is one that can be locked alone; that its first place is free does not say so.
    ways = [(_alone, 0, device) for device in devices]
    ways += [(_beside, slot, device) for slot in range(share) for device in devices if share > 1]
    for way, slot, device in ways:
        if len(taken) == gpus:
            break
        if device not in taken:
            with ExitStack() as both:
                if way(both, folder / device, folder / f"{device}.{slot}", share):
                    taken.append(device)
                    stack.push(both.pop_all())
    return tuple(taken)


def _alone(stack: ExitStack, device: Path, place: Path, share: int) -> bool:
    """Lock a device that nobody has, and a place on it; where others may join, let them."""
    handle = _opened(stack, device)
    if not (_locked(handle, fcntl.LOCK_EX) and _locked(_opened(stack, place), fcntl.LOCK_EX)):
        return False
    # The one lock is gone before the other is there: a job that comes between has the device.
    return share == 1 or _locked(handle, fcntl.LOCK_SH)


def _beside(stack: ExitStack, device: Path, place: Path, _: int) -> bool:
    """Lock a place on a device beside others that share it, whatever share they have declared."""
    return all(_locked(_opened(stack, path), kind) for path, kind in ((device, fcntl.LOCK_SH), (place, fcntl.LOCK_EX)))


def _opened(stack: ExitStack, path: Path) -> int:
    """Open a lock file, which is made where it is missing; it is closed, and so released, with the stack."""
    # A file of another user's cannot be opened with O_CREAT in a folder for everybody; to lock it, reading is enough.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        # What a run makes is private by its umask; this file is for all users of the machine, and empty.
        os.fchmod(handle, 0o644)
    stack.callback(os.close, handle)
    return handle


def _locked(handle: int, kind: int) -> bool:
    """Try to lock an open file."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
