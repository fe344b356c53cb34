"""model.onnx by ONNX Runtime on one thread, from prepared inputs: it reads neither events nor files.

python -m deployment_ways.onnx_native BUNDLE INPUTS
"""

import json
import sys
import time

import numpy as np
import onnxruntime


def main() -> None:
    """Print the first risks; then for each number that comes in, the times of so many runs in milliseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{sys.argv[1]}/model.onnx", options, providers=["CPUExecutionProvider"])
    with open(sys.argv[2], encoding="utf-8") as stream:
        given = json.load(stream)
    inputs = {name: np.array(each["values"], dtype=each["kind"]).reshape(each["shape"]) for name, each in given.items()}
    print(json.dumps({"risks": session.run(None, inputs)[0].ravel().tolist()}), flush=True)
    for line in sys.stdin:
        taken = []
        for _ in range(int(line)):
            began = time.perf_counter()
            session.run(None, inputs)
            taken.append(1e3 * (time.perf_counter() - began))
        print(json.dumps({"ms": taken}), flush=True)


if __name__ == "__main__":
    main()
