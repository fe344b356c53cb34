"""The log of a job: what users read when a job stops."""

import json
import logging
import subprocess
import sys
import warnings

import pytest

from riskweave.errors import DataError
from riskweave.jobs import job_log

SCRIPT = """
import sys, warnings, logging
from pathlib import Path
from riskweave.errors import DataError, StudyError
from riskweave.jobs import job_log

with job_log(Path(sys.argv[1])):
    logging.getLogger("riskweave.some.module").info("%d subjects", 12)
    warnings.warn("few events")
    {body}
"""


def run(tmp_path, body):
    """Run a workflow script as Snakemake does: in a process of its own."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(body=body))
    log = tmp_path / "logs/made/job.log"
    done = subprocess.run([sys.executable, script, log], capture_output=True, text=True, check=False)
    return done.returncode, log.read_text(), done.stderr


def test_messages_and_warnings_are_in_the_log_and_on_stderr(tmp_path):
    status, log, stderr = run(tmp_path, "pass")
    assert status == 0
    for text in (log, stderr):
        assert "INFO riskweave.some.module: 12 subjects" in text
        assert "few events" in text


@pytest.mark.parametrize(
    "error", ['DataError("subjects.csv, column age", "3 rows are empty", "Fill them")', 'StudyError("no such model")']
)
def test_an_error_of_the_user_shows_its_message_once_and_no_traceback(tmp_path, error):
    status, log, stderr = run(tmp_path, f"raise {error}")
    assert status == 1
    message = "3 rows are empty. Fill them" if "age" in error else "no such model"
    for text in (log, stderr):
        assert text.count(message) == 1
        assert "Traceback" not in text


def test_any_other_error_shows_its_traceback_once_and_its_message_on_stderr_only(tmp_path):
    status, log, stderr = run(tmp_path, "float('patient' + str(6 * 7))")
    assert status == 1
    for text in (log, stderr):
        assert text.count("Traceback") == 1
        assert text.count('script.py", line 10, in <module>') == 1
    assert stderr.count("ValueError: could not convert string to float: 'patient42'") == 1
    assert log.count("ValueError: message withheld") == 1
    assert "patient42" not in log


def test_what_led_to_an_error_is_withheld_too(tmp_path):
    body = """
    try:
        {}['patient' + str(6 * 7)]
    except KeyError as error:
        raise RuntimeError('about ' + error.args[0]) from error
"""
    status, log, stderr = run(tmp_path, body)
    assert status == 1
    assert stderr.count("patient42") == 2
    assert "patient42" not in log
    assert log.index("KeyError: message withheld") < log.index("which led to") < log.index("RuntimeError: message")


def test_logging_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # puts it back after the test
    root = logging.getLogger()
    before = (list(root.handlers), root.level, warnings.showwarning)
    with job_log(tmp_path / "a.log") as logger:
        assert root.level == logging.INFO
        logger.info("inside")
    with pytest.raises(DataError), job_log(tmp_path / "b.log"):
        raise DataError("a.csv", "is empty", "Fill it")
    assert (list(root.handlers), root.level, warnings.showwarning) == before
    logging.getLogger("riskweave").info("outside")
    assert "inside" in (tmp_path / "a.log").read_text()
    assert "outside" not in (tmp_path / "a.log").read_text()


def test_memory_that_is_used_up_is_told_in_words(tmp_path):
    body = (
        "import resource, numpy\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "    numpy.ones((1 << 20, 1 << 12))"
    )
    status, log, stderr = run(tmp_path, body)
    assert status == 1
    for text in (log, stderr):
        assert "this job: the memory that it may use is used up. Run fewer jobs at a time" in text
        assert "Traceback" not in text


def test_a_lost_file_system_is_told_in_words(tmp_path):
    status, log, _ = run(tmp_path, 'import errno; raise OSError(errno.ESTALE, "Stale file handle", "/raw/p17.hea")')
    assert status == 1
    assert "the network file system lost it" in log
    assert "p17" not in log


def failure(tmp_path):
    path = tmp_path / "logs/made/job.failure.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_a_failure_is_noted_beside_the_log_until_the_job_succeeds(tmp_path):
    run(tmp_path, 'raise DataError("subjects.csv, column age", "3 rows are empty", "Fill them")')
    told = failure(tmp_path)
    assert (told["kind"], told["reason"]) == ("DataError", "subjects.csv, column age: 3 rows are empty. Fill them")
    run(tmp_path, 'raise KeyError("p17")')
    assert failure(tmp_path)["kind"] == "KeyError"
    assert "p17" not in failure(tmp_path)["reason"]
    run(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert failure(tmp_path)["kind"] == "killed"
    run(tmp_path, "pass")
    assert failure(tmp_path) is None
