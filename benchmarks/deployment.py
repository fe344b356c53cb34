"""A bundle beside the ways a hospital would otherwise run the same model, all in one run, one thread each.

On one invented patient with values, an ECG of 500 Hz and an image, given as files: size on disk, resident memory, cold
start (from the start of a process, or of a browser, to the first risk, file caches warm), and latency per patient of

- model.wasm by wasmtime (as `riskweave predict` and `riskweave serve` do), by Node, and by the page in Chromium;
- model.onnx by ONNX Runtime and onnxruntime-web: these begin at prepared columns and recordings, and read nothing raw;
- the Python pipeline (PyTorch, scikit-learn, pandas, wfdb) behind a local HTTP endpoint, in a folder of exactly the
  packages that it loads;
- the networks alone, by PyTorch and as they are compiled, turn by turn on the same inputs;
- a look-up table on a grid of the first inputs.

Then whether all give the same risks: the module's to the last bit in all its hosts, for golden and for random patients.

    python benchmarks/deployment.py results/demo/bundle/mi/ehr+ecg+image.logistic_hazard

`npm install onnxruntime-web --prefix FOLDER` and `--onnxruntime-web FOLDER` add that one. Times on a busy machine
scatter: read ratios, and processor time.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from deployment_ways.chromium import Page
from deployment_ways.lookup import Grid, tabulated
from deployment_ways.measure import Packages, folder_bytes, python, quantiles
from deployment_ways.rest import Rest
from deployment_ways.runs import (
    Row,
    Setting,
    bits_in_node,
    first_starts,
    in_turn,
    with_node,
    with_onnxruntime,
    with_onnxruntime_web,
    with_wasmtime,
)

from riskweave.deployment.runtime.golden import give_recordings, hexes_of

DEFAULT = Path("results/demo/bundle/mi/ehr+ecg+image.logistic_hazard")


def megabytes(size: int | None) -> str:
    """Return a size in MB."""
    return "" if size is None else f"{size / 1e6:.2f}" if size < 1e8 else f"{size / 1e6:.0f}"


WIDTHS = (9, 9, 9, 18, 9, 10, 9, 9, 9)


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table of all ways."""
    heads = (
        ("model", "run time", "memory", "cold start s", "CPU s", "latency", "ms", "", "CPU ms"),
        ("MB", "MB", "MB", "best / median", "median", "best", "median", "p99", "mean"),
    )
    for cells in heads:
        print(" " * 26 + "".join(f"{cell:>{width}s}" for cell, width in zip(cells, WIDTHS, strict=True)))
    for row in rows:
        if row.reason:
            print(f"{row.name:26s} skipped: {row.reason}")
            continue
        cold = f"{min(row.cold):.3f} / {np.median(row.cold):.3f}"
        latency = [f"{each:.2f}" for each in (*quantiles(row.ms), row.cpu_ms)]
        measured = (f"{row.memory:.0f}", cold, f"{np.median(row.cpu):.2f}", *latency)
        cells = (megabytes(row.model), megabytes(row.runtime), *measured)
        print(f"{row.name:26s}" + "".join(f"{cell:>{width}s}" for cell, width in zip(cells, WIDTHS, strict=True)))
        if row.opened:
            best, median = min(row.opened), np.median(row.opened)
            print(f"  opened in a browser that runs already: {best:.3f} / {median:.3f} s to the first risk")


def print_paired(told: dict[str, Any]) -> tuple[float, float]:
    """Print PyTorch and the module turn by turn; return the ratios of networks and of whole patients."""
    print("\nnetworks alone, the same inputs, turn by turn: best / median ms")
    total = {way: [0.0, 0.0] for way in ("torch", "counting", "plain")}
    for name, each in told["networks"].items():
        texts = []
        for way, sums in total.items():
            best, median, _ = quantiles(each[way])
            sums[0] += best
            sums[1] += median
            texts.append(f"{best:8.3f} / {median:.3f}")
        print(f"  {name:14s}{each['shape']!s:16s} torch{texts[0]}   wasmtime{texts[1]}   not counting{texts[2]}"
              f"   apart {each['apart']:.1e}")  # fmt: skip
    ratio = total["counting"][1] / total["torch"][1] if told["networks"] else np.nan
    uncounted = total["plain"][1] / total["torch"][1] if told["networks"] else np.nan
    print(
        f"  all: wasm takes {ratio:.2f} times PyTorch's time (medians), {uncounted:.2f} without counting instructions"
    )
    pipeline, module = (quantiles(told["whole"][way]) for way in ("pipeline", "module"))
    print("whole raw patient from files, turn by turn: best / median ms")
    print(f"  Python pipeline {pipeline[0]:.1f} / {pipeline[1]:.1f}, module {module[0]:.2f} / {module[1]:.2f}, "
          f"risks {told['apart']:.1e} apart")  # fmt: skip
    print("parts of the module's prediction: best / median ms")
    for name, times in told["phases"].items():
        best, median, _ = quantiles(times)
        print(f"  {name:26s}{best:8.3f} / {median:.3f}")
    return ratio, module[1] / pipeline[1]


