"""What the models of the experiments named under `evaluation.explain` rely on, what features do to the risk, and what
each feature set of a study with all subsets is worth.

REQUIRED INPUTS: experiments/<endpoint>/<experiment>/{models.zip,predictions.parquet} and what it was trained on.
OUTPUTS: evaluation/<endpoint>/explain/<experiment>/{importance,effects}.{parquet,csv,svg};
  evaluation/<endpoint>/shapley.{parquet,csv,svg} where experiments cover all subsets of their feature sets.
"""


localrules:
    explain,


rule explain_experiment:
    input:
        # Models are objects of classes of their training: what they do is what those do.
        code=lambda wildcards: code("explain_experiment", *implementations_of(wildcards)),
        models=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/models.zip",
        predictions=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/predictions.parquet",
        tables=experiment_tables,
        embeddings=experiment_embeddings,
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.assign_folds.output.folds,
        people=ancient(rules.select_cohort.output.subjects),
    output:
        importance=f"{RESULTS}/evaluation/{{endpoint}}/explain/{{experiment}}/importance.parquet",
        effects=f"{RESULTS}/evaluation/{{endpoint}}/explain/{{experiment}}/effects.parquet",
    log:
        f"{RESULTS}/logs/explain_experiment/{{endpoint}}/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/explain_experiment/{{endpoint}}/{{experiment}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        mem_mb=memory_of_explanation,
        runtime=runtime_of_explanation,
    params:
        experiment=lambda wildcards: asdict(experiment_of(wildcards)),
        encoders=experiment_encoders,
        horizons=lambda wildcards: sorted(STUDY.endpoints[wildcards.endpoint].horizons),
        seed=STUDY.evaluation.seed,
        confidence=STUDY.evaluation.confidence,
    message:
        "Explain {wildcards.experiment} for {wildcards.endpoint}."
    script:
        "../scripts/explain_experiment.py"


rule draw_explanation:
    input:
        code=code("draw_explanation"),
        importance=rules.explain_experiment.output.importance,
        effects=rules.explain_experiment.output.effects,
    output:
        importance=report(
            f"{RESULTS}/evaluation/{{endpoint}}/explain/{{experiment}}/importance.svg",
            caption="../report/importance.rst",
            category="Explanations",
            labels={"endpoint": "{endpoint}", "experiment": "{experiment}", "result": "importance"},
        ),
        effects=report(
            f"{RESULTS}/evaluation/{{endpoint}}/explain/{{experiment}}/effects.svg",
            caption="../report/effects.rst",
            category="Explanations",
            labels={"endpoint": "{endpoint}", "experiment": "{experiment}", "result": "effects"},
        ),
        importance_csv=f"{RESULTS}/evaluation/{{endpoint}}/explain/{{experiment}}/importance.csv",
        effects_csv=f"{RESULTS}/evaluation/{{endpoint}}/explain/{{experiment}}/effects.csv",
    log:
        f"{RESULTS}/logs/draw_explanation/{{endpoint}}/{{experiment}}.log",
    conda:
        "../../envs/riskweave.yaml"
    message:
        "Draw the explanation of {wildcards.experiment} for {wildcards.endpoint}."
    script:
        "../scripts/draw_explanation.py"


rule divide_concordance:
    input:
        code=code("divide_concordance"),
        predictions=lambda wildcards: predictions_of_families(wildcards.endpoint),
        subjects=rules.select_cohort.output.subjects,
        outcomes=rules.define_outcomes.output.outcomes,
    output:
        shapley=f"{RESULTS}/evaluation/{{endpoint}}/shapley.parquet",
    log:
        f"{RESULTS}/logs/divide_concordance/{{endpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/divide_concordance/{{endpoint}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    params:
        families=lambda wildcards: [asdict(family) for family in families_of(wildcards.endpoint)],
        modalities=lambda wildcards: modalities_of_families(wildcards.endpoint),
        endpoint=lambda wildcards: dump(STUDY.endpoints[wildcards.endpoint]),
        resamples=STUDY.evaluation.bootstrap,
        seed=STUDY.evaluation.seed,
        confidence=STUDY.evaluation.confidence,
    message:
        "Divide the concordance for {wildcards.endpoint} among feature sets."
    script:
        "../scripts/divide_concordance.py"


rule draw_shapley:
    input:
        code=code("draw_shapley"),
        shapley=rules.divide_concordance.output.shapley,
    output:
        shapley=report(
            f"{RESULTS}/evaluation/{{endpoint}}/shapley.svg",
            caption="../report/shapley.rst",
            category="Explanations",
            labels={"endpoint": "{endpoint}", "experiment": "all subsets", "result": "worth of feature sets"},
        ),
        shapley_csv=f"{RESULTS}/evaluation/{{endpoint}}/shapley.csv",
    log:
        f"{RESULTS}/logs/draw_shapley/{{endpoint}}.log",
    conda:
        "../../envs/riskweave.yaml"
    message:
        "Draw the worth of feature sets for {wildcards.endpoint}."
    script:
        "../scripts/draw_shapley.py"


rule explain:
    input:
        explanations(),
        shapley_figures(),
