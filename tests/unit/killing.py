"""Jobs that are killed in the middle of a training, each in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["killed", "same_code", "start"]


def start(script: str) -> subprocess.Popen:
    """Return a process that runs a script, which may import the modules of this folder; see `killed`."""
    content = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{script}"
    return subprocess.Popen(
        [sys.executable, "-c", content], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def same_code(monkeypatch) -> None:
    """Let the code count as the same in all processes: who edits a module while a test runs would discard all states.

    `killed` does so by itself.
    """
    for module in ("riskweave.survival.training.checkpoint", "riskweave.survival.tuning"):
        monkeypatch.setattr(f"{module}.code_fingerprint", str)


def killed(job: Callable[[], object], places: Sequence[tuple[str | None, int]]) -> None:
    """Run a job again and again, killed at each of some places in turn.

    To be called in a process of its own: one that has trained before cannot be forked.

    Parameters
    ----------
    job : callable
        Without arguments.
    places : sequence of (str or None, int)
        Name of the folder that keeps the state of a training (None: trainings that are not kept), and the number of
        batches of such trainings that the job survives. Every epoch is saved.
    """
    from riskweave.survival.training import checkpoint, task  # once, before the forks

    checkpoint.SECONDS = 0.0
    checkpoint.code_fingerprint = str  # see `same_code`
    for folder, batches in places:
        child = os.fork()
        if not child:
            task.SurvivalTask.training_step = _dying(task.SurvivalTask.training_step, folder, batches)
            job()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"{folder}: the job was not killed, status {status}")


def _dying(step: Callable, folder: str | None, batches: int) -> Callable:
    """Return the step of a training that kills its process at the batch after so many."""
    from riskweave.survival.training.checkpoint import Checkpoint

    seen = []

    def training_step(self, batch, batch_idx):
        kept = [one.path.parent.name for one in self.trainer.callbacks if isinstance(one, Checkpoint)]
        if (kept or [None]) == [folder]:
            if len(seen) == batches:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append(batch_idx)
        return step(self, batch, batch_idx)

    return training_step