def same_bits(setting: Setting, found: dict[str, list[list[str]]]) -> bool:
    """Compare the bits of all hosts; print how many patients agree."""
    wanted = []
    for patient in (*setting.golden, *setting.invented):
        setting.module.set_patient(patient["patient"])
        give_recordings(setting.module, patient)
        wanted.append(hexes_of(setting.module.predict(contributions=False).risks))
    known = len(setting.golden)
    stored = sum(own == list(each["risks"]) for own, each in zip(wanted, setting.golden, strict=False))
    print(f"\nbits of all risks: wasmtime gives {stored} of {known} golden patients what the bundle says")
    same = stored == known
    for host, risks in found.items():
        golden = sum(a == b for a, b in zip(risks[:known], wanted[:known], strict=True))
        random = sum(a == b for a, b in zip(risks[known:], wanted[known:], strict=False))
        of = len(risks) - known
        print(
            f"  {host}: {golden} of {known} golden"
            + (f" and {random} of {of} random patients" if of else "")
            + " as in wasmtime"
        )
        same &= golden == known and random == of
    return same


def print_table(setting: Setting, points: int, most: int) -> None:
    """Print what a look-up table would weigh and lose."""
    module, grid = setting.module, Grid(setting.module)
    rng = np.random.default_rng(3)
    patients, risks = [], []
    for _ in range(40):
        own = {place: float(rng.uniform(*grid.bounds(place))) for place in grid.inputs}
        grid.typical()
        for place, value in own.items():
            grid.set(place, value)
        one = setting.invented[int(rng.integers(len(setting.invented)))]
        give_recordings(module, one)
        patients.append(own)
        risks.append(grid.risk({}))
    print(
        f"\na table of {points} points an axis instead (errors of the risk at the last horizon, medians of 40 patients)"
    )
    for names, cells, near, far in tabulated(module, patients, risks, points=points, most=most):
        errors = f"error {near:.1e} if nothing else were known, {far:.1e} against the model"
        print(f"  {len(names)} inputs: {8 * cells / 1e6:10.4f} MB, {errors} (last: {names[-1]})")
    numbers = len(grid.inputs)
    size = np.log10(points) * numbers + np.log10(8 * len(setting.schema["causes"]) * len(setting.schema["times"]))
    print(f"  all {numbers} numbers: 10^{size:.0f} bytes, without a single sample of ECG or image")
    print(f"  standard deviation of these patients' risks: {np.std(risks):.1e}")


def verdict(name: str, value: float, bar: float, *, at_least: bool = False, unit: str = "") -> None:
    """Print whether a bar is met."""
    met = value >= bar if at_least else value <= bar
    missed = (bar / value if at_least else value / bar) if value else np.inf
    told = "met" if met else f"MISSED by a factor of {missed:.2f}"
    print(f"  {name:78s}{value:9.2f}{unit} (bar {'at least' if at_least else 'at most'} {bar:g}{unit}): {told}")


def print_verdicts(setting: Setting, rows: dict[str, Row], rest: Rest | None, paired: Sequence[float] | None) -> None:
    """Print the bars of the project."""
    wasm, page = setting.bytes_of("model.wasm"), setting.bytes_of("index.html")
    print("\nbars")
    verdict("model.wasm", wasm / 1e6, 2.0, unit=" MB")
    verdict("index.html, all in one", page / 1e6, 4.0, unit=" MB")
    if rest is None:
        return
    server = rows["rest"]
    stack = server.model + server.runtime
    whole = folder_bytes([setting.bundle])
    for name, size in (("model.wasm", wasm), ("index.html", page), ("the whole bundle", whole)):
        verdict(
            f"REST stack ({stack / 1e6:.0f} MB) over {name} ({size / 1e6:.2f} MB)", stack / size, 500, at_least=True
        )
    light = server.model + rest.without_cuda
    verdict(
        f"the same with a PyTorch for processors alone ({light / 1e6:.0f} MB) over model.wasm",
        light / wasm,
        500,
        at_least=True,
    )
    for key in ("wasmtime", "node", "chromium"):
        row = rows[key]
        if row.ms:
            ratio = np.median(server.cold) / np.median(row.cold)
            verdict(f"cold start: REST over {row.name}, medians", ratio, 50, at_least=True, unit="x")
            ratio = np.median(server.cpu) / np.median(row.cpu)
            verdict("  the same in processor time", ratio, 50, at_least=True, unit="x")
    if rows["chromium"].opened:
        ratio = np.median(server.cold) / np.median(rows["chromium"].opened)
        verdict("cold start: REST over the page in a browser that runs already", ratio, 50, at_least=True, unit="x")
    if paired is not None:
        verdict("latency: networks, wasmtime over PyTorch eager, medians in turn", paired[0], 2.0, unit="x")
        verdict("latency: whole raw patient, module over Python pipeline, medians in turn", paired[1], 2.0, unit="x")
    for key in ("wasmtime", "node", "chromium"):
        row = rows[key]
        if row.ms:
            ratio = np.median(row.ms) / np.median(server.ms)
            verdict(f"latency: {row.name} over the REST round trip, medians", ratio, 0.2, unit="x")
            verdict("  the same in processor time", row.cpu_ms / server.cpu_ms, 0.2, unit="x")


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=DEFAULT, help="folder of a bundle, in its results folder"
    )
    parser.add_argument("--repeats", type=int, default=200, help="timed predictions of each way")
    parser.add_argument("--cold", type=int, default=5, help="cold starts of each way, after one that is not counted")
    parser.add_argument("--random", type=int, default=200, help="invented patients whose bits are compared")
    parser.add_argument("--points", type=int, default=9, help="of each axis of the look-up table")
    parser.add_argument("--axes", type=int, default=4, help="most axes of the look-up table")
    parser.add_argument("--onnxruntime-web", type=Path, help="folder that npm installed onnxruntime-web into")
    parser.add_argument("--node", default=shutil.which("node"))
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    return parser.parse_args()


