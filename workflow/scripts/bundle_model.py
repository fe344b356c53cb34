"""Put the bundle of a compiled model together."""

from pathlib import Path

from riskweave.deployment.bundle import Parts, write_bundle
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    names = (
        "wasm",
        "onnx",
        "schema",
        "golden",
        "parity",
        "metrics",
        "calibration",
        "outcomes",
        "data",
        "licence",
    )
    write_bundle(
        Parts(**{name: Path(snakemake.input[name]) for name in names}),
        Path(snakemake.output.manifest).parent,
    )
