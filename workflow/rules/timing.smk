# Appendix D, Table A1. Reads data/train.safetensors; writes timing/times.csv and machine.json, what steps of training cost
# by each method, and tables/tableA1. Nothing else runs while it measures.

if settings.timed_methods:
    TIMING = f"{RESULTS}/timing"

    targets += [f"{RESULTS}/tables/tableA1.{kind}" for kind in TABLE_FORMS]
    targets += [f"{RESULTS}/figures/tableA1.{kind}" for kind in ("pdf", "png")]

    rule measure_times:
        input:
            train=TRAIN_IMAGES,
        output:
            times=f"{TIMING}/times.csv",
            machine=f"{TIMING}/machine.json",
        log:
            f"{RESULTS}/logs/measure_times.log",
        benchmark:
            f"{RESULTS}/benchmarks/measure_times.tsv"
        conda:
            ENVIRONMENT
        # all cores (as many as --cores allows) and all GPUs of the run, so that no other job is beside it
        threads: machine.describe()["cores"]
        resources:
            gpu=ALL_GPUS,
            mem_mb=TRAIN.mem_mb,
            runtime=growing(TRAIN.runtime),
        params:
            recipe=recipes.measure_times(settings).settings,
            code=recipes.measure_times(settings).code,
        shell:
            "python -m lgg.pipeline measure_times --recipe {params.recipe:q} --threads {threads} --gpus {resources.gpu}"
            " --train {input.train:q} --out-times {output.times:q} --out-machine {output.machine:q} > {log:q} 2>&1"

    rule assemble_tableA1:
        input:
            train=TRAIN_IMAGES,
            times=f"{TIMING}/times.csv",
            machine=f"{TIMING}/machine.json",
        output:
            csv=f"{RESULTS}/tables/tableA1.csv",
            md=f"{RESULTS}/tables/tableA1.md",
            tex=f"{RESULTS}/tables/tableA1.tex",
            html=in_report(
                f"{RESULTS}/tables/tableA1.html",
                SECTION["timing"],
                "Table A1: time of an epoch under each method",
            ),
            pdf=f"{RESULTS}/figures/tableA1.pdf",
            png=in_report(
                f"{RESULTS}/figures/tableA1.png",
                SECTION["timing"],
                "Table A1, drawn: time as a multiple of the baseline's",
            ),
        log:
            f"{RESULTS}/logs/assemble_tableA1.log",
        benchmark:
            f"{RESULTS}/benchmarks/assemble_tableA1.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.assemble_table_a1(settings, PAPER).settings,
            code=recipes.assemble_table_a1(settings, PAPER).code,
        shell:
            "python -m lgg.pipeline assemble_table_a1 --recipe {params.recipe:q} --train {input.train:q}"
            " --times {input.times:q} --machine {input.machine:q} --out-csv {output.csv:q} --out-md {output.md:q}"
            " --out-tex {output.tex:q}"
            " --out-html {output.html:q} --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"
