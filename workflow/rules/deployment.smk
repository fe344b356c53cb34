"""Deployment: the experiments named under `deployment`, fitted once more on everybody, as bundles that run anywhere.

REQUIRED INPUTS: cohort/outcomes/<endpoint>.parquet, features/<feature_set>/*, the recordings that their tables name,
  evaluation/<endpoint>/{metrics,calibration}.parquet; of recalibrated bundles predictions.parquet of the experiment and
  evaluation/<endpoint>/recalibration.parquet.
OUTPUTS: deployment/<endpoint>/folds.parquet, deployment/<endpoint>/encoders/<feature_set>/encoder.zip,
  deployment/<endpoint>/<experiment>/{models.zip,run.json,...,parity.json}, deployment/inputs.json;
  bundle/<endpoint>/<experiment>/.
"""


localrules:
    deploy,
    collect_refits,
    check_named_inputs,


rule divide_everybody:
    input:
        code=code("divide_everybody"),
        subjects=rules.select_cohort.output.subjects,
        outcomes=rules.define_outcomes.output.outcomes,
    output:
        folds=update(f"{RESULTS}/deployment/{{endpoint}}/folds.parquet"),
    log:
        f"{RESULTS}/logs/divide_everybody/{{endpoint}}.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        folds=dump(STUDY.folds),
        validation=STUDY.deployment.validation,
    message:
        f"Divide the subjects for the final fits of {{wildcards.endpoint}}: {1 - STUDY.deployment.validation:.0%} train, "
        f"{STUDY.deployment.validation:.0%} choose penalties and epochs."
    script:
        "../scripts/divide_everybody.py"


use rule train_encoder as refit_encoder with:
    input:
        unpack(encoder_input),
        code=lambda wildcards: code("train_encoder", *encoder_code(wildcards.encoder_set)),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.divide_everybody.output.folds,
        subjects=ancient(rules.select_cohort.output.subjects),
        data=ancient(rules.ingest.output.data),
        checked=f"{RESULTS}/cohort/checks/{{endpoint}}/{{encoder_set}}",
    output:
        embeddings=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/embeddings.parquet",
        weights=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/encoder.zip",
        record=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/run.json",
        curves=f"{RESULTS}/deployment/{{endpoint}}/encoders/{{encoder_set}}/curves.csv",
    log:
        f"{RESULTS}/logs/refit_encoder/{{encoder_set}}/{{endpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/refit_encoder/{{encoder_set}}/{{endpoint}}.tsv"
    message:
        "Train the encoder of {wildcards.encoder_set} against {wildcards.endpoint} once more, for a bundle."


use rule train_experiment as refit_experiment with:
    input:
        code=lambda wildcards: code("train_experiment", *implementations_of(wildcards)),
        tables=experiment_tables,
        embeddings=refitted("embeddings.parquet"),
        outcomes=rules.define_outcomes.output.outcomes,
        folds=rules.divide_everybody.output.folds,
        people=ancient(rules.select_cohort.output.subjects),
        recorded=[],
        data=ancient(rules.ingest.output.data),
        checked=checks_of_experiment,
    output:
        models=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/models.zip",
        record=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/run.json",
        curves=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/curves.csv",
        trials=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/trials.csv",
    log:
        f"{RESULTS}/logs/refit_experiment/{{endpoint}}/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/refit_experiment/{{endpoint}}/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(STUDY.deployment.experiments),
    message:
        "Fit {wildcards.experiment} for {wildcards.endpoint} once more, for a bundle."


rule compile_model:
    input:
        # Models are objects of classes of their training: what they do is what those do.
        code=lambda wildcards: code("compile_model", *implementations_of(wildcards)),
        library=package_data("deployment/c"),
        models=deployed_models,
        tables=experiment_tables,
        recorded=deployed_recordings,
        outcomes=rules.define_outcomes.output.outcomes,
        subjects=ancient(rules.select_cohort.output.subjects),
        predictions=recalibrated_from,
    output:
        wasm=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/model.wasm",
        onnx=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/model.onnx",
        schema=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/schema.json",
        golden=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/golden.json",
        built=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/built.json",
    log:
        f"{RESULTS}/logs/compile_model/{{endpoint}}/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compile_model/{{endpoint}}/{{experiment}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        mem_mb=3000,
    params:
        order=order_of,
        # Another compiler or exporter makes another module.
        tools=lambda wildcards: tools(),
    message:
        "Compile {wildcards.experiment} for {wildcards.endpoint} into WebAssembly."
    script:
        "../scripts/compile_model.py"


