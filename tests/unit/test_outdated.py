"""A job that fails while it is done again: what was made from its former output is not taken for up to date."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.workflow

SNAKEFILE = """
from riskweave.folder_lock import claim_folder

for line in claim_folder():
    print(line)

rule all:
    input: "c.txt", "d.txt"

rule a:
    input: "source.txt"
    output: "a.txt"
    shell: "cat {input} > {output}"

rule b:
    input: "a.txt"
    output: "b.txt"
    params: config.get("times", 1)
    shell: "if test -e hang; then sleep 600; fi; test ! -e fail; echo $(cat {input}) {params} > {output}"

rule c:
    input: "b.txt"
    output: "c.txt"
    shell: "cat {input} > {output}"

rule d:
    input: "a.txt"
    output: "d.txt"
    shell: "cat {input} > {output}"
"""
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "1", "--keep-going", "--rerun-incomplete"]


def snakemake(folder, *options):
    return subprocess.run([*COMMAND, *options], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "source.txt").write_text("one")
    assert snakemake(tmp_path).returncode == 0
    assert (tmp_path / "c.txt").read_text() == "one 1\n"
    return tmp_path


def test_after_a_failure_of_new_input(folder):
    (folder / "source.txt").write_text("two")
    (folder / "fail").touch()
    assert snakemake(folder).returncode == 1
    (folder / "fail").unlink()
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr
    assert "1 files that were made from its former output are made again" in done.stdout
    assert (folder / "c.txt").read_text() == "two 1\n"
    assert "Nothing to be done" in snakemake(folder).stderr


def test_after_a_kill_with_other_settings(folder):
    (folder / "hang").touch()
    run = subprocess.Popen([*COMMAND, "--config", "times=2"], cwd=folder, start_new_session=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    end = time.monotonic() + 60
    while (folder / "b.txt").exists() and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (folder / "hang").unlink()
    done = snakemake(folder, "--config", "times=2")
    assert done.returncode == 0, done.stderr
    assert (folder / "c.txt").read_text() == "one 2\n"


def test_what_the_user_removed_is_not_made_again(folder):
    (folder / "b.txt").unlink()
    assert "Nothing to be done" in snakemake(folder).stderr
    assert not (folder / "b.txt").exists()
