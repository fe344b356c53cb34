"""A Slurm cluster of one node on this machine: munge, controller and node in a folder of their own, gone afterwards.

Needs root and Debian's packages `slurm-wlm` and `munge`. The node has a fake GPU on /dev/null: Slurm counts it, hands
it to one job at a time and sets CUDA_VISIBLE_DEVICES, as with a real one.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Cluster", "cluster", "missing"]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
SECONDS = 60.0
"""Longest wait for a daemon or a state of the node."""

CONFIGURATION = """\
ClusterName=riskweave
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
KillWait=5
MinJobAge=86400
ReturnToService=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Return why no cluster can be started here, or nothing where one can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "starting a Slurm node needs root"


@dataclass
class Cluster:
    """A running cluster.

    Attributes
    ----------
    folder : Path
        Configuration, state and logs.
    node : str
        Name of its one node.
    """

    folder: Path
    node: str
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which Slurm's commands find the cluster."""
        return {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder}/bin{os.pathsep}{os.environ['PATH']}",
        }

    def command(self, *arguments: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        done = subprocess.run(
            arguments,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        return done.stdout

    def state(self) -> str:
        """Return the state of the node, as `sinfo` names it."""
        return self.command("sinfo", "--noheader", "--nodes", self.node, "--format", "%T").split("\n")[0].strip()

    def jobs(self, *states: str) -> list[str]:
        """Return the comments of the jobs in one of these states: Snakemake's rule and wildcards."""
        listed = self.command("squeue", "--noheader", "--states", ",".join(states) or "all", "--format", "%k")
        return listed.split()

    def history(self) -> list[dict[str, str]]:
        """Return every job so far: comment (Snakemake's rule and wildcards), state, partition and what it asked for."""
        columns = {
            "comment": "comment:200", "state": "state:20", "partition": "partition:20", "gpu": "tres-per-job:40",
            "memory": "minmemory:20", "time": "timelimit:20",
        }  # fmt: skip
        listed = self.command("squeue", "--noheader", "--states", "all", "--Format", ",".join(columns.values()))
        widths = [int(column.split(":")[1]) for column in columns.values()]
        jobs = []
        for line in listed.splitlines():
            cells, rest = [], line
            for width in widths:
                cells.append(rest[:width].strip())
                rest = rest[width:]
            jobs.append(dict(zip(columns, cells, strict=True)))
        return jobs

    def start(self, *arguments: str) -> None:
        """Start a daemon in the foreground, in a group of its own, with its output in the folder."""
        log = (self.folder / f"{Path(arguments[0]).name}.out").open("ab")
        self.processes.append(
            subprocess.Popen(
                arguments,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - no thread runs beside it
            )
        )
        log.close()

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for a failing test."""
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in files)


def _end_with_parent() -> None:
    """Let the kernel end a daemon whose test was killed (prctl 1, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@contextmanager
def _terminated_as_an_error() -> Iterator[None]:
    """Let a SIGTERM, which would end the process on the spot, pass through what is to be done at the end."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_until(condition, what: str, seconds: float = SECONDS) -> None:
    """Wait until a condition holds; raise with its name when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} not reached within {seconds:.0f} s")
        time.sleep(0.2)


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _configure(folder: Path, *, node: str, cpus: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    controller_port, node_port = _free_ports(2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10
    values = {"controller_port": controller_port, "node_port": node_port, "cpus": cpus, "memory": memory}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=node, **values))
    (folder / "gres.conf").write_text(f"NodeName={node} Name=gpu File=/dev/null\n")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    # Snakemake's plugin takes every SLURM_ variable from the `srun` inside a job, the one that names the cluster too.
    wrapper = folder / "bin" / "srun"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    wrapper.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)


@contextmanager
def cluster(folder: Path, *, cpus: int = 2) -> Iterator[Cluster]:
    """Start a cluster of one node in an empty folder, and stop all of it at the end, whatever happens.

    Parameters
    ----------
    folder : Path
        Made; of a short path, since it holds a socket.
    cpus : int
        Processors of the node, as Slurm counts them.
    """
    folder.mkdir(parents=True)
    # munged refuses folders that others may write to, a socket's path that others cannot reach, and loose keys.
    folder.chmod(0o755)
    found = Cluster(folder, socket.gethostname().split(".")[0])
    _configure(folder, node=found.node, cpus=cpus)
    try:
        with _terminated_as_an_error():
            _start(found)
            yield found
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{found.logs()}") from error
    finally:
        _stop(found)


def _start(found: Cluster) -> None:
    folder = found.folder
    found.start(
        "munged", "--foreground", "--force",
        f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed", "--num-threads=2",
    )  # fmt: skip
    wait_until((folder / "munge.socket").exists, "munged's socket")
    found.start("slurmctld", "-D", "-f", f"{folder}/slurm.conf", "-c")
    found.start("slurmd", "-D", "-f", f"{folder}/slurm.conf", "-N", found.node)
    wait_until(lambda: _idle(found), "an idle node")


def _idle(found: Cluster) -> bool:
    try:
        return found.state() == "idle"
    except subprocess.CalledProcessError:
        return False


def _stop(found: Cluster) -> None:
    """Cancel the jobs, then stop node, controller and munge, in this order."""
    subprocess.run(
        ["scancel", "--user", "root"],
        env={**os.environ, **found.environment},
        capture_output=True,
        check=False,
        timeout=20,
    )
    for process in reversed(found.processes):
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
