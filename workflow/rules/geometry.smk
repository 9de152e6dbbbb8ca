# Section 3 and Appendix C, Figures 1 and 2. Reads data/train.safetensors; writes below geometry/ the reference network
# and geometry.json (its graphs), and figures/figure1, figure2, figure2_draws and graph_depths.

GEOMETRY = f"{RESULTS}/geometry"

if settings.geometry:
    targets += [
        f"{RESULTS}/figures/{name}.{kind}"
        for name in ("figure1", "figure2", "figure2_draws", "graph_depths")
        for kind in ("pdf", "png")
    ]
    targets.append(f"{RESULTS}/figures/graph_depths.gif")

    rule train_reference_network:
        input:
            train=TRAIN_IMAGES,
        output:
            model=f"{GEOMETRY}/reference_network/model.safetensors",
            history=f"{GEOMETRY}/reference_network/history.csv",
            metrics=f"{GEOMETRY}/reference_network/metrics.json",
        log:
            f"{RESULTS}/logs/train_reference_network.log",
        benchmark:
            f"{RESULTS}/benchmarks/train_reference_network.tsv"
        conda:
            ENVIRONMENT
        threads: TRAIN.threads
        resources:
            gpu=GPUS,
            mem_mb=TRAIN.mem_mb,
            runtime=growing(TRAIN.runtime),
        params:
            recipe=recipes.train_reference_network(settings.geometry).settings,
            code=recipes.train_reference_network(settings.geometry).code,
        shell:
            "python -m lgg.pipeline train_network --recipe {params.recipe:q} --code {params.code} --threads {threads}"
            " --gpus {resources.gpu}"
            " --train {input.train:q} --out-model {output.model:q} --out-history {output.history:q}"
            " --out-metrics {output.metrics:q} > {log:q} 2>&1"

    rule evaluate_geometry:
        input:
            train=TRAIN_IMAGES,
            model=f"{GEOMETRY}/reference_network/model.safetensors",
        output:
            geometry=f"{GEOMETRY}/geometry.json",
        log:
            f"{RESULTS}/logs/evaluate_geometry.log",
        benchmark:
            f"{RESULTS}/benchmarks/evaluate_geometry.tsv"
        conda:
            ENVIRONMENT
        threads: EVALUATE.threads
        resources:
            gpu=0,
            mem_mb=EVALUATE.mem_mb,
            runtime=growing(EVALUATE.runtime),
        params:
            recipe=recipes.evaluate_geometry(settings.geometry).settings,
            code=recipes.evaluate_geometry(settings.geometry).code,
        shell:
            "python -m lgg.pipeline evaluate_geometry --recipe {params.recipe:q} --threads {threads}"
            " --train {input.train:q} --model {input.model:q} --out-geometry {output.geometry:q} > {log:q} 2>&1"

    rule draw_figure1:
        input:
            train=TRAIN_IMAGES,
        output:
            pdf=f"{RESULTS}/figures/figure1.pdf",
            png=in_report(
                f"{RESULTS}/figures/figure1.png",
                SECTION["geometry"],
                "Figure 1: the reference network's blocks",
            ),
        log:
            f"{RESULTS}/logs/draw_figure1.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_figure1.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_figure1(settings.geometry).settings,
            code=recipes.draw_figure1(settings.geometry).code,
        shell:
            "python -m lgg.pipeline draw_figure1 --recipe {params.recipe:q} --train {input.train:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"

    rule draw_figure2:
        input:
            geometry=f"{GEOMETRY}/geometry.json",
        output:
            pdf=f"{RESULTS}/figures/figure2.pdf",
            png=in_report(
                f"{RESULTS}/figures/figure2.png",
                SECTION["geometry"],
                "Figure 2: graphs of 20 images at three depths",
            ),
            draws_pdf=f"{RESULTS}/figures/figure2_draws.pdf",
            draws_png=in_report(
                f"{RESULTS}/figures/figure2_draws.png",
                SECTION["supplements"],
                "Figure 2, many draws: label variation at these depths",
            ),
        log:
            f"{RESULTS}/logs/draw_figure2.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_figure2.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_figure2().settings,
            code=recipes.draw_figure2().code,
        shell:
            "python -m lgg.pipeline draw_figure2 --recipe {params.recipe:q} --geometry {input.geometry:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q}"
            " --out-draws_pdf {output.draws_pdf:q} --out-draws_png {output.draws_png:q} > {log:q} 2>&1"

    rule draw_graph_depths:
        input:
            geometry=f"{GEOMETRY}/geometry.json",
        output:
            pdf=f"{RESULTS}/figures/graph_depths.pdf",
            png=in_report(
                f"{RESULTS}/figures/graph_depths.png",
                SECTION["geometry"],
                "Figure 2 at every depth: the same images on their way through the network",
            ),
            gif=f"{RESULTS}/figures/graph_depths.gif",
        log:
            f"{RESULTS}/logs/draw_graph_depths.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_graph_depths.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_graph_depths().settings,
            code=recipes.draw_graph_depths().code,
        shell:
            "python -m lgg.pipeline draw_graph_depths --recipe {params.recipe:q} --geometry {input.geometry:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q} --out-gif {output.gif:q} > {log:q} 2>&1"
