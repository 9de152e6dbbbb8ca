# Reads the images of the configured source; writes data/train.safetensors and data/test.safetensors.


rule prepare_data:
    input:
        # a function: its files may have braces in their names
        lambda wildcards: recipes.source_files(settings.data),
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
    shell:
        "python -m lgg.stages prepare_data --recipe {params.recipe:q}"
        " --out-train {output.train:q} --out-test {output.test:q} > {log:q} 2>&1"
