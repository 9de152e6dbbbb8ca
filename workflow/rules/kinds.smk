# The three kinds of jobs: the resources of each, where logs and benchmarks go, and the command that all of them run.
# A rule is `use rule KIND as NAME with:` and states its inputs and outputs, its recipe, and the name of its job in logs/ and
# benchmarks/. `files` makes the command's options for its files, so inputs and outputs have the same names as in the stage.
# The kinds themselves write no files and are never run. Rules that train a network for each method and seed are in training.smk.

COMMAND = (
    "python -m lgg.pipeline {params.stage} --recipe {params.recipe:q} --code {params.code:q} --threads {threads}"
    " --gpus {resources.gpu} {params.files} > {log:q} 2>&1"
)


# Tables, figures and preparation take seconds each. A rule of this kind adds `localrule: True`, which Snakemake does not
# inherit: it runs where Snakemake runs, even on a cluster, where starting a job would take as long as the job.
rule light:
    log:
        f"{RESULTS}/logs/<job>.log",
    benchmark:
        f"{RESULTS}/benchmarks/<job>.tsv"
    pathvars:
        job="light",
    conda:
        ENVIRONMENT
    threads: LIGHT.threads
    resources:
        **asks(LIGHT, 0),
    params:
        files=files,
    shell:
        COMMAND


use rule light as training with:
    pathvars:
        job="training",
    threads: TRAIN.threads
    resources:
        **asks(TRAIN, GPUS),


use rule light as evaluation with:
    pathvars:
        job="evaluation",
    threads: EVALUATE.threads
    resources:
        **asks(EVALUATE, GPUS),
