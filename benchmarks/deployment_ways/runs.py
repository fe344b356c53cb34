"""Runs every way of `benchmarks/deployment.py` on the same patient, each in fresh processes."""

import base64
import http.client
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

import riskweave
from deployment_ways.measure import Packages, Worker, folder_bytes, python
from riskweave.deployment.golden import golden_patients
from riskweave.deployment.runtime.golden import decode_ecg, decode_image, give_recordings
from riskweave.deployment.runtime.module import Module
from riskweave.synthetic.wfdb_files import write_record

WAYS = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
RUNTIME = ("wasmtime", "numpy", "pillow", "pydicom")
"""Packages that the runtime of a bundle needs."""


@dataclass
class Row:
    """What was measured of one way; None where it was not.

    Attributes
    ----------
    model, runtime : int
        Bytes of the model's own files, and of what has to be installed to run them.
    memory : float
        MB.
    cold : list of float
        Seconds from the start of a process to its first risk.
    ms : list of float
        Milliseconds a patient.
    risks : list of str
        Bits, of the timed patient.
    """

    name: str
    model: int | None = None
    runtime: int | None = None
    memory: float | None = None
    cold: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    risks: list[str] = field(default_factory=list)
    reason: str = ""


class Setting:
    """Files that all ways share.

    Parameters
    ----------
    bundle : Path
    work : Path
        An empty folder.
    repeats, cold, random : int
        Timed predictions, cold starts and invented patients.
    """

    def __init__(self, bundle: Path, work: Path, *, repeats: int, cold: int, random: int):
        self.bundle, self.work, self.repeats, self.cold = bundle.resolve(), work, repeats, cold
        self.module = Module.open(bundle)
        self.schema = self.module.schema
        self.golden = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))["patients"]
        self.patient = next(each for each in self.golden if each["ecg"] and each["image"])
        self.invented = golden_patients(self.schema, count=random, seed=7)
        # Compiled modules go into a folder of their own: a first run fills it, and no source tree is written to.
        self.environment = {**ONE_THREAD, "PYTHONPYCACHEPREFIX": str(work / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
        self.environment["PYTHONPATH"] = f"{WAYS.parent}:{Path(riskweave.__file__).parents[1]}"
        self.folder, self.page, self.inputs = work / "patient", work / "page", work / "inputs.json"
        self._write_patient()
        self._write_inputs()
        shutil.copytree(str(resources.files("riskweave.deployment") / "page"), self.page)
        (self.page / "package.json").write_text('{"type": "module"}\n')
        (work / "invented.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in self.invented))

    def _write_patient(self) -> None:
        self.folder.mkdir()
        (self.folder / "patient.json").write_text(json.dumps(self.patient["patient"]))
        ecg = self.patient["ecg"]
        signal = decode_ecg(ecg).T
        write_record(
            path=self.folder / "rec", signal=signal, leads=ecg["leads"], sampling_rate=round(ecg["rate"]), gain=1000
        )
        pixels = decode_image(self.patient["image"]).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(self.folder / "image.png")

    def _write_inputs(self) -> None:
        """Write what model.onnx starts from, as the module made it."""
        module, schema = self.module, self.schema
        module.set_patient(self.patient["patient"])
        give_recordings(module, self.patient)
        made = module.predict(contributions=False)
        self.risks = made.risks
        given = {"columns": made.columns, "has_ecg": np.ones(1), "has_image": np.ones(1)}
        if schema["ecg"]:
            shape = (1, 12, round(schema["ecg"]["rate"] * schema["ecg"]["seconds"]))
            given["ecg"] = module.host.read(module.host.call("rw_ecg_prepared"), shape[1] * shape[2], np.float32)
            given["ecg"] = given["ecg"].reshape(shape)
        if schema["image"]:
            size = schema["image"]["size"]
            given["image"] = module.host.read(module.host.call("rw_image_prepared"), size * size, np.float32)
            given["image"] = given["image"].reshape(1, size, size)
        import onnx

        wanted = {each.name for each in onnx.load(self.bundle / "model.onnx").graph.input}
        told = {
            name: {
                "kind": str(values.dtype),
                "shape": list(values.shape),
                "values": [None if np.isnan(value) else value for value in values.ravel().tolist()],
            }
            for name, values in given.items()
            if name in wanted
        }
        self.inputs.write_text(json.dumps(told))

    def worker(self, command: list[str]) -> Worker:
        """Start a process."""
        return Worker(command, self.environment)

    def bytes_of(self, *names: str) -> int:
        """Return the size of files of the bundle."""
        return folder_bytes(self.bundle / name for name in names)


def repeated(setting: Setting, command: Callable[[int], list[str]]) -> dict[str, Any]:
    """Start a way again and again for its first risk, then once for many predictions.

    Parameters
    ----------
    setting : Setting
    command : callable
        From the number of predictions to the command.
    """
    starts = []
    for number in range(setting.cold + 1):
        with setting.worker(command(0)) as worker:
            worker.told()
            # The first start fills the caches of files and compiled modules.
            starts += [worker.seconds()] if number else []
    with setting.worker(command(setting.repeats)) as worker:
        risks, ms = worker.told()["risks"], worker.told()["ms"]
        return {"cold": starts, "risks": risks, "ms": ms, "memory": worker.memory()}


def with_wasmtime(setting: Setting, packages: Packages) -> Row:
    """Run the module as `riskweave predict` does."""

    def command(repeats: int) -> list[str]:
        return python("-m", "deployment_ways.wasm_wasmtime", str(setting.bundle), str(setting.folder), str(repeats))

    runtime = packages.bytes(RUNTIME) + folder_bytes([Path(riskweave.__file__).parent / "deployment/runtime"])
    model = setting.bytes_of("model.wasm", "schema.json")
    return Row("wasm, wasmtime in Python", model, runtime, **repeated(setting, command))


def with_node(setting: Setting, node: str) -> tuple[Row, list[list[str]]]:
    """Run the module by Node; also return the risks of the invented patients."""

    def command(repeats: int) -> list[str]:
        return [node, str(WAYS / "wasm_node.mjs"), *map(str, (setting.page, setting.bundle, setting.folder, repeats))]

    runtime = folder_bytes([Path(node).resolve(), setting.page])
    row = Row("wasm, Node", setting.bytes_of("model.wasm", "schema.json"), runtime, **repeated(setting, command))
    found = []
    for patients in (setting.golden, setting.invented):
        (setting.work / "asked.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in patients))
        with setting.worker([*command(0), str(setting.work / "asked.jsonl")]) as worker:
            worker.told(), worker.told()
            found += worker.told()["risks"]
    return row, found


def with_onnxruntime(setting: Setting, packages: Packages) -> Row:
    """Run model.onnx by ONNX Runtime."""
    if "onnxruntime" not in packages.files:
        return Row("onnxruntime, native", reason="onnxruntime is not installed")

    def command(repeats: int) -> list[str]:
        return python("-m", "deployment_ways.onnx_native", str(setting.bundle), str(setting.inputs), str(repeats))

    runtime = packages.bytes(["onnxruntime", "numpy"])
    return Row("onnxruntime, native", setting.bytes_of("model.onnx"), runtime, **repeated(setting, command))


def with_onnxruntime_web(setting: Setting, node: str | None, package: Path | None) -> Row:
    """Run model.onnx by onnxruntime-web in Node."""
    name = "onnxruntime-web, Node"
    found = package / "node_modules/onnxruntime-web" if package else None
    if node is None or found is None or not found.is_dir():
        reason = "give --onnxruntime-web FOLDER, made by `npm install onnxruntime-web --prefix FOLDER`"
        return Row(name, reason=reason if node else "Node is not installed")

    def command(repeats: int) -> list[str]:
        return [node, str(WAYS / "onnx_node.mjs"), *map(str, (found, setting.bundle, setting.inputs, repeats))]

    needed = ("ort.node.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    runtime = folder_bytes([Path(node).resolve(), *(found / "dist" / each for each in needed)])
    return Row(name, setting.bytes_of("model.onnx"), runtime, **repeated(setting, command))


class Rest:
    """The Python pipeline behind a local endpoint, in a folder of exactly the packages that it loads.

    Attributes
    ----------
    bytes, without_cuda : int
        Size of these packages; and less what a PyTorch for processors alone does without.
    """

    def __init__(self, setting: Setting, packages: Packages):
        self.setting = setting
        coded = {
            name: base64.b64encode((setting.folder / name).read_bytes()).decode()
            for name in ("rec.hea", "rec.dat", "image.png")
        }
        image = coded.pop("image.png")
        self.body = json.dumps({"patient": setting.patient["patient"], "ecg": coded, "image": image}).encode()
        with self._started(python(), setting.environment) as worker:
            connection = self._connected(worker)
            self._posted(connection)
            connection.request("GET", "/")
            needed = packages.of(json.loads(connection.getresponse().read()))
        self.folder = setting.work / "site"
        self.folder.mkdir()
        packages.link(needed, self.folder)
        self.bytes = packages.bytes(needed)
        cuda = {name for name in needed if name.startswith(("nvidia", "cuda", "triton"))}
        libraries = [path for path in packages.files["torch"] if "cuda" in path.name and path.suffix == ".so"]
        self.without_cuda = packages.bytes(needed - cuda) - folder_bytes(libraries)

    def _started(self, interpreter: list[str], environment: dict[str, str]) -> Worker:
        return Worker([*interpreter, "-m", "deployment_ways.rest_server", str(self.setting.bundle)], environment)

    def _apart(self) -> Worker:
        """Start the server where it sees its own packages alone."""
        environment = dict(self.setting.environment)
        environment["PYTHONPATH"] = f"{self.folder}:{environment['PYTHONPATH']}"
        return self._started(python("-S"), environment)

    @staticmethod
    def _connected(worker: Worker) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", worker.told()["port"], timeout=300)

    def _posted(self, connection: http.client.HTTPConnection) -> list[str]:
        connection.request("POST", "/", self.body, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    def row(self) -> Row:
        """Return what was measured."""
        starts, taken, risks = [], [], []
        for number in range(self.setting.cold + 1):
            with self._apart() as worker:
                self._posted(self._connected(worker))
                starts += [worker.seconds()] if number else []
        with self._apart() as worker:
            connection = self._connected(worker)
            for _ in range(self.setting.repeats + 5):
                began = time.perf_counter()
                risks = self._posted(connection)
                taken.append(1e3 * (time.perf_counter() - began))
            memory = worker.memory()
        stored = [
            path for path in self.setting.bundle.parents[2].glob("deployment/**/*") if path.suffix in {".pt", ".joblib"}
        ]
        return Row("Python pipeline, REST", folder_bytes(stored), self.bytes, memory, starts, taken[5:], risks)
