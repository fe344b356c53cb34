"""Put the bundle of a compiled model together."""

from pathlib import Path

from riskweave.deployment.bundle import Parts, write_bundle
from riskweave.deployment.texts import Texts
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    names = (
        "wasm",
        "onnx",
        "schema",
        "golden",
        "built",
        "parity",
        "metrics",
        "calibration",
        "outcomes",
        "people",
        "data",
        "licence",
    )
    optional = {name: [*map(Path, snakemake.input[name])] for name in ("recalibration", "folds")}
    write_bundle(
        Parts(
            **{name: Path(snakemake.input[name]) for name in names},
            **{name: found[0] if found else None for name, found in optional.items()},
        ),
        Texts.of(snakemake.params.texts),
        Path(snakemake.output.manifest).parent,
    )
