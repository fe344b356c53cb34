"""Command line of the store of runs: ``python -m riskweave.tracking init|collect|ui``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from riskweave.errors import DataError
from riskweave.tracking.database import init_store, relocate, ui_command
from riskweave.tracking.store import collect

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m riskweave.tracking", description="The local store of runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="make the store")
    gather = commands.add_parser("collect", help="store run records; those that are there already are left alone")
    show = commands.add_parser("ui", help="show the store in a browser, on this machine only")
    for command in (init, gather, show):
        command.add_argument("--store", type=Path, default=Path("results/mlflow"), help="folder (%(default)s)")
    gather.add_argument("--study", required=True, help="name of the study")
    gather.add_argument("records", type=Path, nargs="+", help="run.json files")
    show.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (%(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 1 with the problem on the standard error stream."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "init":
            init_store(directory=options.store)
        elif options.command == "collect":
            counts = collect(records=options.records, directory=options.store, study=options.study)
            print(", ".join(f"{number} {what}" for what, number in counts.items()))
        else:
            command, environment = ui_command(directory=options.store, port=options.port)
            relocate(directory=options.store)
            print(f"The store of runs opens at http://127.0.0.1:{options.port} (Ctrl-C ends it)", flush=True)
            os.execve(command[0], command, environment)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
