"""What every job of the workflow does around its one call: a log file, and errors that a user can read."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from riskweave.errors import DataError, StudyError

__all__ = ["job_log"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def job_log(path: Path) -> Iterator[logging.Logger]:
    """Log a job to its file and to the standard error stream.

    Messages from level INFO up and warnings are logged while the body runs. An error that leaves the body is logged
    once and raised again: a `DataError` or `StudyError`, which a user can act on, as its message alone; any other with
    its traceback. Handlers, level and capture of warnings are put back at the end.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    root, logger = logging.getLogger(), logging.getLogger("riskweave")
    handlers: list[logging.Handler] = [
        logging.FileHandler(path, mode="w", encoding="utf-8"),
        logging.StreamHandler(sys.stderr),
    ]
    level = root.level
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.setLevel(logging.INFO)
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield logger
    except (DataError, StudyError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message is for the user, a traceback would bury it
        _print_no_more(error)
        raise
    except Exception as error:
        logger.exception("the job stopped on an error that it does not know")
        _print_no_more(error)
        raise
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            # The stream belongs to the process: closing a StreamHandler flushes it and leaves it open.
            handler.close()


def _print_no_more(logged: Exception) -> None:
    """Keep the interpreter from printing, when it ends, the error that the log has just shown."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if error is not logged:
            previous(kind, error, traceback)

    sys.excepthook = hook
