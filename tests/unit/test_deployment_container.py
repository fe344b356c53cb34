"""What the container holds is enough to serve a bundle, and no library of machine learning is part of it."""

import contextlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from deployed_bundle import GOOD, LAB, Sent, ecg_files, make_bundle, picture
from deployed_server import form

HEAVY = ["torch", "pandas", "scipy", "sklearn", "lifelines", "matplotlib", "wfdb", "snakemake", "pyarrow", "onnx"]
SLOW = ["numpy", "pydicom", "inspect", "dataclasses", "shutil", "email", "http", "datetime"]
PARTS = ["bundle", "cli", "serve", "api", "fhir", "readers", "golden", "module", "openapi", "apipage", "pool", "words"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("deployed"))


def instructions(path):
    """Return the instructions of a Containerfile: word and rest."""
    joined = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.strip().split(None, 1)) for line in lines]


@pytest.fixture(scope="module")
def containerfile(repository):
    return instructions(repository / "envs/Containerfile.runtime")


@pytest.fixture(scope="module")
def container(repository, containerfile, tmp_path_factory):
    """Lay out what the Containerfile copies, beside the packages of envs/runtime.txt and nothing else."""
    root = tmp_path_factory.mktemp("container")
    for word, rest in containerfile:
        if word == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                copy(repository / source, root / target.lstrip("/"), folder=target.endswith("/"))
    packages = root / "packages"
    packages.mkdir()
    names = re.findall(r"^([\w.-]+)==", (root / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert set(names) == {"numpy", "pillow", "pydicom", "wasmtime"}
    for name in sorted(set(names)):
        for place in installed({"pillow": "PIL"}.get(name, name), name):
            (packages / place.name).symlink_to(place)
    return root


def copy(source, target, *, folder):
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        path = target / source.name if folder else target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)


def installed(module, name):
    """Return what pip puts beside each other: the package, its metadata, and the libraries that its wheel brings."""
    own = Path(importlib.util.find_spec(module).origin).parent
    return [own, *own.parent.glob(f"{name}.libs"), *own.parent.glob(f"{name}-*.dist-info")]


def command(container, *arguments):
    """Return how python is started there: without the packages of this machine, with the container's variables."""
    places = [container / "opt/riskweave", container / "packages"]
    return {
        "args": [sys.executable, "-S", "-P", *arguments],
        "env": {"PYTHONPATH": ":".join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1", "PATH": ""},
        "cwd": container,
    }


def test_nothing_else_can_be_imported(container):
    script = f"import importlib.util as u; print([name for name in {HEAVY} if u.find_spec(name)])"
    done = subprocess.run(**command(container, "-c", script), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    held = {path.relative_to(container / "opt/riskweave/riskweave").parts[0] for path in container.rglob("*.py")
            if path.is_relative_to(container / "opt")}  # fmt: skip
    assert held == {"__init__.py", "errors.py", "deployment"}


def test_the_runtime_imports_no_heavy_package():
    """Here all of them are installed."""
    names = ", ".join(f"riskweave.deployment.runtime.{part}" for part in PARTS)
    script = f"import sys, {names}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_prediction_without_files_loads_no_reader(made):
    script = (
        "import sys; from riskweave.deployment.runtime.cli import main; main(sys.argv[1:]); "
        f"print([name for name in {[*SLOW, 'PIL']} if name in sys.modules], file=sys.stderr)"
    )
    arguments = [sys.executable, "-c", script, "predict", str(made[0]), "-"]
    done = subprocess.run(arguments, input=json.dumps({"values": GOOD}), capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_prediction_from_common_files_starts_fast(made, tmp_path):
    """A record and a PNG: what makes a start slow is not loaded, the decoders of other kinds of pictures included."""
    sent = Sent(json.dumps({"values": GOOD, "events": [LAB]}).encode(), ecg_files(tmp_path), picture())
    others = [f"PIL.{kind}ImagePlugin" for kind in ("Jpeg", "Gif", "Bmp")]
    script = (
        "import sys; from riskweave.deployment.runtime.cli import main; status = main(sys.argv[1:]); "
        f"print(status, [name for name in {SLOW + others} if name in sys.modules], file=sys.stderr)"
    )
    arguments = [sys.executable, "-c", script, "predict", str(made[0]), *sent.write(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
    assert "Of 100 people like this" in done.stdout


@contextlib.contextmanager
def served(container, bundle):
    """Start the container's command on a free port of this machine; yield its address."""
    started = command(container, "-m", "riskweave.deployment.runtime", "serve", str(bundle), "--port", "0")
    with subprocess.Popen(**started, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://\S+/", process.stderr.readline())[0]
        finally:
            process.terminate()
            process.stderr.read()
    # SIGTERM is how containers are stopped.
    assert process.returncode == 0


def test_a_bundle_is_served(container, made, tmp_path):
    sent = Sent(json.dumps({"values": GOOD, "events": [LAB]}).encode(), ecg_files(tmp_path), picture())
    body, headers = form(sent)
    with served(container, made[0]) as url:
        request = urllib.request.Request(f"{url}predict", body, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            told = json.load(reply)
    module = made[1].module
    from riskweave.deployment.runtime.readers import parse_ecg, parse_image

    module.set_patient({"values": GOOD, "events": [LAB]})
    module.set_ecg(*parse_ecg(sent.files))
    module.set_image(parse_image(sent.image))
    assert told == module.predict().as_dict()


def test_no_data_come_near_the_container(repository, containerfile):
    """What a builder is given: the sources of its COPY lines, and neither results nor an environment."""
    lines = (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [line[1:] for line in rules if line.startswith("!")]
    both = [*containerfile, *instructions(repository / "envs/Containerfile")]
    sources = [source for word, rest in both if word == "COPY" for source in shlex.split(rest)[:-1]]
    assert all(any(source.startswith(one) for one in allowed) for source in sources)
    assert set(allowed) == {"envs/runtime.txt", "requirements.lock", "src/riskweave"}


def test_the_container_runs_as_nobody(containerfile):
    words = dict(containerfile)
    assert words["USER"] == "65534:65534"
    assert words["FROM"].endswith("-slim")
    assert "--require-hashes" in next(rest for word, rest in containerfile if word == "RUN" and "pip" in rest)
    # Its command is one that riskweave takes.
    from riskweave.deployment.runtime.cli import _parser

    started = json.loads(words["ENTRYPOINT"]) + json.loads(words["CMD"])
    assert started[:3] == ["python", "-m", "riskweave.deployment.runtime"]
    options = _parser().parse_args(started[3:])
    assert (options.host, options.port, options.allow_remote) == ("0.0.0.0", 8080, True)
