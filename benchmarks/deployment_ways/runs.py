"""Runs every way of `benchmarks/deployment.py` on the same patient, each in fresh processes."""

import json
import shutil
from collections.abc import Callable, Sequence
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
ROUND = 5
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
RUNTIME = ("wasmtime", "numpy", "pillow", "pydicom")
"""Packages that the runtime of a bundle needs."""


@dataclass
class Row:
    """A way, and what was measured of it.

    Attributes
    ----------
    start : callable
        Starts it and returns what is running, see `Running`.
    model, runtime : int
        Bytes of the model's own files, and of what has to be installed to run them.
    memory : float
        MB.
    cold, cpu : list of float
        Seconds from the start of a process to its first risk: on the clock, and that processors worked.
    opened : list of float
        Of a page: seconds from opening it.
    ms : list of float
        Milliseconds a patient.
    cpu_ms : float
        Milliseconds that processors worked for a patient, in the mean.
    risks : list
        Of the timed patient: bits, or numbers.
    reason : str
        Why it was not measured.
    """

    name: str
    start: Callable[[], Any] | None = None
    model: int = 0
    runtime: int | None = None
    memory: float = 0.0
    cold: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    cpu_ms: float = 0.0
    risks: list[Any] = field(default_factory=list)
    reason: str = ""


class Running:
    """A process that has told its first risks and times predictions."""

    def __init__(self, worker: Worker):
        self.worker, self.risks = worker, worker.told()["risks"]
        self.cold, self.cpu = worker.seconds(), worker.cpu()

    def worked(self) -> float:
        """Return the seconds that processors worked for it so far."""
        return self.worker.cpu()

    def times(self, count: int) -> list[float]:
        """Return the times of so many predictions, in milliseconds."""
        return self.worker.ask(str(count))["ms"]

    def memory(self) -> float:
        """Return the resident memory in MB."""
        return self.worker.memory()

    def close(self) -> None:
        """End the process."""
        self.worker.close()


