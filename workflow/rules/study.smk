"""The study as it is run.

REQUIRED INPUTS: none; the study file is read when the workflow is parsed.
OUTPUTS: study.yaml, the merged study with all defaults filled in.
"""


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
