"""The module of a bundle by wasmtime, as `riskweave predict` and `riskweave serve` run it.

    python -m deployment_ways.wasm_wasmtime BUNDLE FOLDER

FOLDER holds patient.json, rec.hea, rec.dat and image.png: the whole way from these files to the risks is timed.
"""

import json
import sys
import time
from pathlib import Path

from riskweave.deployment.runtime.golden import hexes_of
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.runtime.readers import parse_image, read_ecg


def main() -> None:
    """Print the first risks; then for each number that comes in, the times of so many predictions in milliseconds."""
    bundle, folder = Path(sys.argv[1]), Path(sys.argv[2])
    module = Module.open(bundle)

    def predict() -> list[str]:
        module.set_patient(json.loads((folder / "patient.json").read_text(encoding="utf-8")))
        module.set_ecg(*read_ecg(folder / "rec.hea"))
        module.set_image(parse_image((folder / "image.png").read_bytes()))
        return hexes_of(module.predict(contributions=False).risks)

    print(json.dumps({"risks": predict()}), flush=True)
    for line in sys.stdin:
        taken = []
        for _ in range(int(line)):
            began = time.perf_counter()
            predict()
            taken.append(1e3 * (time.perf_counter() - began))
        print(json.dumps({"ms": taken}), flush=True)


if __name__ == "__main__":
    main()
