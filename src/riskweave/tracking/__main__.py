"""Command line of the store of runs: ``python -m riskweave.tracking COMMAND``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from riskweave.errors import DataError, StudyError
from riskweave.private import keep_private
from riskweave.tracking.compare import compare
from riskweave.tracking.database import init_store, relocate, ui_command
from riskweave.tracking.neptune import import_neptune
from riskweave.tracking.sending import ADDRESS, send, send_or_keep, target_of
from riskweave.tracking.serving import add_user, server_command
from riskweave.tracking.store import collect

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m riskweave.tracking", description="The store of runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "init": "make the store",
        "collect": "store run records; those that are there already are left alone",
        "send": f"send what the server of {ADDRESS} lacks",
        "ui": "show the store in a browser, on this machine only",
        "server": "run the team's server",
        "compare": "write the page that compares all runs",
        "import-neptune": "import what neptune-exporter exported",
        "user": "give somebody access to the running server",
    }
    made = {name: commands.add_parser(name, help=text) for name, text in texts.items()}
    for command in made.values():
        command.add_argument("--store", type=Path, default=Path("results/mlflow"), help="folder (%(default)s)")
    made["init"].add_argument("--database", help="postgresql://... in place of SQLite")
    made["collect"].add_argument("--study", required=True, help="name of the study")
    made["collect"].add_argument("records", type=Path, nargs="+", help="run.json files")
    made["send"].add_argument("studies", nargs="*", metavar="STUDY", help="default: all")
    for name in ("ui", "server"):
        made[name].add_argument("--port", type=int, default=5000, help="port (%(default)s)")
    _add_server_options(made["server"])
    made["compare"].add_argument("--page", type=Path, default=Path("results/index.html"), help="(%(default)s)")
    made["import-neptune"].add_argument("folder", type=Path, help="folder with the exported Parquet files")
    made["user"].add_argument("name", help="user name")
    made["user"].add_argument("--server", default="http://127.0.0.1:5000", help="address (%(default)s)")
    made["user"].add_argument("--credentials", type=Path, required=True, help="new file to hand over to the user")
    return parser


def _add_server_options(server: argparse.ArgumentParser) -> None:
    server.add_argument("--host", default="127.0.0.1", help="interface (%(default)s); another needs a certificate")
    server.add_argument("--name", action="append", default=[], help="further name by which the server is called")
    server.add_argument("--database", help="postgresql://..., once; or in RISKWEAVE_DATABASE")
    server.add_argument("--certificate", type=Path, help="PEM file, for https")
    server.add_argument("--key", type=Path, help="PEM file, for https")
    server.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")


def _collect(options: argparse.Namespace) -> None:
    counts = collect(records=options.records, directory=options.store, study=options.study)
    counts |= send_or_keep(directory=options.store, study=options.study)
    _tell(counts)


def _send(options: argparse.Namespace) -> None:
    target = target_of()
    if target is None:
        raise DataError(ADDRESS, "is not set: there is no server to send to", "Set it to the server's address")
    _tell(send(directory=options.store, target=target, studies=options.studies or None))


def _compare(options: argparse.Namespace) -> None:
    number = compare(directory=options.store, page=options.page)
    print(f"{options.page}: {number} runs")


def _ui(options: argparse.Namespace) -> None:
    command, environment = ui_command(directory=options.store, port=options.port)
    relocate(directory=options.store)
    print(f"The store of runs opens at http://127.0.0.1:{options.port} (Ctrl-C ends it)", flush=True)
    os.execve(command[0], command, environment)


def _server(options: argparse.Namespace) -> None:
    os.umask(0o077)  # the artifacts that the server keeps are for its owner alone
    command, environment = server_command(
        directory=options.store,
        host=options.host,
        port=options.port,
        names=tuple(options.name),
        database=options.database or os.environ.get("RISKWEAVE_DATABASE"),
        certificate=options.certificate,
        key=options.key,
        workers=options.workers,
    )
    protocol = "https" if options.certificate else "http"
    print(f"The server listens at {protocol}://{options.host}:{options.port} (Ctrl-C ends it)", flush=True)
    print(f"Password of the administrator: in {options.store}/server/auth.ini", flush=True)
    os.execve(command[0], command, environment)


def _tell(counts: dict[str, int]) -> None:
    print(", ".join(f"{number} {what}" for what, number in counts.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 1 with the problem on the standard error stream."""
    options = _parser().parse_args(arguments)
    does = {
        "init": lambda given: init_store(directory=given.store, database=given.database),
        "collect": _collect,
        "send": _send,
        "ui": _ui,
        "server": _server,
        "compare": _compare,
        "import-neptune": lambda given: _tell(import_neptune(folder=given.folder, directory=given.store)),
        "user": lambda given: add_user(
            directory=given.store, address=given.server, name=given.name, credentials=given.credentials
        ),
    }
    try:
        keep_private()
        does[options.command](options)
    except (DataError, StudyError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
