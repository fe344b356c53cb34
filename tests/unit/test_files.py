"""Outputs are whole or not there, one way for all of them, and a full disk is told in plain words."""

import ast
import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from riskweave.errors import ResourceError
from riskweave.files import replacing, replacing_in, storage_problem, write_text

SOURCE = Path(__file__).parents[2] / "src" / "riskweave"

WRITES = {
    "to_parquet", "to_csv", "write_table", "write_text", "write_bytes", "savefig", "dump", "save", "ParquetWriter",
    "FeatureWriter", "FlatWriter", "write_index", "save_checkpoint",
}  # fmt: skip

KNOWN = {
    # Makers of a file that their callers place.
    "modalities/base.py", "modalities/stored.py", "modalities/recorded.py", "modalities/text.py",
    "modalities/event_sequence.py",
    # Into the folder that `replacing_in` yields, or that of `ingest`, whose files `place` moves.
    "report/report.py", "study_report/report.py", "cohort/events.py",
    # The generator's folder: its fingerprint, written last, is what the workflow believes.
    "synthetic/wfdb_files.py", "synthetic/recordings.py", "synthetic/generate.py", "synthetic/image_files.py",
    # Scratch files of a job.
    "modalities/ehr/parts.py", "survival/training/rank.py",
    "files.py",
    # Into memory.
    "survival/training/several.py",
    # Sources of this repository, written by a developer.
    "study/reference.py",
}  # fmt: skip


def direct_writes(path: Path) -> list[int]:
    """Return the lines of a module that write a file outside of a block that replaces it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any("replacing" in ast.unparse(item.context_expr) for item in node.items):
            inside |= {id(child) for child in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside:
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        owner = ast.unparse(called.value) if isinstance(called, ast.Attribute) else ""
        into_memory = any("buffer" in ast.unparse(argument).lower() for argument in node.args)
        plain = (name in {"write_text", "write_table"} and not owner.endswith(("pq", "path", ")"))) or owner in {
            "json",
            "yaml",
        }
        if name in WRITES and not (plain or into_memory):
            found.append(node.lineno)
    return found


def test_every_writer_goes_one_way():
    modules = [path for path in sorted(SOURCE.rglob("*.py")) if "deployment" not in path.parts]
    found = {str(path.relative_to(SOURCE)): lines for path in modules if (lines := direct_writes(path))}
    assert {name: lines for name, lines in found.items() if name not in KNOWN} == {}


def test_a_direct_write_would_be_noticed(tmp_path):
    module = tmp_path / "module.py"
    lines = ["table.to_csv(path)", "with replacing(path) as (p,):", "    table.to_csv(p)"]
    module.write_text("\n".join(lines))
    assert direct_writes(module) == [1]


def test_a_file_takes_its_place_when_all_is_written(tmp_path):
    path = tmp_path / "made" / "table.csv"
    with replacing(path) as (partial,):
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [each.name for each in path.parent.iterdir()] == ["table.csv"]


def test_an_error_leaves_the_earlier_files_and_nothing_else(tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in paths:
        write_text("old", path)
    with pytest.raises(ZeroDivisionError), replacing(*paths) as partial:
        partial[0].write_text(f"new {1 / 0}")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.csv": "old", "b.csv": "old"}


def test_a_block_that_forgets_a_file_replaces_none(tmp_path):
    write_text("old", tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.csv", tmp_path / "b.csv") as partial:
        partial[0].write_text("new")
    assert (tmp_path / "a.csv").read_text() == "old"


def test_a_folder_of_files_takes_its_place_pages_last(tmp_path, monkeypatch):
    write_text("old", tmp_path / "report" / "index.html")
    order = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: (order.append(target.name), replace(path, target))[1])
    with replacing_in(tmp_path / "report") as made:
        (made / "index.html").write_text("new")
        (made / "mace").mkdir()
        (made / "mace" / "z.csv").write_text("table")
    assert order == ["z.csv", "index.html"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["index.html", "mace"]
    with pytest.raises(ZeroDivisionError), replacing_in(tmp_path / "report") as made:
        (made / "index.html").write_text(f"newer {1 / 0}")
    assert (tmp_path / "report" / "index.html").read_text() == "new"


def test_a_kill_leaves_the_earlier_file_and_the_next_run_cleans_up(tmp_path):
    path = tmp_path / "table.csv"
    write_text("old", path)
    code = (
        "import os, signal, sys; from pathlib import Path; from riskweave.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as (partial,):\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_text("new", path)
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "new"


def writers() -> dict:
    numbers = np.random.default_rng(0).normal(size=(2000, 50))
    table = pd.DataFrame(numbers, columns=[f"c{k}" for k in range(50)])
    return {
        "csv": lambda path: table.to_csv(path, index=False),
        "parquet": lambda path: table.to_parquet(path, index=False),
        "joblib": lambda path: joblib.dump(numbers, path, compress=3),
        "text": lambda path: path.write_text("x" * 1_000_000),
    }


@pytest.mark.parametrize("kind", list(writers()))
def test_a_file_that_may_not_grow_is_told_and_the_earlier_one_kept(tmp_path, kind):
    """The limit on the size of files is one that needs no administrator; libraries meet it as they meet a full disk."""
    path = tmp_path / f"out.{kind}"
    write_text("old", path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ResourceError, match=r"larger than files may be here; what was there before is kept"), \
                replacing(path) as (partial,):  # fmt: skip
            writers()[kind](partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False, capture_output=True
    ) if os.geteuid() == 0 else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["npy", *writers()])
def test_a_full_disk_is_told_and_the_earlier_file_kept(small_disk, kind):
    path = small_disk / f"out.{kind}"
    write_text("old", path)

    def save(partial):
        with partial.open("wb") as file:
            np.save(file, np.zeros(1_000_000))

    write = save if kind == "npy" else writers()[kind]
    words = rf"out.{kind}: the disk is full; what was there before is kept. Free room"
    with pytest.raises(ResourceError, match=words), replacing(path) as (partial,):
        write(partial)
    assert path.read_text() == "old"
    assert len(list(small_disk.iterdir())) == 1


def test_tensors_meet_a_full_disk_too(small_disk):
    torch = pytest.importorskip("torch")
    with pytest.raises(ResourceError, match="the disk is full"), replacing(small_disk / "a.pt") as (partial,):
        torch.save({"weights": torch.zeros(1_000_000)}, partial)


@pytest.mark.parametrize(("number", "words"), [(errno.ESTALE, "the network file system lost it"),
                                               (errno.EDQUOT, "your quota on that disk is used up"),
                                               (errno.EIO, "the disk or the network file system failed")])  # fmt: skip
def test_other_faults_of_disks_have_words_too(number, words):
    problem = storage_problem(OSError(number, os.strerror(number)), Path("results/.a.csv.partial"))
    assert str(problem).startswith(f"results/a.csv: {words}")
    assert str(pickle.loads(pickle.dumps(problem))) == str(problem)


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "a.csv"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert storage_problem(FileNotFoundError(errno.ENOENT, "gone"), tmp_path / "a.csv") is None
