"""Images to arrays of one size and intensity range.

REQUIRED INPUTS: cohort/subjects.parquet, cohort/source/images.parquet and the files that the manifest names.
OUTPUTS: features/<feature_set>/features.parquet, pixels.npy and index.parquet (encoder input).
"""


rule read_images:
    input:
        code=code("read_images"),
        subjects=rules.select_cohort.output.subjects,
        images=rules.ingest.output.images,
    output:
        features=update(f"{RESULTS}/features/{{image_set}}/features.parquet"),
        pixels=update(f"{RESULTS}/features/{{image_set}}/pixels.npy"),
        index=update(f"{RESULTS}/features/{{image_set}}/index.parquet"),
    log:
        f"{RESULTS}/logs/read_images/{{image_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/read_images/{{image_set}}.tsv"
    conda:
        "../../envs/riskweave.yaml"
    threads: 2
    params:
        features=lambda wildcards: dump_reading(wildcards.image_set),
    message:
        "Read, check and resize the images of feature set {wildcards.image_set}."
    script:
        "../scripts/read_images.py"
