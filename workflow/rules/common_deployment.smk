"""What the rules of the deployment ask for.

REQUIRED INPUTS: none.
OUTPUTS: none.
"""

from riskweave.deployment.built import tools
from riskweave.deployment.texts import TOLD, TOLD_OF_INPUTS


def refitted(file):
    """Return which file of each encoder, trained on everybody, an experiment uses that becomes a bundle."""
    folder = f"{RESULTS}/deployment/{{endpoint}}/encoders"
    return lambda wildcards: [
        f"{folder}/{name}/{file}".format(endpoint=wildcards.endpoint) for name in experiment_encoders(wildcards)
    ]


def deployed_models(wildcards):
    """Return the models of a bundle: fitted once more on everybody, or those of all folds."""
    stage = "deployment" if STUDY.deployment.model == "refit" else "experiments"
    return f"{RESULTS}/{stage}/{wildcards.endpoint}/{wildcards.experiment}/models.zip"


def deployed_recordings(wildcards):
    """Return encoder, inputs and index of each feature set of a bundle that has an encoder."""
    found = []
    for name in experiment_encoders(wildcards):
        folder = f"{RESULTS}/features/{name}"
        weights = f"{folder}/{wildcards.endpoint}/encoder.zip"
        if STUDY.deployment.model == "refit":
            weights = f"{RESULTS}/deployment/{wildcards.endpoint}/encoders/{name}/encoder.zip"
        found += [weights, f"{folder}/inputs.npy", f"{folder}/index.parquet"]
    return found


def recalibrated_from(wildcards):
    """Return the predictions that a bundle's recalibration is learnt from; none where it has none."""
    path = f"{RESULTS}/experiments/{wildcards.endpoint}/{wildcards.experiment}/predictions.parquet"
    return [path] if STUDY.deployment.recalibrate else []


def recalibrated_figures(wildcards):
    """Return the figures that speak for a recalibrated bundle; none where it is not."""
    path = f"{RESULTS}/evaluation/{wildcards.endpoint}/recalibration.parquet"
    return [path] if STUDY.deployment.recalibrate else []


def divided(wildcards):
    """Return who trained and who was left out to choose, where a bundle is of a final fit."""
    return [f"{RESULTS}/deployment/{wildcards.endpoint}/folds.parquet"] if STUDY.deployment.model == "refit" else []


def package_data(folder):
    """Return the files of a folder of the package that no module imports: they are compared by content too."""
    return sorted(str(path) for path in (BASE / "src/riskweave" / folder).iterdir() if path.suffix != ".py")


def order_of(wildcards):
    """Return the parts of the study that a module depends on, and no others: no word and no new experiment compiles it."""
    block = STUDY.deployment.model_dump(mode="json", exclude={"experiments", "validation", *TOLD})
    named = STUDY.deployment.inputs.items()
    inputs = {name: told.model_dump(mode="json", exclude_defaults=True, exclude=TOLD_OF_INPUTS) for name, told in named}
    outcome = STUDY.endpoints[wildcards.endpoint].model_dump(mode="json", exclude={"description"})
    return {
        "study": STUDY.study,
        "endpoint": wildcards.endpoint,
        "experiment": wildcards.experiment,
        "outcome": ordered(outcome),
        "feature_sets": {name: dump(STUDY.feature_sets[name]) for name in experiment_of(wildcards).feature_sets},
        "deployment": ordered({**block, "inputs": {name: told for name, told in inputs.items() if told}}),
    }


def texts_of(wildcards):
    """Return what a bundle is told in words."""
    told = STUDY.deployment.model_dump(mode="json", include=TOLD)
    named = STUDY.deployment.inputs.items()
    inputs = {name: words.model_dump(mode="json", include=TOLD_OF_INPUTS) for name, words in named}
    return ordered(
        {
            "question": STUDY.question,
            "description": STUDY.endpoints[wildcards.endpoint].description,
            **told,
            "inputs": {name: words for name, words in inputs.items() if any(words.values())},
        }
    )


def asked_sets():
    """Return the feature sets of the record that some deployed experiment uses."""
    deployed = [STUDY.experiment(endpoint, name) for endpoint, name in STUDY.deployed()]
    used = dict.fromkeys(name for each in deployed for name in each.feature_sets)
    return [name for name in used if STUDY.feature_sets[name].modality == "ehr"]


def records_of_refits():
    """Return the run records of all final fits; none where bundles hold the models of the folds."""
    if STUDY.deployment.model != "refit":
        return []
    found = set()
    for endpoint, name in STUDY.deployed():
        folder = f"{RESULTS}/deployment/{endpoint}"
        encoded = [each for each in STUDY.experiment(endpoint, name).feature_sets if each in STUDY.encoders()]
        found |= {f"{folder}/{name}/run.json", *(f"{folder}/encoders/{each}/run.json" for each in encoded)}
    return sorted(found)