@contextmanager
def browsers(chromium: str | None) -> Iterator[Callable[..., Page] | None]:
    """Yield what starts a browser with the page of a bundle; None where there is no browser or nothing to drive it."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        chromium = None
    if chromium is None:
        yield None
        return
    with sync_playwright() as playwright:
        yield partial(Page, playwright, chromium)


def measure(setting: Setting, options: argparse.Namespace) -> None:
    """Run everything and print it."""
    packages = Packages()
    rows = {
        "wasmtime": with_wasmtime(setting, packages),
        "node": with_node(setting, options.node),
        "onnx": with_onnxruntime(setting, packages),
        "onnx_web": with_onnxruntime_web(setting, options.node, options.onnxruntime_web),
    }
    rest = paired = None
    if (setting.bundle.parents[2] / "study.yaml").is_file():
        rest = Rest(setting, packages)
        rows["rest"] = rest.row()
    else:
        rows["rest"] = Row("Python pipeline, REST", reason="the bundle does not lie in the results folder of its study")
    with browsers(options.chromium) as browser:
        rows["chromium"] = Row("wasm, page in Chromium", reason="needs Chromium and the package playwright")
        if browser is not None:
            start = partial(browser, setting.bundle, setting.folder)
            rows["chromium"] = Row("wasm, page in Chromium", start, setting.bytes_of("index.html"))
        running = [row for row in rows.values() if row.start is not None]
        bits = in_turn(running, repeats=options.repeats, cold=options.cold)
    print_rows(list(rows.values()))
    first, worked = first_starts(setting, options.cold)
    print(
        f"wasmtime's first start on a machine, which compiles: {min(first):.3f} / {np.median(first):.3f} s "
        f"(CPU {np.median(worked):.2f})"
    )
    if rest is not None:
        command = python("-m", "deployment_ways.paired", *map(str, (setting.bundle, setting.folder, options.repeats)))
        worker = setting.worker(command)
        paired = print_paired(worker.told())
        worker.close()
    print_agreement(setting, rows)
    if options.node:
        bits["wasm, Node"] = bits_in_node(setting, options.node)
    same = same_bits(setting, bits)
    print_table(setting, options.points, options.axes)
    print_verdicts(setting, rows, rest, paired)
    print(f"  the same bits in all hosts: {'met' if same else 'MISSED'}")


def print_agreement(setting: Setting, rows: dict[str, Row]) -> None:
    """Print how far the risks of the timed patient are apart."""
    wanted = setting.risks.ravel()
    print("\nrisks of the timed patient, largest difference to wasmtime")
    for row in rows.values():
        if row.risks:
            coded = isinstance(row.risks[0], str)
            values = np.frombuffer(bytes.fromhex("".join(row.risks)), dtype=">f8") if coded else np.array(row.risks)
            print(f"  {row.name:28s}{np.abs(values - wanted).max():.1e}")


def main() -> None:
    """Measure one bundle."""
    options = parse()
    if not (options.bundle / "model.wasm").is_file():
        print(f"{options.bundle} is no bundle: run `snakemake deploy` first. Nothing was measured.")
        return
    schema = json.loads((options.bundle / "schema.json").read_text(encoding="utf-8"))
    if not schema["ecg"] or not schema["image"]:
        print(f"{options.bundle} reads no ECG or no image: this benchmark is of models of three modalities.")
        return
    with tempfile.TemporaryDirectory() as work:
        name = f"{schema['study']}, {schema['endpoint']}, {schema['experiment']}"
        print(f"{name}: {options.repeats} predictions, {options.cold} cold starts")
        measure(Setting(options.bundle, Path(work), random=options.random), options)


if __name__ == "__main__":
    main()
