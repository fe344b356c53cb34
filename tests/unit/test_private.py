"""Whom the files of a run belong to, and which files of its own the package opens how."""

import ast
import os
import stat
from pathlib import Path

import pytest

import riskweave
from riskweave.errors import StudyError
from riskweave.private import UMASK, keep_private

SOURCES = [
    *Path(riskweave.__file__).parent.rglob("*.py"),
    *(Path(riskweave.__file__).parents[2] / "workflow").rglob("*.py"),
]


@pytest.fixture
def mask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("mask")
@pytest.mark.parametrize(
    ("given", "file", "folder"), [(None, 0o600, 0o700), ("027", 0o640, 0o750), ("007", 0o660, 0o770)]
)
def test_new_files_are_the_users_and_the_groups_where_asked(given, file, folder, tmp_path):
    keep_private({} if given is None else {UMASK: given})
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == folder
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == file


@pytest.mark.usefixtures("mask")
@pytest.mark.parametrize("given", ["022", "000", "700", "abc", "", "0o077", "1077", "076"])
def test_masks_that_let_everybody_in_or_the_user_out_are_refused(given):
    with pytest.raises(StudyError, match=r"RISKWEAVE_UMASK=.*077 .*027 .*007"):
        keep_private({UMASK: given})
    assert os.umask(0o022) == 0o022


def calls(*names: str) -> list[tuple[str, ast.Call]]:
    """Return the calls of some functions, each with the name of its file."""
    return [
        (path.name, node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    ]


def test_weights_are_loaded_as_numbers_alone():
    loads = calls("torch.load")
    assert len(loads) >= 3
    for name, call in loads:
        given = {each.arg: ast.unparse(each.value) for each in call.keywords}
        assert given.get("weights_only") == "True", name


def test_no_pickle_is_loaded_but_through_a_fence():
    loaded = {name for name, _ in calls("joblib.load", "pickle.load", "pickle.loads", "pd.read_pickle")}
    # The processes of one training tell each other what they do; nothing of it is kept.
    assert loaded == {"rank.py", "several.py"}
    for name, call in calls("np.load"):
        assert "allow_pickle=True" not in ast.unparse(call), name
