"""The requirements: what is named is locked, by version and hash, without addresses, and everywhere the same."""

import importlib.util
import re
import sys
import tomllib
from importlib.metadata import requires, version

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def update(repository):
    """The script that writes the conda environment."""
    spec = importlib.util.spec_from_file_location("update", repository / "envs/update.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lock(repository):
    return (repository / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def named(repository):
    lines = (repository / "requirements.in").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_what_is_named_is_locked_at_a_version_that_it_allows(named, lock, update):
    locked = update.pins(lock)
    for requirement in named:
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_what_the_package_needs_is_named(named, project, update):
    names = {canonicalize_name(requirement.name): requirement for requirement in named}
    needed = {canonicalize_name(requirement.name): requirement for requirement in update.direct(project)}
    assert sorted(set(needed) - set(names)) == [], "requirements.in lacks them: `make lock` could lose them"
    assert [name for name, requirement in needed.items() if requirement.specifier != names[name].specifier] == []


def test_what_the_package_imports_is_named(repository, project, update):
    # Import names that differ from the package's.
    packages = {
        "PIL": "pillow",
        "pynvml": "nvidia-ml-py",
        "sklearn": "scikit-learn",
        "sksurv": "scikit-survival",
        "yaml": "pyyaml",
    }
    needed = {canonicalize_name(requirement.name) for requirement in update.direct(project)}
    known = needed | {"riskweave"} | set(sys.stdlib_module_names)
    pattern = re.compile(r"^\s*(?:import|from) ([A-Za-z_]\w*)", re.MULTILINE)
    missing = set()
    for path in [*repository.glob("src/**/*.py"), *repository.glob("workflow/scripts/*.py")]:
        code = re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        imported = {canonicalize_name(packages.get(name, name)) for name in pattern.findall(code)}
        missing |= {f"{path.name} imports {name}" for name in imported - {canonicalize_name(name) for name in known}}
    assert missing == set(), "name it in pyproject.toml and requirements.in, then run make lock"


def test_every_entry_of_the_lock_is_one_version_with_hashes(lock):
    entries = [entry for entry in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE) if entry[:1].isalnum()]
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==[\w.]+", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


FILES = ["requirements.in", "requirements.lock", "envs/riskweave.yaml", "envs/runtime.txt", "pyproject.toml"]


@pytest.mark.parametrize("name", FILES)
def test_requirements_hold_no_address(name, repository):
    text = (repository / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host| @ ", text)


def test_the_conda_environment_equals_the_lock(repository, lock, update):
    assert (repository / update.ENVIRONMENT).read_text(encoding="utf-8") == update.render(repository)
    environment = yaml.safe_load((repository / update.ENVIRONMENT).read_text(encoding="utf-8"))
    pinned = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    entries = set(re.findall(r"^[a-z0-9.-]+==[\w.]+", lock, flags=re.MULTILINE))
    assert set(pinned) <= entries


def test_the_requirements_of_the_runtime_are_the_locks(repository, lock, update):
    text = (repository / update.RUNTIME).read_text(encoding="utf-8")
    assert text == update.render_runtime(repository)
    for line in text.splitlines():
        assert line.startswith("#") or line in lock.splitlines() or f"{line} \\" in lock.splitlines()
    names = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE)}
    assert names == set(update.RUNTIME_PACKAGES)
    # What these need in turn would be listed as well.
    needed = [need for name in names for need in map(Requirement, requires(name) or []) if not need.marker]
    assert needed == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock is read for Python 3.11")
@pytest.mark.parametrize("name", ["lifelines", "numpy", "pandas", "snakemake", "torch"])
def test_what_is_installed_is_what_is_locked(name, lock, update):
    assert version(name) == update.pins(lock)[name]


def test_what_builds_the_package_is_locked(lock, repository):
    build = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    setuptools = Requirement(build[0])
    found = re.search(r"^setuptools==([\d.]+)", lock, flags=re.MULTILINE)
    assert found
    assert found[1] in setuptools.specifier
