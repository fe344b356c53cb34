"""What every job of the workflow does around its one call: a log file, and errors that a user can read."""

import copy
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from riskweave import failures
from riskweave.errors import DataError, ResourceError, StudyError
from riskweave.files import storage_problem
from riskweave.folder_lock import known_runs
from riskweave.processes import end_with_run, orphaned

__all__ = ["explained", "job_log"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NO_MEMORY = ("not enough memory", "can't allocate memory", "CUDA out of memory")
_WITHHELD = "message withheld, it may quote data; the terminal in which the job ran shows it"


@contextmanager
def job_log(path: Path) -> Iterator[logging.Logger]:
    """Log a job to its file and to the standard error stream.

    A job whose snakemake process is gone ends, at once (`riskweave.processes.end_with_run`). While the body runs, and
    when it fails, a file beside the log says so (`riskweave.failures`); it is gone when the body succeeds.

    Messages from level INFO up and warnings are logged while the body runs. An error that leaves the body is logged
    once and raised again: one that a user can act on (`DataError`, `StudyError`, `ResourceError`, a full disk, a lost
    file system, memory used up) as its message alone; any other with its traceback, in the file without its message,
    which may quote values of a subject. Handlers, level and capture of warnings are put back at the end.

    Parameters
    ----------
    path : Path
        Log file; its folder is made, and an older file replaced.

    Yields
    ------
    logging.Logger
        Logger named ``riskweave``.

    Examples
    --------
    ::

        with job_log(Path(snakemake.log[0])):
            define_outcomes(...)
    """
    path = Path(path)
    runs = known_runs()
    if orphaned(sys.argv[0], runs):
        raise ResourceError("this job", "the snakemake process that started it is gone", "Run snakemake again")
    end_with_run(runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    failures.note_start(path)
    root, logger = logging.getLogger(), logging.getLogger("riskweave")
    handlers: list[logging.Handler] = [
        logging.FileHandler(path, mode="w", encoding="utf-8"),
        logging.StreamHandler(sys.stderr),
    ]
    level = root.level
    for handler, formatter in zip(handlers, (_Withholding(_FORMAT), logging.Formatter(_FORMAT)), strict=True):
        handler.setFormatter(formatter)
        handler.setLevel(logging.INFO)
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield logger
    except Exception as error:
        known = explained(error)
        failures.note_failure(path, known or error)
        if known is None:
            logger.exception("the job stopped on an error that it does not know")
        else:
            logger.error("%s", known)  # noqa: TRY400 - the message is for the user, a traceback would bury it
        _print_no_more(error)
        raise
    except BaseException:  # the user stopped it
        failures.forget(path)
        raise
    else:
        failures.forget(path)
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            # The stream belongs to the process: closing a StreamHandler flushes it and leaves it open.
            handler.close()


def explained(error: Exception) -> Exception | None:
    """Return an error that a user can act on: `error` itself, or what it means; None where nothing is known of it."""
    if isinstance(error, DataError | StudyError | ResourceError):
        return error
    # CUDA's, and the messages of torch's own allocator: neither is a MemoryError.
    told = str(error) if isinstance(error, RuntimeError) else ""
    of_torch = type(error).__name__ == "OutOfMemoryError" or any(words in told for words in _NO_MEMORY)
    if isinstance(error, MemoryError) or of_torch:
        return ResourceError(
            "this job",
            "the memory that it may use is used up",
            "Run fewer jobs at a time (`--cores`, `--resources gpu=`), allow it more (`--set-resources "
            "RULE:mem_mb=N`, `ulimit -v`), or choose smaller batches or networks in the study",
        )
    return storage_problem(error)


class _Withholding(logging.Formatter):
    """Writes of an error the frames and the type: the file stays, and the message may quote a subject's values."""

    def format(self, record: logging.LogRecord) -> str:
        # A record keeps the first formatter's text of its error for the next one: neither take it nor leave one.
        record = copy.copy(record)
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei) -> str:  # noqa: N802 - the name is logging's
        chain, error = [], ei[1]
        while error is not None and all(error is not other for other in chain):
            chain.append(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        parts = [
            f"Traceback (most recent call last):\n{''.join(traceback.format_tb(one.__traceback__))}"
            f"{type(one).__qualname__}: {_WITHHELD}"
            for one in reversed(chain)
        ]
        return "\n\nwhich led to\n\n".join(parts)


def _print_no_more(logged: Exception) -> None:
    """Keep the interpreter from printing, when it ends, the error that the log has just shown."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if error is not logged:
            previous(kind, error, traceback)

    sys.excepthook = hook
