# Section 4.3, Table 3 and the second robustness table. Reads data/; writes below robustness/ a network for each method
# and seed with its history and metrics, its errors under attacks and other tests and under corruptions, and
# tables/table3, table3_supplement, robustness, figures/robustness_corruptions, robustness_severity, snr_curves,
# robustness_training, layer_variation, and where the methods hold a sweep of γ, weight_sweep.

if settings.robustness:
    ROBUSTNESS = f"{RESULTS}/robustness"
    ROBUSTNESS_SEEDS = settings.seeds_of("robustness")
    DEFENCES = settings.robustness.active_methods
    TABLE3_METHODS = settings.robustness.table_methods
    ROBUSTNESS_TABLES = {
        "table3": f"Table 3: clean error{', FGSM error and relative MCE' if settings.corruptions else ' and FGSM error'} of each method",
        "table3_supplement": "Table 3, further attacks: other FGSM, PGD, transferred attacks, DeepFool, other weights γ",
        "robustness": "Further robustness: accuracy under noise, dropout, coarse weights and PGD",
    }
    EVALUATION = f"{ROBUSTNESS}/{{method}}/seed{{seed}}/evaluation.csv"
    TRANSFER_SEED = settings.robustness.tests.transfer_seed
    CORRUPTION_ERRORS = f"{ROBUSTNESS}/{{method}}/seed{{seed}}/corruptions.csv"

    targets += [f"{RESULTS}/tables/{name}.{kind}" for name in ROBUSTNESS_TABLES for kind in TABLE_FORMS]
    targets += [
        f"{RESULTS}/figures/{name}.{kind}"
        for name in (
            *(["robustness_corruptions", "robustness_severity"] if settings.corruptions else []),
            "snr_curves",
            "robustness_training",
            "layer_variation",
            *(["weight_sweep"] if len(settings.robustness.sweep) > 2 else []),
        )
        for kind in ("pdf", "png")
    ]

    rule train_robust_network:
        input:
            train=TRAIN_IMAGES,
        output:
            model=f"{ROBUSTNESS}/{{method}}/seed{{seed}}/model.safetensors",
            history=f"{ROBUSTNESS}/{{method}}/seed{{seed}}/history.csv",
            metrics=f"{ROBUSTNESS}/{{method}}/seed{{seed}}/metrics.json",
            label_variation=f"{ROBUSTNESS}/{{method}}/seed{{seed}}/label_variation.csv",
        log:
            f"{RESULTS}/logs/train_robust_network/{{method}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train_robust_network/{{method}}_seed{{seed}}.tsv"
        wildcard_constraints:
            method=one_of(DEFENCES),
            seed=one_of(map(str, [*ROBUSTNESS_SEEDS, TRANSFER_SEED])),
        # adversarial training and its evaluation are the longest chain, so they go before what is short
        priority: 5
        conda:
            ENVIRONMENT
        threads: TRAIN.threads
        resources:
            gpu=GPUS,
            mem_mb=TRAIN.mem_mb,
            runtime=growing(TRAIN.runtime),
        params:
            recipe=lambda wildcards: recipes.train_robust_network(
                settings.robustness, wildcards.method, int(wildcards.seed)
            ).settings,
            code=lambda wildcards: recipes.train_robust_network(
                settings.robustness, wildcards.method, int(wildcards.seed)
            ).code,
        shell:
            "python -m lgg.pipeline train_robust_network --recipe {params.recipe:q} --code {params.code} --threads {threads}"
            " --gpus {resources.gpu} --train {input.train:q} --out-model {output.model:q}"
            " --out-history {output.history:q} --out-metrics {output.metrics:q}"
            " --out-label_variation {output.label_variation:q} > {log:q} 2>&1"

    rule evaluate_robustness:
        input:
            test=TEST_IMAGES,
            model=f"{ROBUSTNESS}/{{method}}/seed{{seed}}/model.safetensors",
            source=f"{ROBUSTNESS}/{settings.robustness.baseline}/seed{TRANSFER_SEED}/model.safetensors",
        output:
            evaluation=EVALUATION,
        log:
            f"{RESULTS}/logs/evaluate_robustness/{{method}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/evaluate_robustness/{{method}}_seed{{seed}}.tsv"
        wildcard_constraints:
            method=one_of(DEFENCES),
            seed=one_of(map(str, ROBUSTNESS_SEEDS)),
        priority: 5
        conda:
            ENVIRONMENT
        threads: EVALUATE.threads
        resources:
            gpu=GPUS,
            mem_mb=EVALUATE.mem_mb,
            runtime=growing(EVALUATE.runtime),
        params:
            recipe=recipes.evaluate_robustness(settings.robustness).settings,
            code=recipes.evaluate_robustness(settings.robustness).code,
        shell:
            "python -m lgg.pipeline evaluate_robustness --recipe {params.recipe:q} --threads {threads}"
            " --gpus {resources.gpu} --test {input.test:q} --model {input.model:q} --source {input.source:q}"
            " --out-evaluation {output.evaluation:q} > {log:q} 2>&1"

    rule evaluate_corruptions:
        input:
            test=TEST_IMAGES,
            model=f"{ROBUSTNESS}/{{method}}/seed{{seed}}/model.safetensors",
            archive=ARCHIVE,
        output:
            corruptions=CORRUPTION_ERRORS,
        log:
            f"{RESULTS}/logs/evaluate_corruptions/{{method}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/evaluate_corruptions/{{method}}_seed{{seed}}.tsv"
        wildcard_constraints:
            method=one_of(TABLE3_METHODS),
            seed=one_of(map(str, ROBUSTNESS_SEEDS)),
        conda:
            ENVIRONMENT
        threads: EVALUATE.threads
        resources:
            gpu=GPUS,
            mem_mb=EVALUATE.mem_mb,
            runtime=growing(EVALUATE.runtime),
        params:
            recipe=recipes.evaluate_corruptions(settings.robustness, settings.corruptions).settings,
            code=recipes.evaluate_corruptions(settings.robustness, settings.corruptions).code,
            archive="--corruptions" if ARCHIVE else "",
        shell:
            "python -m lgg.pipeline evaluate_corruptions --recipe {params.recipe:q} --threads {threads}"
            " --gpus {resources.gpu} --test {input.test:q} --model {input.model:q}"
            " {params.archive} {input.archive:q} --out-corruptions {output.corruptions:q} > {log:q} 2>&1"

    rule assemble_table3:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            evaluations=expand(EVALUATION, method=DEFENCES, seed=ROBUSTNESS_SEEDS),
            corruptions=(
                expand(CORRUPTION_ERRORS, method=TABLE3_METHODS, seed=ROBUSTNESS_SEEDS) if settings.corruptions else []
            ),
        output:
            csv=f"{RESULTS}/tables/{{table}}.csv",
            md=f"{RESULTS}/tables/{{table}}.md",
            tex=f"{RESULTS}/tables/{{table}}.tex",
            html=report(
                f"{RESULTS}/tables/{{table}}.html",
                caption="../report/table3.rst",
                category=lambda wildcards: SECTION["robustness" if wildcards.table == "table3" else "supplements"],
                labels=lambda wildcards: label(ROBUSTNESS_TABLES[wildcards.table]),
            ),
        log:
            f"{RESULTS}/logs/assemble_table3/{{table}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/assemble_table3/{{table}}.tsv"
        wildcard_constraints:
            table=one_of(ROBUSTNESS_TABLES),
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=lambda wildcards: recipes.assemble_table3(
                settings.robustness, settings.corruptions, wildcards.table, PAPER
            ).settings,
            code=lambda wildcards: recipes.assemble_table3(
                settings.robustness, settings.corruptions, wildcards.table, PAPER
            ).code,
        shell:
            "python -m lgg.pipeline assemble_table3 --recipe {params.recipe:q} --train {input.train:q}"
            " --test {input.test:q} --evaluations {input.evaluations:q} --corruptions {input.corruptions:q}"
            " --out-csv {output.csv:q} --out-md {output.md:q} --out-tex {output.tex:q}"
            " --out-html {output.html:q} > {log:q} 2>&1"

    rule draw_robustness_corruptions:
        input:
            corruptions=expand(CORRUPTION_ERRORS, method=TABLE3_METHODS, seed=ROBUSTNESS_SEEDS),
        output:
            heatmap_pdf=f"{RESULTS}/figures/robustness_corruptions.pdf",
            heatmap_png=in_report(
                f"{RESULTS}/figures/robustness_corruptions.png",
                SECTION["supplements"],
                "Table 3, every corruption: error of each method, a heat map",
            ),
            severity_pdf=f"{RESULTS}/figures/robustness_severity.pdf",
            severity_png=in_report(
                f"{RESULTS}/figures/robustness_severity.png",
                SECTION["supplements"],
                "Table 3, severity: error of each method against severity",
            ),
        log:
            f"{RESULTS}/logs/draw_robustness_corruptions.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_robustness_corruptions.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_corruption_errors(TABLE3_METHODS).settings,
            code=recipes.draw_corruption_errors(TABLE3_METHODS).code,
        shell:
            "python -m lgg.pipeline draw_corruption_errors --recipe {params.recipe:q} --corruptions {input.corruptions:q}"
            " --out-heatmap_pdf {output.heatmap_pdf:q} --out-heatmap_png {output.heatmap_png:q}"
            " --out-severity_pdf {output.severity_pdf:q} --out-severity_png {output.severity_png:q} > {log:q} 2>&1"

    rule draw_snr_curves:
        input:
            evaluations=expand(EVALUATION, method=TABLE3_METHODS, seed=ROBUSTNESS_SEEDS),
        output:
            pdf=f"{RESULTS}/figures/snr_curves.pdf",
            png=in_report(
                f"{RESULTS}/figures/snr_curves.png",
                SECTION["supplements"],
                "FGSM: accuracy against the signal-to-noise ratio",
            ),
        log:
            f"{RESULTS}/logs/draw_snr_curves.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_snr_curves.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_snr_curves(settings.robustness).settings,
            code=recipes.draw_snr_curves(settings.robustness).code,
        shell:
            "python -m lgg.pipeline draw_snr_curves --recipe {params.recipe:q} --evaluations {input.evaluations:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"

    rule draw_robustness_training:
        input:
            histories=[
                f"{ROBUSTNESS}/{name}/seed{seed}/history.csv" for name in TABLE3_METHODS for seed in ROBUSTNESS_SEEDS
            ],
        output:
            pdf=f"{RESULTS}/figures/robustness_training.pdf",
            png=in_report(
                f"{RESULTS}/figures/robustness_training.png",
                SECTION["supplements"],
                "Table 3, training: losses and errors by epoch",
            ),
        log:
            f"{RESULTS}/logs/draw_robustness_training.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_robustness_training.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_training_curves(TABLE3_METHODS).settings,
            code=recipes.draw_training_curves(TABLE3_METHODS).code,
        shell:
            "python -m lgg.pipeline draw_training_curves --recipe {params.recipe:q} --histories {input.histories:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"

    rule draw_layer_variation:
        input:
            variations=[
                f"{ROBUSTNESS}/{name}/seed{seed}/label_variation.csv"
                for name in settings.robustness.watched_methods
                for seed in ROBUSTNESS_SEEDS
            ],
        output:
            pdf=f"{RESULTS}/figures/layer_variation.pdf",
            png=in_report(
                f"{RESULTS}/figures/layer_variation.png",
                SECTION["supplements"],
                "Regulariser: label variation of every layer while networks learn",
            ),
        log:
            f"{RESULTS}/logs/draw_layer_variation.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_layer_variation.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_layer_variation(settings.robustness).settings,
            code=recipes.draw_layer_variation(settings.robustness).code,
        shell:
            "python -m lgg.pipeline draw_layer_variation --recipe {params.recipe:q} --variations {input.variations:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"

    if len(settings.robustness.sweep) > 2:

        rule draw_weight_sweep:
            input:
                evaluations=expand(
                    EVALUATION,
                    method=settings.robustness.sweep,
                    seed=ROBUSTNESS_SEEDS,
                ),
            output:
                pdf=f"{RESULTS}/figures/weight_sweep.pdf",
                png=in_report(
                    f"{RESULTS}/figures/weight_sweep.png",
                    SECTION["supplements"],
                    "Regulariser: error against its weight γ",
                ),
            log:
                f"{RESULTS}/logs/draw_weight_sweep.log",
            benchmark:
                f"{RESULTS}/benchmarks/draw_weight_sweep.tsv"
            localrule: True
            conda:
                ENVIRONMENT
            threads: LIGHT.threads
            resources:
                gpu=0,
                mem_mb=LIGHT.mem_mb,
                runtime=growing(LIGHT.runtime),
            params:
                recipe=recipes.draw_weight_sweep(settings.robustness).settings,
                code=recipes.draw_weight_sweep(settings.robustness).code,
            shell:
                "python -m lgg.pipeline draw_weight_sweep --recipe {params.recipe:q} --evaluations {input.evaluations:q}"
                " --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"
