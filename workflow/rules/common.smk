"""What every stage shares: the checked study, wildcards that can only take its names, and code as an input.

REQUIRED INPUTS: config/config.yaml, or the study given by --configfile.
OUTPUTS: results/<study>/study.yaml, the study as it was run, with all defaults filled in.
"""

import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from riskweave.study.code import code_of
from riskweave.study.raw import fingerprint, raw_files
from riskweave.study.study import parse_study

STUDY = parse_study(config)
RESULTS = f"results/{STUDY.study}"

# Relative, so that moving the project changes no path that Snakemake remembers.
BASE = Path(os.path.relpath(workflow.basedir))
FINGERPRINTS = Path(".snakemake/riskweave/fingerprints.sqlite")
MODALITIES = ("ehr", "ecg", "image")


def any_of(names):
    """Return a regular expression that matches exactly these names, or nothing when there are none."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


wildcard_constraints:
    endpoint=any_of(STUDY.endpoints),
    experiment=any_of({experiment.name for experiment in STUDY.matrix()}),
    ehr_set=any_of(STUDY.sets_of("ehr")),
    ecg_set=any_of(STUDY.sets_of("ecg")),
    image_set=any_of(STUDY.sets_of("image")),
    encoder_set=any_of(STUDY.encoders()),


def code(script, *implementations):
    """Return a script and the modules it executes: as inputs they are compared by content.

    A script that chooses between implementations by name (a kind of model, a modality's network) does not import them
    all: those in use are named here.
    """
    return code_of(
        BASE / "workflow/scripts" / f"{script}.py", BASE / "src", implementations
    )


def feature_table(name):
    """Return the path of a feature set's table."""
    return f"{RESULTS}/features/{name}/features.parquet"


def dump(block):
    """Return a study block as plain values in a fixed order, so that only a changed value counts as a change."""
    return block.model_dump(mode="json")


def dump_reading(name):
    """Return what reading the raw files of a feature set depends on: everything but its encoder."""
    return STUDY.feature_sets[name].model_dump(mode="json", exclude={"encoder"})


localrules:
    save_study,


rule save_study:
    output:
        study=f"{RESULTS}/study.yaml",
    log:
        f"{RESULTS}/logs/save_study.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        study=dump(STUDY),
    message:
        "Save the study with all defaults filled in."
    script:
        "../scripts/save_study.py"