rule check_model:
    input:
        code=lambda wildcards: code("check_model", *implementations_of(wildcards)),
        models=deployed_models,
        tables=experiment_tables,
        recorded=deployed_recordings,
        outcomes=rules.define_outcomes.output.outcomes,
        subjects=rules.select_cohort.output.subjects,
        events=rules.ingest.output.events,
        recordings=rules.ingest.output.recordings,
        images=rules.ingest.output.images,
        predictions=recalibrated_from,
        wasm=rules.compile_model.output.wasm,
        onnx=rules.compile_model.output.onnx,
        schema=rules.compile_model.output.schema,
        golden=rules.compile_model.output.golden,
    output:
        parity=f"{RESULTS}/deployment/{{endpoint}}/{{experiment}}/parity.json",
    log:
        f"{RESULTS}/logs/check_model/{{endpoint}}/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_model/{{endpoint}}/{{experiment}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    resources:
        mem_mb=3000,
    params:
        order=order_of,
    message:
        "Compare the module of {wildcards.experiment} for {wildcards.endpoint} with the pipeline on every subject."
    script:
        "../scripts/check_model.py"


rule bundle_model:
    input:
        code=code("bundle_model"),
        wasm=rules.compile_model.output.wasm,
        onnx=rules.compile_model.output.onnx,
        schema=rules.compile_model.output.schema,
        golden=rules.compile_model.output.golden,
        built=rules.compile_model.output.built,
        # The comparison ends with an error where the module is not the model: there is no bundle then.
        parity=rules.check_model.output.parity,
        metrics=rules.evaluate_endpoint.output.metrics,
        calibration=rules.evaluate_endpoint.output.calibration,
        recalibration=recalibrated_figures,
        folds=divided,
        outcomes=rules.define_outcomes.output.outcomes,
        people=ancient(rules.select_cohort.output.subjects),
        data=rules.ingest.output.data,
        licence=str(BASE / "LICENSE"),
        page=package_data("deployment/page"),
    output:
        manifest=f"{RESULTS}/bundle/{{endpoint}}/{{experiment}}/manifest.json",
        files=multiext(
            f"{RESULTS}/bundle/{{endpoint}}/{{experiment}}/",
            "model.wasm",
            "model.onnx",
            "schema.json",
            "golden.json",
            "card.json",
            "card.html",
            "index.html",
            "LICENSE",
            "NOTICES",
        ),
    log:
        f"{RESULTS}/logs/bundle_model/{{endpoint}}/{{experiment}}.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        texts=texts_of,
    message:
        "Put the bundle of {wildcards.experiment} for {wildcards.endpoint} together."
    script:
        "../scripts/bundle_model.py"


use rule collect_runs as collect_refits with:
    input:
        store=rules.init_tracking.output.store,
        records=records_of_refits(),
    output:
        collected=f"{RESULTS}/deployment/collected.json",
        ids=f"{RESULTS}/deployment/runs.csv",
    log:
        f"{RESULTS}/logs/collect_refits.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_refits.tsv"
    params:
        directory=lambda wildcards, input: str(Path(input.store).parents[1]),
        study=STUDY.study,
        endpoints=[],
        complete=["final_encoder", "final_experiment"],
        steps=[],
        report=f"{RESULTS}/report/index.html",
    message:
        "Store the run of every final fit in MLflow."


rule check_named_inputs:
    input:
        code=code("check_named_inputs"),
        tables=[feature_table(name) for name in asked_sets()],
    output:
        known=f"{RESULTS}/deployment/inputs.json",
    log:
        f"{RESULTS}/logs/check_named_inputs.log",
    # Before anything is trained: a name that is wrong is better known now.
    priority: 1
    conda:
        "../../envs/riskweave.yaml"
    params:
        names=sorted(STUDY.deployment.inputs),
        sets={name: dump(STUDY.feature_sets[name]) for name in asked_sets()},
    message:
        "Compare the names under `deployment.inputs` with what the deployed models can ask for."
    script:
        "../scripts/check_named_inputs.py"


rule deploy:
    input:
        rules.check_named_inputs.output if STUDY.deployment.inputs and STUDY.deployed() else [],
        [f"{RESULTS}/bundle/{endpoint}/{name}/manifest.json" for endpoint, name in STUDY.deployed()],
        rules.collect_refits.output if records_of_refits() else [],
