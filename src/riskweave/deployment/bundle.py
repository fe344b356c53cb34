"""The bundle: everything that a place needs to run a model, look into it and know that it is the one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riskweave.cohort.tables import FOLDS, OUTCOMES, read_table
from riskweave.deployment.card import card_of, card_page
from riskweave.deployment.deploy import digest, write_json
from riskweave.deployment.page import build_page
from riskweave.deployment.runtime.golden import check_golden
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.texts import Texts, with_texts
from riskweave.modalities.base import replacing
from riskweave.parquet import read_frame
from riskweave.survival.sets import read_people

__all__ = ["FILES", "MANIFEST_FORMAT", "Parts", "write_bundle"]

MANIFEST_FORMAT = 1
FILES = (
    "model.wasm",
    "model.onnx",
    "schema.json",
    "golden.json",
    "card.json",
    "card.html",
    "index.html",
    "LICENSE",
    "NOTICES",
    "manifest.json",
)
"""What a bundle holds; the manifest tells the SHA-256 of all others."""

NOTICES = """model.wasm holds code of:

- riskweave (MIT licence, in the file LICENSE)
- wasi-libc and musl (MIT licence; copyright Rich Felker and others), of which mathematical functions and the memory
  allocator are linked in by the zig toolchain (MIT licence)
- networks translated by emx-onnx-cgen (Apache licence 2.0; copyright emmtrix Technologies GmbH)

The weights and tables in it were estimated from the data of the study that schema.json names. Whether and to whom it
may be passed on is for the owner of these data to say.
"""


@dataclass(frozen=True)
class Parts:
    """What a bundle is put together from.

    Attributes
    ----------
    wasm, onnx, schema, golden, built, parity : Path
        Of the compiled model; its schema is without the study's texts.
    metrics, calibration : Path
        Tables of the endpoint's evaluation.
    outcomes, people, data : Path
        Outcomes of the endpoint, table of the subjects, ``data.json`` of the study.
    licence : Path
        Of riskweave.
    recalibration : Path or None
        Table of the endpoint's evaluation, where the model is recalibrated.
    folds : Path or None
        Who trained and who was held out, where the model is a final fit.
    """

    wasm: Path
    onnx: Path
    schema: Path
    golden: Path
    built: Path
    parity: Path
    metrics: Path
    calibration: Path
    outcomes: Path
    people: Path
    data: Path
    licence: Path
    recalibration: Path | None = None
    folds: Path | None = None


def write_bundle(parts: Parts, texts: Texts, folder: Path) -> None:
    """Write the bundle: nothing of it depends on the clock or the machine, so that the same parts give the same bytes.

    Parameters
    ----------
    parts : Parts
    texts : Texts
        What the study tells in words.
    folder : Path
        Where `FILES` go; nothing is written when anything fails.

    Raises
    ------
    GoldenError
        When the module does not give the golden patients their outputs.
    ValueError
        When the parity is that of another module or ONNX file.
    """
    wasm = parts.wasm.read_bytes()
    read = (parts.schema, parts.golden, parts.parity, parts.data, parts.built)
    schema, golden, parity, data, built = (json.loads(path.read_text(encoding="utf-8")) for path in read)
    schema = with_texts(schema, texts)
    compared = {"wasm_sha256": digest(wasm), "onnx_sha256": digest(parts.onnx.read_bytes())}
    if not compared.items() <= parity.items():
        raise ValueError("parity.json is of another module: remove it and run `snakemake deploy` again")
    check_golden(Module(wasm, schema), golden)
    facts = {**built, "wasm_sha256": digest(wasm), "data": data["fingerprint"]}
    outcomes = read_table(parts.outcomes, OUTCOMES)
    card = card_of(
        schema,
        metrics=read_frame(parts.metrics),
        calibration=read_frame(parts.calibration),
        outcomes=outcomes,
        recalibration=None if parts.recalibration is None else read_frame(parts.recalibration),
        people=read_people(parts.people),
        held_out=_held_out(parts.folds, set(outcomes["subject_id"])),
        parity=parity,
        facts=facts,
    )
    pages = {
        "card.html": card_page(card, schema),
        "index.html": build_page(schema, wasm, golden, facts),
        "LICENSE": parts.licence.read_text(encoding="utf-8"),
        "NOTICES": NOTICES,
    }
    copies = {
        "model.wasm": parts.wasm,
        "model.onnx": parts.onnx,
        "golden.json": parts.golden,
    }
    with replacing(*(folder / name for name in FILES)) as partial:
        written = dict(zip(FILES, partial, strict=True))
        for name, source in copies.items():
            written[name].write_bytes(source.read_bytes())
        for name, text in pages.items():
            written[name].write_text(text, encoding="utf-8")
        write_json(schema, written["schema.json"])
        write_json(card, written["card.json"])
        contents = {name: written[name].read_bytes() for name in FILES if name != "manifest.json"}
        write_json(_manifest(schema, golden, parity, facts, contents), written["manifest.json"])


def _held_out(folds: Path | None, at_risk: set[str]) -> float | None:
    """Return the share of those at risk who did not train the final fit; None where there is none."""
    if folds is None:
        return None
    table = read_table(folds, FOLDS)
    return float((table.loc[table["subject_id"].isin(at_risk), "role"] == "validation").mean())


def _manifest(
    schema: Mapping[str, Any],
    golden: Mapping[str, Any],
    parity: Mapping[str, Any],
    facts: Mapping[str, Any],
    contents: Mapping[str, bytes],
) -> dict[str, Any]:
    return {
        "format": MANIFEST_FORMAT,
        **{key: schema[key] for key in ("study", "endpoint", "experiment", "made_by")},
        **dict(facts),
        "golden_sha256": golden["sha256"],
        "parity": dict(parity),
        "files": {name: {"bytes": len(content), "sha256": digest(content)} for name, content in contents.items()},
    }
