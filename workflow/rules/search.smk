"""What the searches of hyper-parameters did: figures and chosen values, shown in the report of the workflow.

REQUIRED INPUTS: experiments/<endpoint>/<experiment>/trials.csv of the experiments whose models have a search.
OUTPUTS: experiments/<endpoint>/<experiment>/search/{importance.svg,slices.svg,chosen.csv}.
"""


localrules:
    searches,


rule draw_search:
    input:
        code=code("draw_search"),
        trials=f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/trials.csv",
    output:
        importance=report(
            f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/search/importance.svg",
            caption="../report/search_importance.rst",
            category="Models",
            labels={"endpoint": "{endpoint}", "experiment": "{experiment}", "result": "hyper-parameters, importance"},
        ),
        slices=report(
            f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/search/slices.svg",
            caption="../report/search_slices.rst",
            category="Models",
            labels={"endpoint": "{endpoint}", "experiment": "{experiment}", "result": "hyper-parameters, trials"},
        ),
        chosen=report(
            f"{RESULTS}/experiments/{{endpoint}}/{{experiment}}/search/chosen.csv",
            caption="../report/search_chosen.rst",
            category="Models",
            labels={"endpoint": "{endpoint}", "experiment": "{experiment}", "result": "hyper-parameters, chosen"},
        ),
    log:
        f"{RESULTS}/logs/draw_search/{{endpoint}}/{{experiment}}.log",
    conda:
        "../../envs/riskweave.yaml"
    params:
        models=lambda wildcards: {name: dump(block) for name, block in searched_models(wildcards).items()},
    message:
        "Draw the search of hyper-parameters of {wildcards.experiment} for {wildcards.endpoint}."
    script:
        "../scripts/draw_search.py"


rule searches:
    input:
        searches_drawn(),
