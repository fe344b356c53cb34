"""The command ``riskweave``: predict with a bundle, or serve one."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riskweave import __version__
from riskweave.deployment.runtime.bundle import BundleError, open_bundle
from riskweave.deployment.runtime.given import PatientError
from riskweave.deployment.runtime.module import ModuleError
from riskweave.deployment.runtime.predict import Given, as_errors, ask, parse_patient
from riskweave.deployment.runtime.reading import MOST_BYTES, ReadError, check_size, load
from riskweave.deployment.runtime.words import LANGUAGES, Words, printable

__all__ = ["main"]

WIDTH = 80
"""Characters of a line of help."""

GOOD, BAD_BUNDLE, BAD_INPUT = 0, 1, 2
"""Exit statuses; argparse ends with 2 too when the command itself is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 for a bundle that may not be used, 2 for bad input."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of few characters shows others in another way, rather than nothing.
        stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            # Libraries that read files warn with what stands in them: the name of a patient, as it may be.
            warnings.simplefilter("ignore")
            return options.run(options)
    except BundleError as error:
        return _say(BAD_BUNDLE, [str(error)])
    except ModuleError as error:
        return _say(BAD_BUNDLE, [f"The model stopped, and there is no prediction: {error}."])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read along has gone; python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD


def _parser() -> argparse.ArgumentParser:
    about = "Predict with a bundle of riskweave. Research use only. Not a medical device."
    form = {"formatter_class": _help}
    parser = argparse.ArgumentParser(prog="riskweave", description=about, **form)
    parser.add_argument("--version", action="version", version=f"riskweave {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog=parser.prog)
    predict = commands.add_parser("predict", help="predict for one patient", description=_predict.__doc__, **form)
    serve = commands.add_parser("serve", help="serve a bundle over HTTP", description=_serve.__doc__, **form)
    _predict_options(predict)
    _serve_options(serve)
    return parser


def _help(prog: str) -> argparse.HelpFormatter:
    # Without a width argparse looks at the terminal, and for that loads the readers of all kinds of archives.
    return argparse.HelpFormatter(prog, width=WIDTH)


def _date(text: str) -> Any:
    import datetime

    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-03-31") from error


def _bundle_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder with model.wasm and manifest.json")
    parser.add_argument(
        "--fingerprint",
        metavar="HEX",
        help="refuse the bundle unless the SHA-256 of its model.wasm or manifest.json begins so (12 digits or more)",
    )


def _predict_options(parser: argparse.ArgumentParser) -> None:
    _bundle_options(parser)
    parser.add_argument(
        "patient", type=Path, metavar="PATIENT", help="patient.json, or - to read it from standard input"
    )
    parser.add_argument(
        "--ecg", type=Path, metavar="REC", help="ECG: a WFDB record (.hea with .dat or .mat) or a CSV table"
    )
    parser.add_argument("--ecg-rate", type=float, metavar="HZ", help="its samples a second, for a table without times")
    parser.add_argument("--image", type=Path, metavar="FILE", help="PNG, JPEG or uncompressed DICOM")
    parser.add_argument("--language", choices=sorted(LANGUAGES), default="en", help="of the result (default: en)")
    parser.add_argument(
        "--date",
        type=_date,
        metavar="YYYY-MM-DD",
        help="moment of prediction, for --fhir (default: today)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write JSON")
    form.add_argument("--fhir", action="store_true", help="write an HL7 FHIR R4 RiskAssessment")
    parser.set_defaults(run=_predict)


def _serve_options(parser: argparse.ArgumentParser) -> None:
    _bundle_options(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="to listen at, 0 for a free one (default: 8080)")
    parser.add_argument(
        "--allow-remote", action="store_true", help="allow an address that other machines reach; there is no encryption"
    )
    parser.add_argument(
        "--server-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that clients call this machine by, besides localhost and addresses; may be repeated",
    )
    parser.add_argument("--workers", type=int, default=2, help="predictions at the same time (default: 2)")
    parser.set_defaults(run=_serve)


def _predict(options: argparse.Namespace) -> int:
    """Predict for one patient. Exit status: 0, 1 when the bundle may not be used, 2 for bad input."""
    bundle = open_bundle(options.bundle, fingerprint=options.fingerprint)
    words = Words(bundle.schema, options.language)
    try:
        answer = ask(bundle.module, _given(options))
    except PatientError as error:
        lines = [f"{words.name(each['input'])}: {each['message']}" for each in as_errors(error.problems)]
        return _say(BAD_INPUT, ["There is no prediction:", *(f"  - {line}" for line in lines)])
    except ReadError as error:
        return _say(BAD_INPUT, ["There is no prediction:", f"  - {words.name(None)}: {error}"])
    if options.fhir:
        import datetime

        from riskweave.deployment.runtime.fhir import risk_assessment

        moment = options.date or datetime.datetime.now().astimezone().date()
        _write(risk_assessment(bundle, answer, moment, options.language))
    elif options.json:
        _write(answer.result.as_dict())
    else:
        print(words.result(answer.result.as_dict()), end="", flush=True)
    return GOOD


def _given(options: argparse.Namespace) -> Given:
    if options.ecg_rate is not None and options.ecg is None:
        raise ReadError("A sampling rate was given without an ECG.", "Add --ecg, or leave out --ecg-rate.")
    data = _standard_input() if str(options.patient) == "-" else load(options.patient)
    return Given(
        parse_patient(data),
        ecg=None if options.ecg is None else lambda: _ecg(options.ecg, options.ecg_rate),
        image=None if options.image is None else lambda: _image(options.image),
    )


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    return check_size(data, len(data), "from standard input")


def _ecg(path: Path, rate: float | None):
    # Whoever gives no recording does not wait for their readers.
    from riskweave.deployment.runtime.readers import read_ecg

    return read_ecg(path, rate=rate)


def _image(path: Path):
    from riskweave.deployment.runtime.readers import read_image

    return read_image(path)


def _serve(options: argparse.Namespace) -> int:
    """Serve a bundle over HTTP until it is interrupted. Open the address that it prints in a browser."""
    from riskweave.deployment.runtime.serve import ServeError, serve

    bundle = open_bundle(options.bundle, fingerprint=options.fingerprint)
    try:
        serve(
            bundle,
            host=options.host,
            port=options.port,
            names=options.server_name,
            workers=options.workers,
            allow_remote=options.allow_remote,
        )
    except ServeError as error:
        return _say(BAD_INPUT, [str(error)])
    return GOOD


def _write(content: object) -> None:
    print(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2), flush=True)


def _say(status: int, lines: Sequence[str]) -> int:
    for line in lines:
        print(printable(line), file=sys.stderr)
    return status
