# Appendix D, Table A1. Reads data/train.safetensors; writes timing/times.csv (the time of a training step with each method)
# and timing/machine.json, and tables/tableA1. Nothing else runs while it measures.

if settings.timed_methods:
    TIMING = f"{RESULTS}/timing"

    targets += tables("tableA1") + figures("tableA1")

    use rule training as measure_times with:
        input:
            train=TRAIN_IMAGES,
        output:
            times=f"{TIMING}/times.csv",
            machine=f"{TIMING}/machine.json",
        pathvars:
            job="measure_times",
        # all cores (as many as --cores allows) and all GPUs of the run, so that no other job runs meanwhile
        threads: machine.describe()["cores"]
        resources:
            **asks(TRAIN, ALL_GPUS),
        params:
            **stage(recipes.measure_times(settings)),

    use rule light as assemble_tableA1 with:
        input:
            train=TRAIN_IMAGES,
            times=f"{TIMING}/times.csv",
            machine=f"{TIMING}/machine.json",
        output:
            **table("tableA1", "timing", "Table A1: time of an epoch under each method"),
            **figure("tableA1", "timing", "Table A1, drawn: time as a multiple of the baseline's"),
        pathvars:
            job="assemble_tableA1",
        localrule: True
        params:
            **stage(recipes.assemble_table_a1(settings, PAPER)),
