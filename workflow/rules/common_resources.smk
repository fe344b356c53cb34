"""What trainings ask of a machine, as functions of the study and of the attempt.

A profile decides what is done with it: locally a limit (`resources: gpu: 2`) keeps jobs apart and nothing is enforced
without one, so that a machine without GPUs runs the same rules; on a cluster these are the requests. A second attempt
(`retries`) asks for more memory and time, which helps those jobs that ran out of them.

REQUIRED INPUTS: none.
OUTPUTS: none.
"""

# The kind of model without a head of its own whose network has one for each endpoint.
NETWORKS = {*HEADS, "multi_endpoint"}


def models_of(wildcards):
    """Return the blocks of all models that an experiment fits."""
    return [STUDY.models[experiment_of(wildcards).model], *members_of(wildcards).values()]


def networks_of(wildcards):
    """Return those of an experiment's models that are networks."""
    return [block for block in models_of(wildcards) if block.kind in NETWORKS]


def gpu_of_experiment(wildcards):
    """Return 1 where an experiment trains a network, else 0: no GPU waits for a Cox model."""
    return int(bool(networks_of(wildcards)))


def memory_of_encoder(wildcards, input, attempt):
    """Return the memory of an encoder's training in MB: batches are read from the disk, CUDA itself takes 2 GB."""
    return attempt * 4000


def memory_of_experiment(wildcards, input, attempt):
    """Return the memory of an experiment's training in MB: its tables are held several times over."""
    tables = sum(Path(file).stat().st_size for file in [*input.tables, *input.embeddings]) / 1e6
    least = 4000 if gpu_of_experiment(wildcards) else 2000
    return int(attempt * (least + 10 * tables))


def memory_of_explanation(wildcards, attempt):
    """Return the memory of an explanation in MB."""
    return attempt * 3000


def fits_of_encoder(wildcards):
    """Return how many networks the training of an encoder fits: in each fold one, and one without each part."""
    name = wildcards.get("encoder_set") or wildcards.pretrained_set
    return STUDY.folds.count * (1 + STUDY.feature_sets[name].encoder.cross_fit)


def runtime_of_pretraining(wildcards, attempt):
    """Return the longest time of a training without labels in minutes: one for each pass over the recordings."""
    epochs = STUDY.feature_sets[wildcards.pretrained_set].encoder.pretraining.epochs
    return attempt * (60 + STUDY.folds.count * epochs)


def runtime_of_encoder(wildcards, attempt):
    """Return the longest time of an encoder's training in minutes: one for each pass over the recordings."""
    epochs = STUDY.feature_sets[wildcards.encoder_set].encoder.training.epochs
    return attempt * (60 + fits_of_encoder(wildcards) * epochs)


def trials_of(block):
    """Return how often a model is fitted in a fold: once, or once for each trial of its search and the last one."""
    search = getattr(block, "search", None)
    return 1 if search is None else 1 + search.trials


def runtime_of_experiment(wildcards, attempt):
    """Return the longest time of an experiment's training in minutes: two for each fit, with all its parts and trials."""
    fusion = STUDY.fusion(experiment_of(wildcards).fusion)
    sets = len(experiment_of(wildcards).feature_sets) if fusion.kind == "late" else 1
    parts = 1 + max(getattr(block, "parts", 0) for block in [fusion, *models_of(wildcards)])
    fits = STUDY.folds.count * sets * parts * sum(map(trials_of, models_of(wildcards)))
    joint = STUDY.folds.count * fusion.training.epochs if fusion.kind == "joint" else 0
    return attempt * (60 + 2 * fits + joint)


def runtime_of_explanation(wildcards, attempt):
    """Return the longest time of an explanation in minutes."""
    return attempt * 120
