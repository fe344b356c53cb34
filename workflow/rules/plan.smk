"""The plan: what would run, what is done, what was trained before, and what it will cost (`snakemake plan`).

REQUIRED INPUTS: none; whatever results and records there are.
OUTPUTS: none: the plan is printed. No job of the study runs.
"""


localrules:
    plan,


rule plan:
    log:
        f"{RESULTS}/logs/plan.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        study=STUDY.study,
        results="results",
        store=STORE,
        cache=str(FINGERPRINTS),
        snakefile=str(BASE / "Snakefile"),
        # What decides which jobs would run: the settings of this call, from whichever profile.
        triggers=lambda wildcards: sorted(trigger.item_to_choice() for trigger in workflow.dag_settings.rerun_triggers),
        largest=lambda wildcards: workflow.dag_settings.max_checksum_file_size,
        cores=lambda wildcards: workflow.resource_settings.cores or 1,
        software=lambda wildcards: software(),
    message:
        "Plan {params.study}: nothing of it runs."
    script:
        "../scripts/plan.py"
