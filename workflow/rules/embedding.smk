# Section 4.2, Table 2 and Figure A1. Reads data/; writes below embedding/ a network for each method and seed with its
# history and metrics, the errors of classifiers on its embeddings, the embeddings of Figure A1, and tables/table2,
# table2_supplement, figures/figureA1, embedding_corruptions, embedding_severity and embedding_training.

if settings.embedding:
    EMBEDDING = f"{RESULTS}/embedding"
    EMBEDDING_SEEDS = settings.seeds_of("embedding")
    EMBEDDINGS = settings.embedding.active_methods
    FIGURE_A1 = settings.embedding.figure_methods
    EMBEDDING_EVALUATION = f"{EMBEDDING}/{{method}}/seed{{seed}}/evaluation.csv"
    EMBEDDING_CORRUPTIONS = f"{EMBEDDING}/{{method}}/seed{{seed}}/corruptions.csv"

    targets += [f"{RESULTS}/tables/{name}.{kind}" for name in ("table2", "table2_supplement") for kind in TABLE_FORMS]
    targets += [
        f"{RESULTS}/figures/{name}.{kind}"
        for name in (
            *(["embedding_corruptions", "embedding_severity"] if settings.corruptions else []),
            "embedding_training",
            *(["figureA1"] if FIGURE_A1 else []),
        )
        for kind in ("pdf", "png")
    ]

    rule train_embedding:
        input:
            train=TRAIN_IMAGES,
        output:
            model=f"{EMBEDDING}/{{method}}/seed{{seed}}/model.safetensors",
            history=f"{EMBEDDING}/{{method}}/seed{{seed}}/history.csv",
            metrics=f"{EMBEDDING}/{{method}}/seed{{seed}}/metrics.json",
        log:
            f"{RESULTS}/logs/train_embedding/{{method}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train_embedding/{{method}}_seed{{seed}}.tsv"
        wildcard_constraints:
            method=one_of(EMBEDDINGS),
            seed=one_of(map(str, EMBEDDING_SEEDS)),
        conda:
            ENVIRONMENT
        threads: TRAIN.threads
        resources:
            gpu=GPUS,
            mem_mb=TRAIN.mem_mb,
            runtime=growing(TRAIN.runtime),
        params:
            recipe=lambda wildcards: recipes.train_embedding(
                settings.embedding, wildcards.method, int(wildcards.seed)
            ).settings,
            code=lambda wildcards: recipes.train_embedding(
                settings.embedding, wildcards.method, int(wildcards.seed)
            ).code,
        shell:
            "python -m lgg.pipeline train_embedding --recipe {params.recipe:q} --code {params.code} --threads {threads}"
            " --gpus {resources.gpu}"
            " --train {input.train:q} --out-model {output.model:q} --out-history {output.history:q}"
            " --out-metrics {output.metrics:q} > {log:q} 2>&1"

    rule evaluate_embedding:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            model=f"{EMBEDDING}/{{method}}/seed{{seed}}/model.safetensors",
            archive=ARCHIVE,
        output:
            evaluation=EMBEDDING_EVALUATION,
            corruptions=EMBEDDING_CORRUPTIONS if settings.corruptions else [],
        log:
            f"{RESULTS}/logs/evaluate_embedding/{{method}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/evaluate_embedding/{{method}}_seed{{seed}}.tsv"
        wildcard_constraints:
            method=one_of(EMBEDDINGS),
            seed=one_of(map(str, EMBEDDING_SEEDS)),
        conda:
            ENVIRONMENT
        threads: EVALUATE.threads
        resources:
            gpu=GPUS,
            mem_mb=EVALUATE.mem_mb,
            runtime=growing(EVALUATE.runtime),
        params:
            recipe=lambda wildcards: recipes.evaluate_embedding(
                settings.embedding, settings.corruptions, wildcards.method, int(wildcards.seed)
            ).settings,
            code=lambda wildcards: recipes.evaluate_embedding(
                settings.embedding, settings.corruptions, wildcards.method, int(wildcards.seed)
            ).code,
            archive="--corruptions" if ARCHIVE else "",
        shell:
            "python -m lgg.pipeline evaluate_embedding --recipe {params.recipe:q} --threads {threads}"
            " --gpus {resources.gpu} --train {input.train:q} --test {input.test:q} --model {input.model:q}"
            " {params.archive} {input.archive:q} --out-evaluation {output.evaluation:q}"
            " --out-corruptions {output.corruptions:q} > {log:q} 2>&1"

    rule assemble_table2:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            evaluations=expand(EMBEDDING_EVALUATION, method=EMBEDDINGS, seed=EMBEDDING_SEEDS),
            corruptions=(
                expand(EMBEDDING_CORRUPTIONS, method=EMBEDDINGS, seed=EMBEDDING_SEEDS) if settings.corruptions else []
            ),
        output:
            csv=f"{RESULTS}/tables/table2.csv",
            md=f"{RESULTS}/tables/table2.md",
            tex=f"{RESULTS}/tables/table2.tex",
            html=in_report(
                f"{RESULTS}/tables/table2.html",
                SECTION["embedding"],
                (
                    "Table 2: error and relative MCE of embeddings"
                    if settings.corruptions
                    else "Table 2: error of embeddings"
                ),
            ),
            supplement_csv=f"{RESULTS}/tables/table2_supplement.csv",
            supplement_md=f"{RESULTS}/tables/table2_supplement.md",
            supplement_tex=f"{RESULTS}/tables/table2_supplement.tex",
            supplement_html=in_report(
                f"{RESULTS}/tables/table2_supplement.html",
                SECTION["supplements"],
                "Table 2, every classifier: error of every classifier on every embedding",
            ),
        log:
            f"{RESULTS}/logs/assemble_table2.log",
        benchmark:
            f"{RESULTS}/benchmarks/assemble_table2.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.assemble_table2(settings.embedding, settings.corruptions, PAPER).settings,
            code=recipes.assemble_table2(settings.embedding, settings.corruptions, PAPER).code,
        shell:
            "python -m lgg.pipeline assemble_table2 --recipe {params.recipe:q} --train {input.train:q}"
            " --test {input.test:q} --evaluations {input.evaluations:q} --corruptions {input.corruptions:q}"
            " --out-csv {output.csv:q} --out-md {output.md:q} --out-tex {output.tex:q}"
            " --out-html {output.html:q}"
            " --out-supplement_csv {output.supplement_csv:q} --out-supplement_md {output.supplement_md:q}"
            " --out-supplement_tex {output.supplement_tex:q}"
            " --out-supplement_html {output.supplement_html:q} > {log:q} 2>&1"

    rule draw_embedding_corruptions:
        input:
            corruptions=expand(EMBEDDING_CORRUPTIONS, method=EMBEDDINGS, seed=EMBEDDING_SEEDS),
        output:
            heatmap_pdf=f"{RESULTS}/figures/embedding_corruptions.pdf",
            heatmap_png=in_report(
                f"{RESULTS}/figures/embedding_corruptions.png",
                SECTION["supplements"],
                "Table 2, every corruption: error of each embedding, a heat map",
            ),
            severity_pdf=f"{RESULTS}/figures/embedding_severity.pdf",
            severity_png=in_report(
                f"{RESULTS}/figures/embedding_severity.png",
                SECTION["supplements"],
                "Table 2, severity: error of each embedding against severity",
            ),
        log:
            f"{RESULTS}/logs/draw_embedding_corruptions.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_embedding_corruptions.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_corruption_errors(EMBEDDINGS).settings,
            code=recipes.draw_corruption_errors(EMBEDDINGS).code,
        shell:
            "python -m lgg.pipeline draw_corruption_errors --recipe {params.recipe:q} --corruptions {input.corruptions:q}"
            " --out-heatmap_pdf {output.heatmap_pdf:q} --out-heatmap_png {output.heatmap_png:q}"
            " --out-severity_pdf {output.severity_pdf:q} --out-severity_png {output.severity_png:q} > {log:q} 2>&1"

    rule draw_embedding_training:
        input:
            histories=[f"{EMBEDDING}/{name}/seed{seed}/history.csv" for name in EMBEDDINGS for seed in EMBEDDING_SEEDS],
        output:
            pdf=f"{RESULTS}/figures/embedding_training.pdf",
            png=in_report(
                f"{RESULTS}/figures/embedding_training.png",
                SECTION["supplements"],
                "Table 2, training: losses and errors by epoch",
            ),
        log:
            f"{RESULTS}/logs/draw_embedding_training.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_embedding_training.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_training_curves(EMBEDDINGS).settings,
            code=recipes.draw_training_curves(EMBEDDINGS).code,
        shell:
            "python -m lgg.pipeline draw_training_curves --recipe {params.recipe:q} --histories {input.histories:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"

    if FIGURE_A1:

        rule train_plane_embedding:
            input:
                train=TRAIN_IMAGES,
            output:
                model=f"{EMBEDDING}/figureA1/{{method}}/model.safetensors",
                history=f"{EMBEDDING}/figureA1/{{method}}/history.csv",
                metrics=f"{EMBEDDING}/figureA1/{{method}}/metrics.json",
                positions=f"{EMBEDDING}/figureA1/{{method}}/positions.safetensors",
            log:
                f"{RESULTS}/logs/train_plane_embedding/{{method}}.log",
            benchmark:
                f"{RESULTS}/benchmarks/train_plane_embedding/{{method}}.tsv"
            wildcard_constraints:
                method=one_of(FIGURE_A1),
            conda:
                ENVIRONMENT
            threads: TRAIN.threads
            resources:
                gpu=GPUS,
                mem_mb=TRAIN.mem_mb,
                runtime=growing(TRAIN.runtime),
            params:
                recipe=lambda wildcards: recipes.train_plane_embedding(settings.embedding, wildcards.method).settings,
                code=lambda wildcards: recipes.train_plane_embedding(settings.embedding, wildcards.method).code,
            shell:
                "python -m lgg.pipeline train_plane_embedding --recipe {params.recipe:q} --code {params.code} --threads {threads}"
                " --gpus {resources.gpu} --train {input.train:q} --out-model {output.model:q}"
                " --out-history {output.history:q} --out-metrics {output.metrics:q}"
                " --out-positions {output.positions:q} > {log:q} 2>&1"

        rule draw_figureA1:
            input:
                train=TRAIN_IMAGES,
                positions=[f"{EMBEDDING}/figureA1/{name}/positions.safetensors" for name in FIGURE_A1],
            output:
                pdf=f"{RESULTS}/figures/figureA1.pdf",
                png=in_report(
                    f"{RESULTS}/figures/figureA1.png",
                    SECTION["embedding"],
                    "Figure A1: embeddings in the plane while networks learn",
                ),
            log:
                f"{RESULTS}/logs/draw_figureA1.log",
            benchmark:
                f"{RESULTS}/benchmarks/draw_figureA1.tsv"
            localrule: True
            conda:
                ENVIRONMENT
            threads: LIGHT.threads
            resources:
                gpu=0,
                mem_mb=LIGHT.mem_mb,
                runtime=growing(LIGHT.runtime),
            params:
                recipe=recipes.draw_figure_a1(settings.embedding).settings,
                code=recipes.draw_figure_a1(settings.embedding).code,
            shell:
                "python -m lgg.pipeline draw_figure_a1 --recipe {params.recipe:q} --train {input.train:q}"
                " --positions {input.positions:q} --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"
