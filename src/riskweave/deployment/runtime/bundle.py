"""Opening a bundle: every file is what the manifest says, and the module computes what it did when it was built."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from riskweave.deployment.runtime.golden import GoldenError, check_golden
from riskweave.deployment.runtime.host import ABI
from riskweave.deployment.runtime.module import SCHEMA_FORMAT, Module, ModuleError

__all__ = ["Bundle", "BundleError", "open_bundle"]

MANIFEST_FORMAT = 1
GOLDEN_FORMAT = 1
NEEDED = ("model.wasm", "schema.json", "golden.json")
ASKED = (
    "causes", "columns", "ecg", "endpoint", "experiment", "horizons", "image", "inputs", "members", "modalities",
    "same_day", "study", "target", "times", "title",
)  # fmt: skip
"""What hosts read of a schema."""
SHORTEST = 12
"""Digits of a fingerprint that are enough to tell two modules apart."""

AGAIN = "Do not use it: get the bundle again from where it was made."
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class BundleError(RuntimeError):
    """The bundle is not the one that was built, or cannot run here: nothing may be predicted with it."""


class Bundle(NamedTuple):
    """A bundle that passed all checks.

    Attributes
    ----------
    manifest, schema, golden : mapping
        Contents of the files of these names.
    wasm : bytes
    module : Module
        Running, without a patient.
    """

    manifest: Mapping[str, Any]
    schema: Mapping[str, Any]
    golden: Mapping[str, Any]
    wasm: bytes
    module: Module

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the module."""
        return self.module.host.sha256

    def another(self) -> Module:
        """Return one more running module of the same bytes, in memory of its own."""
        return Module(self.wasm, self.schema)


def open_bundle(folder: Path, *, fingerprint: str | None = None) -> Bundle:
    """Check a bundle and start its module.

    The SHA-256 of each file that the manifest names is compared, then formats, then each bit of the risks of the golden
    patients. A manifest is not signed: who could change every file could change it too. `fingerprint` closes that gap.

    Parameters
    ----------
    folder : Path
    fingerprint : str, optional
        The first 12 or more hexadecimal digits of the SHA-256 that the caller knows from elsewhere, of ``model.wasm``
        or, which covers all files, of ``manifest.json``.

    Raises
    ------
    BundleError
        With what is wrong and what to do.
    """
    text = _read(folder, "manifest.json")
    manifest = _json(text, "manifest.json")
    _check_format(manifest, "manifest.json", MANIFEST_FORMAT)
    wasm, schema_text, golden_text = _checked_files(folder, manifest)
    schema, golden = _json(schema_text, "schema.json"), _json(golden_text, "golden.json")
    _check_format(schema, "schema.json", SCHEMA_FORMAT)
    _check_format(golden, "golden.json", GOLDEN_FORMAT)
    if schema.get("abi") != ABI:
        raise BundleError(
            f"The bundle is of interface version {schema.get('abi')}, this program speaks {ABI}. {UPDATE}"
        )
    if absent := sorted(set(ASKED) - set(schema)):
        raise BundleError(f"The file schema.json lacks {', '.join(absent)}. {AGAIN}")
    _check_agreement(manifest, schema, golden)
    _check_fingerprint(fingerprint, wasm, text)
    return Bundle(manifest, schema, golden, wasm, _started(wasm, schema, golden))


UPDATE = "Use the version of riskweave that made the bundle, which manifest.json tells."


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        if name == "manifest.json":
            message = (
                f"There is no bundle in {folder}: the file manifest.json is missing. Give the folder that holds it."
            )
            raise BundleError(message) from error
        raise BundleError(f"The bundle is incomplete: the file {name} is missing. {AGAIN}") from error
    except OSError as error:
        raise BundleError(f"The file {name} of the bundle cannot be read ({type(error).__name__}).") from error


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The file {name} of the bundle is damaged: it is no JSON. {AGAIN}") from error
    if not isinstance(found, dict):
        raise BundleError(f"The file {name} of the bundle is damaged: it holds no object. {AGAIN}")
    return found


def _check_format(content: Mapping[str, Any], name: str, known: int) -> None:
    if content.get("format") != known:
        message = f"The file {name} is of format {content.get('format')!r}, this program reads {known}. {UPDATE}"
        raise BundleError(message)


def _checked_files(folder: Path, manifest: Mapping[str, Any]) -> list[bytes]:
    """Compare every file that the manifest names; return the content of those in `NEEDED`."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not set(NEEDED) <= set(files):
        raise BundleError(f"The manifest does not name {', '.join(NEEDED)}: it is damaged or was changed. {AGAIN}")
    contents = {}
    for name, told in files.items():
        if not _NAME.fullmatch(name) or not isinstance(told, dict):
            raise BundleError(f"The manifest is damaged or was changed: it names files in another way. {AGAIN}")
        data = _read(folder, name)
        if _digest(data) != told.get("sha256"):
            raise BundleError(
                f"The file {name} is not the one that the bundle was made with (its SHA-256 differs). {AGAIN}"
            )
        if name in NEEDED:
            contents[name] = data
    return [contents[name] for name in NEEDED]


def _check_agreement(manifest: Mapping[str, Any], schema: Mapping[str, Any], golden: Mapping[str, Any]) -> None:
    """Compare what the manifest tells twice."""
    pairs = {
        # Compared with the module's own before.
        "the module's SHA-256": (manifest.get("wasm_sha256"), manifest["files"]["model.wasm"]["sha256"]),
        "the SHA-256 of the golden patients' risks": (manifest.get("golden_sha256"), golden.get("sha256")),
        **{f"the {key}": (manifest.get(key), schema.get(key)) for key in ("study", "endpoint", "experiment")},
    }
    for what, (told, found) in pairs.items():
        if told != found:
            message = f"The manifest was changed: {what} is another than the bundle's. {AGAIN}"
            raise BundleError(message)


def _check_fingerprint(wanted: str | None, wasm: bytes, manifest: bytes) -> None:
    if wanted is None:
        return
    wanted = wanted.strip().lower()
    if len(wanted) < SHORTEST or not re.fullmatch("[0-9a-f]+", wanted):
        raise BundleError(f"A fingerprint has {SHORTEST} to 64 hexadecimal digits, such as {_digest(wasm)[:SHORTEST]}.")
    if not any(_digest(data).startswith(wanted) for data in (wasm, manifest)):
        message = (
            f"The bundle has another fingerprint than the one you gave: its module's is {_digest(wasm)[:SHORTEST]}."
        )
        raise BundleError(f"{message} {AGAIN}")


def _started(wasm: bytes, schema: Mapping[str, Any], golden: Mapping[str, Any]) -> Module:
    try:
        module = Module(wasm, schema)
        if not golden["patients"]:
            raise BundleError(f"The bundle has no golden patients to check it with. {AGAIN}")
        check_golden(module, golden)
    except (ModuleError, GoldenError) as error:
        raise BundleError(_sentence(str(error))) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # Files that match their manifest and still do not hold what they have to: somebody wrote both.
        raise BundleError(f"schema.json or golden.json does not fit the module. {AGAIN}") from error
    return module


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
