"""What is judged, explained and divided among feature sets, less experiments that are left out.

REQUIRED INPUTS: none.
OUTPUTS: none.
"""

from riskweave.study.subsets import complete_families


def explained_for_report():
    """Return figures and tables of the explanations, which the study report shows."""
    folders = [f"{RESULTS}/evaluation/{endpoint}/explain/{name}" for endpoint, name in explained()]
    return [*explanations(), *(f"{folder}/importance.parquet" for folder in folders), *shapley_figures()]


def judged():
    """Return the (endpoint, experiment) of each experiment that an objective names, less what is left out."""
    return [pair for pair in STUDY.judged() if not LEFT_OUT.has(*pair)]


def explained():
    """Return the (endpoint, experiment) of each experiment that is explained, less what is left out."""
    return [pair for pair in STUDY.explained() if not LEFT_OUT.has(*pair)]


def explanations():
    """Return the figures of each experiment that is explained; their tables are made with them."""
    folders = [f"{RESULTS}/evaluation/{endpoint}/explain/{name}" for endpoint, name in explained()]
    return [f"{folder}/{figure}.svg" for folder in folders for figure in ("importance", "effects")]


def families_of(endpoint):
    """Return the experiments of an endpoint whose concordance is divided, sorted, with those of all subsets."""
    families = [
        family
        for family in complete_families(STUDY, endpoint)
        if not {*family.members.values(), family.base} & set(LEFT_OUT.reasons(endpoint))
    ]
    return sorted(families, key=lambda family: family.experiment)


def predictions_of_families(endpoint):
    """Return the prediction tables behind them."""
    families = families_of(endpoint)
    names = {name for family in families for name in family.members.values()}
    names |= {family.base for family in families if family.base}
    return [prediction_table(endpoint, name) for name in sorted(names)]


def modalities_of_families(endpoint):
    """Return the modality of each feature set among which is divided."""
    players = sorted({name for family in families_of(endpoint) for name in family.players})
    return {name: modality_of(name) for name in players}


def shapley_figures():
    """Return the figure of each endpoint that has such experiments."""
    return [f"{RESULTS}/evaluation/{name}/shapley.svg" for name in sorted(STUDY.endpoints) if families_of(name)]
