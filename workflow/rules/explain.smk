"""What the models of the experiments named under `evaluation.explain` rely on, and what features do to the risk.

REQUIRED INPUTS: experiments/<endpoint>/<experiment>/{models.joblib,predictions.parquet} and what it was trained on.
OUTPUTS: evaluation/<endpoint>/explain/<experiment>/{importance,effects}.parquet.
"""


localrules:
    explain,


rule explain_experiment:
    input:
        # Models are unpickled: what they execute is what their training did.
        code=lambda wildcards: code("explain_experiment", *implementations_of(wildcards)),
        models=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/models.joblib",
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
        mem_mb=3000,
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


rule explain:
    input:
        explanations(),
