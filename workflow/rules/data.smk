# Reads the images of the configured source; writes data/train.safetensors and data/test.safetensors.


rule prepare_data:
    output:
        train=TRAIN_IMAGES,
        test=TEST_IMAGES,
    log:
        f"{RESULTS}/logs/prepare_data.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_data.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: LIGHT.threads
    resources:
        gpu=0,
        mem_mb=LIGHT.mem_mb,
        runtime=growing(LIGHT.runtime),
    params:
        recipe=recipes.prepare_data(settings).settings,
        code=recipes.prepare_data(settings).code,
        # stands for the files of your own, which are no inputs: see `lgg.data.own_files.state_of`
        files=recipes.source_state(settings.data),
    shell:
        "python -m lgg.pipeline prepare_data --recipe {params.recipe:q}"
        " --out-train {output.train:q} --out-test {output.test:q} > {log:q} 2>&1"
