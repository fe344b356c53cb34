"""Profiles name rules that exist, keep what the default profile says, and say why."""

import re

import pytest
import yaml

NAMED = ("gpu", "slurm")


@pytest.fixture(scope="module")
def rules(repository):
    texts = [path.read_text() for path in (repository / "workflow/rules").glob("*.smk")]
    return {name for text in texts for name in re.findall(r"^(?:use )?rule (?:\w+ as )?(\w+)", text, re.MULTILINE)}


def profile(repository, name):
    return yaml.safe_load((repository / f"profiles/{name}/profile.yaml").read_text())


@pytest.mark.parametrize("name", NAMED)
def test_rules_that_a_profile_names_exist(repository, rules, name):
    content = profile(repository, name)
    named = {*content.get("groups", {}), *content.get("set-threads", {}), *content.get("set-resources", {})}
    assert named
    assert named <= rules
    assert set(content.get("group-components", {})) <= set(content.get("groups", {}).values())


@pytest.mark.parametrize("name", NAMED)
def test_a_named_profile_replaces_the_default_one_and_repeats_it(repository, name):
    default = profile(repository, "default")
    kept = {key: value for key, value in default.items() if key != "cores"}
    content = profile(repository, name)
    assert {key: content[key] for key in kept} == kept
    assert content["default-resources"]["gpu"] == 0


def test_no_training_is_grouped(repository):
    """Of a group that fails all is done again."""
    assert not [rule for rule in profile(repository, "slurm")["groups"] if "train" in rule]


def test_every_training_leases_its_device(repository):
    scripts = list((repository / "workflow/scripts").glob("*train*.py"))
    assert len(scripts) == 4
    # That this leases what the rule asks for: tests/unit/test_training_job.py.
    assert all("with training_job(snakemake) as training:" in path.read_text() for path in scripts)
