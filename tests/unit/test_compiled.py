"""Compiled functions, where their results may be kept and where not."""

import os
import subprocess
import sys
from pathlib import Path

import riskweave

SOURCE = Path(riskweave.__file__).parent


def users() -> list[str]:
    """Return the modules that compile functions."""
    found = [path for path in SOURCE.rglob("*.py") if "import compiled\n" in path.read_text(encoding="utf-8")]
    return sorted(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in found)


def test_all_functions_are_compiled_in_one_way():
    direct = [path for path in SOURCE.rglob("*.py") if "njit" in path.read_text(encoding="utf-8")]
    assert [path.name for path in direct] == ["compiled.py"]
    assert {"riskweave.survival.kernel", "riskweave.evaluation.auc"} <= set(users())


def test_they_run_where_no_compiled_code_may_be_kept(tmp_path):
    """Not beside the source and not in the user's folder, as in a read-only installation without a home."""
    locked = tmp_path / "file"
    locked.touch()
    script = (
        "import importlib, numpy as np\n"
        "from numba import njit\n"
        "from riskweave.evaluation.sums import weighted_sums\n"
        f"for name in {users()!r}:\n"
        "    importlib.import_module(name)\n"
        "try:\n"
        "    njit(cache=True)(weighted_sums.py_func)\n"
        "    raise SystemExit('a place for the cache was found: this test tests nothing')\n"
        "except RuntimeError:\n"
        "    pass\n"
        "assert weighted_sums(np.array([[1.5], [2.0]]), np.array([[1, 2]])) == 5.5\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    environment |= {"HOME": str(locked), "XDG_CACHE_HOME": str(locked), "PYTHONPATH": str(SOURCE.parent)}
    environment |= {"NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator"}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True, cwd=tmp_path)
