"""A PostgreSQL server of its own for tests and benchmarks: in a temporary folder, on a Unix socket, gone afterwards."""

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["missing_postgres", "postgres"]

PROGRAMS = ("initdb", "pg_ctl", "createdb")


def _bin() -> Path | None:
    """Return the folder of the server's programs: Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    return next((folder for folder in folders if all((folder / name).exists() for name in PROGRAMS)), None)


def _somebody() -> str | None:
    """Return whom the server runs as: PostgreSQL refuses root."""
    if os.getuid():
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def missing_postgres() -> str:
    """Return why there is no server to be had; empty where there is."""
    return "" if _bin() else "PostgreSQL's initdb and pg_ctl are not installed"


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Start a server and yield the address of an empty database, with a password in it."""
    user = _somebody()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if user is not None:
        shutil.chown(folder, user)
    password = secrets.token_hex(8)
    (folder / "password").write_text(password, encoding="utf-8")
    if user is not None:
        shutil.chown(folder / "password", user)
    environment = {**os.environ, "PGPASSWORD": password}

    def run(name: str, *arguments: str) -> None:
        command = [str(_bin() / name), *arguments]
        group = None if user is None else pwd.getpwnam(user).pw_gid
        with (folder / "out").open("ab") as out:
            done = subprocess.run(
                command, cwd=folder, user=user, group=group, env=environment, check=False, timeout=120,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name}: {(folder / 'out').read_text(errors='replace')[-2000:]}")

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "lab", "--auth=scram-sha-256", f"--pwfile={folder}/password", "--no-sync")
        run("pg_ctl", "start", "-w", "-D", data, "-l", f"{folder}/log", "-o", f"-k {folder} -h '' -F")
        run("createdb", "-h", str(folder), "-U", "lab", "runs")
        yield f"postgresql://lab:{password}@/runs?host={folder}"
    finally:
        if (folder / "data/postmaster.pid").exists():
            run("pg_ctl", "stop", "-D", data, "-m", "immediate")
        shutil.rmtree(folder)
