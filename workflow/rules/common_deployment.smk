"""What the rules of the deployment ask for.

REQUIRED INPUTS: none.
OUTPUTS: none.
"""


def refitted(file):
    """Return which file of each encoder, trained on everybody, an experiment uses that becomes a bundle."""
    folder = f"{RESULTS}/deployment/{{endpoint}}/encoders"
    return lambda wildcards: [
        f"{folder}/{name}/{file}".format(endpoint=wildcards.endpoint) for name in experiment_encoders(wildcards)
    ]


def deployed_models(wildcards):
    """Return the models of a bundle: fitted once more on everybody, or those of all folds."""
    stage = "deployment" if STUDY.deployment.model == "refit" else "experiments"
    return f"{RESULTS}/{stage}/{wildcards.endpoint}/{wildcards.experiment}/models.joblib"


def deployed_recordings(wildcards):
    """Return encoder, inputs and index of each feature set of a bundle that has an encoder."""
    found = []
    for name in experiment_encoders(wildcards):
        folder = f"{RESULTS}/features/{name}"
        weights = f"{folder}/{wildcards.endpoint}/encoder.pt"
        if STUDY.deployment.model == "refit":
            weights = f"{RESULTS}/deployment/{wildcards.endpoint}/encoders/{name}/encoder.pt"
        found += [weights, f"{folder}/inputs.npy", f"{folder}/index.parquet"]
    return found


def package_data(folder):
    """Return the files of a folder of the package that no module imports: they are compared by content too."""
    return sorted(str(path) for path in (BASE / "src/riskweave" / folder).iterdir() if path.suffix != ".py")


def order_of(wildcards):
    """Return the parts of the study that a bundle depends on, and no others: a new experiment compiles no old one."""
    sets = {name: dump(STUDY.feature_sets[name]) for name in experiment_of(wildcards).feature_sets}
    return {
        "study": STUDY.study,
        "question": STUDY.question,
        "endpoint": wildcards.endpoint,
        "experiment": wildcards.experiment,
        "outcome": dump(STUDY.endpoints[wildcards.endpoint]),
        "feature_sets": sets,
        "deployment": ordered(STUDY.deployment.model_dump(mode="json", exclude={"experiments"})),
    }


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