class Setting:
    """Files that all ways share.

    Parameters
    ----------
    bundle : Path
    work : Path
        An empty folder.
    random : int
        Invented patients.
    """

    def __init__(self, bundle: Path, work: Path, *, random: int):
        self.bundle, self.work = bundle.resolve(), work
        self.module = Module.open(bundle)
        self.schema = self.module.schema
        self.golden = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))["patients"]
        self.patient = next(each for each in self.golden if each["ecg"] and each["image"])
        self.invented = golden_patients(self.schema, count=random, seed=7)
        # Python keeps what it has compiled, as an installed package does.
        self.environment = {**ONE_THREAD, "PYTHONDONTWRITEBYTECODE": ""}
        self.environment["PYTHONPATH"] = f"{WAYS.parent}:{Path(riskweave.__file__).parents[1]}"
        self.folder, self.page, self.inputs = work / "patient", work / "page", work / "inputs.json"
        self._write_patient()
        self._write_inputs()
        shutil.copytree(str(resources.files("riskweave.deployment") / "page"), self.page)
        # The page checks its golden patients with a function that it shows to nobody.
        with (self.page / "wasm.js").open("a", encoding="utf-8") as stream:
            stream.write("export { goldenRisks };\n")
        (self.page / "package.json").write_text('{"type": "module"}\n')
        (work / "invented.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in self.invented))

    def _write_patient(self) -> None:
        self.folder.mkdir()
        (self.folder / "patient.json").write_text(json.dumps(self.patient["patient"]))
        ecg = self.patient["ecg"]
        signal = np.array(decode_ecg(ecg).leads()).T
        write_record(
            path=self.folder / "rec", signal=signal, leads=ecg["leads"], sampling_rate=round(ecg["rate"]), gain=1000
        )
        pixels = np.array(decode_image(self.patient["image"]))
        PIL.Image.fromarray(pixels).save(self.folder / "image.png")

    def _write_inputs(self) -> None:
        """Write what model.onnx starts from, as the module made it."""
        module, schema = self.module, self.schema
        module.set_patient(self.patient["patient"])
        give_recordings(module, self.patient)
        made = module.predict(contributions=False)
        self.risks = np.array(made.risks)
        given = {"columns": np.array(made.columns), "has_ecg": np.ones(1), "has_image": np.ones(1)}
        if schema["ecg"]:
            shape = (1, 12, round(schema["ecg"]["rate"] * schema["ecg"]["seconds"]))
            given["ecg"] = module.host.read(module.host.call("rw_ecg_prepared"), shape[1] * shape[2], "f")
            given["ecg"] = np.array(given["ecg"]).reshape(shape)
        if schema["image"]:
            size = schema["image"]["size"]
            given["image"] = module.host.read(module.host.call("rw_image_prepared"), size * size, "f")
            given["image"] = np.array(given["image"]).reshape(1, size, size)
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


def in_turn(rows: Sequence[Row], *, repeats: int, cold: int) -> dict[str, Any]:
    """Measure all ways, one after the other again and again: what else the machine does then slows all alike.

    Parameters
    ----------
    rows : sequence of Row
        Are filled.
    repeats : int
        Predictions of each, in rounds of `ROUND`.
    cold : int
        Starts of each, after one that fills the caches of files and compiled code and is not counted.

    Returns
    -------
    dict of name to list of list of str
        Bits of the golden patients' risks, of ways that tell them.
    """
    for number in range(cold + 1):
        for row in rows:
            running = row.start()
            if number:
                row.cold.append(running.cold)
                row.cpu.append(running.cpu)
                row.opened += [running.opened] if hasattr(running, "opened") else []
            running.close()
    started = [(row, row.start()) for row in rows]
    for number in range(-(-repeats // ROUND) + 1):
        for row, running in started:
            before, taken = running.worked(), running.times(ROUND)
            if number:
                row.ms += taken
                row.cpu_ms += 1e3 * (running.worked() - before)
    golden = {}
    for row, running in started:
        row.risks, row.memory = running.risks, running.memory()
        row.cpu_ms /= len(row.ms)
        if hasattr(running, "golden"):
            golden[row.name] = running.golden()
        running.close()
    return golden


def first_starts(setting: Setting, count: int) -> tuple[list[float], list[float]]:
    """Start by wasmtime as if never before, with an empty folder for compiled code; return seconds and CPU seconds."""
    command = python("-m", "deployment_ways.wasm_wasmtime", str(setting.bundle), str(setting.folder))
    taken, worked = [], []
    for number in range(count):
        environment = {**setting.environment, "XDG_CACHE_HOME": str(setting.work / f"cache{number}")}
        running = Running(Worker(command, environment))
        taken.append(running.cold)
        worked.append(running.cpu)
        running.close()
    return taken, worked


def with_wasmtime(setting: Setting, packages: Packages) -> Row:
    """Run the module as `riskweave predict` does."""
    command = python("-m", "deployment_ways.wasm_wasmtime", str(setting.bundle), str(setting.folder))
    runtime = packages.bytes(RUNTIME) + folder_bytes([Path(riskweave.__file__).parent / "deployment/runtime"])
    model = setting.bytes_of("model.wasm", "schema.json")
    return Row("wasm, wasmtime in Python", lambda: Running(setting.worker(command)), model, runtime)


def with_node(setting: Setting, node: str | None) -> Row:
    """Run the module by Node."""
    if node is None:
        return Row("wasm, Node", reason="Node is not installed")
    command = node_command(setting, node)
    runtime = folder_bytes([Path(node).resolve(), setting.page])
    model = setting.bytes_of("model.wasm", "schema.json")
    return Row("wasm, Node", lambda: Running(setting.worker(command)), model, runtime)


def node_command(setting: Setting, node: str) -> list[str]:
    """Return what starts the module in Node."""
    return [node, str(WAYS / "wasm_node.mjs"), *map(str, (setting.page, setting.bundle, setting.folder))]


def bits_in_node(setting: Setting, node: str) -> list[list[str]]:
    """Return the bits of the risks of golden and invented patients."""
    asked = setting.work / "asked.jsonl"
    asked.write_text("".join(f"{json.dumps(each)}\n" for each in (*setting.golden, *setting.invented)))
    running = Running(setting.worker(node_command(setting, node)))
    found = running.worker.ask(str(asked))["risks"]
    running.close()
    return found


def with_onnxruntime(setting: Setting, packages: Packages) -> Row:
    """Run model.onnx by ONNX Runtime."""
    if "onnxruntime" not in packages.files:
        return Row("onnxruntime, native", reason="onnxruntime is not installed")
    command = python("-m", "deployment_ways.onnx_native", str(setting.bundle), str(setting.inputs))
    runtime = packages.bytes(["onnxruntime", "numpy"])
    model = setting.bytes_of("model.onnx")
    return Row("onnxruntime, native", lambda: Running(setting.worker(command)), model, runtime)


def with_onnxruntime_web(setting: Setting, node: str | None, package: Path | None) -> Row:
    """Run model.onnx by onnxruntime-web in Node."""
    name = "onnxruntime-web, Node"
    found = package / "node_modules/onnxruntime-web" if package else None
    if node is None or found is None or not found.is_dir():
        reason = "give --onnxruntime-web FOLDER, made by `npm install onnxruntime-web --prefix FOLDER`"
        return Row(name, reason=reason if node else "Node is not installed")
    command = [node, str(WAYS / "onnx_node.mjs"), *map(str, (found.resolve(), setting.bundle, setting.inputs))]
    needed = ("ort.node.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    runtime = folder_bytes([Path(node).resolve(), *(found / "dist" / each for each in needed)])
    return Row(name, lambda: Running(setting.worker(command)), setting.bytes_of("model.onnx"), runtime)
