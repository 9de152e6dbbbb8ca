# Training a network for each method and seed, as the sections list in TRAININGS: a rule for the seeds that have a job each, and
# one for each group of seeds that share a job (resources.networks_per_job). These rules are written out, since `use rule` does
# not accept computed names; they are of the kind `training`.

for training in TRAININGS:
    for one in training.rules(settings.resources.networks_per_job):

        rule:
            name:
                one.name
            input:
                **training.inputs,
            output:
                **one.outputs,
            log:
                f"{RESULTS}/logs/<job>.log",
            benchmark:
                f"{RESULTS}/benchmarks/<job>.tsv"
            pathvars:
                job=one.job,
            wildcard_constraints:
                **one.wildcards,
            priority: training.priority
            conda:
                ENVIRONMENT
            threads: TRAIN.threads
            resources:
                **asks(TRAIN, GPUS, one.networks),
            params:
                **one.params,
            shell:
                COMMAND
