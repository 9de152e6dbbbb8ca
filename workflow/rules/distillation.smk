# Section 4.1, Table 1. Reads data/; writes below distillation/ the teacher, a student for each method and seed with its
# history, metrics and evaluation, tables/table1, and
# figures/table1 and distillation_training.

if settings.distillation:
    DISTILLATION = f"{RESULTS}/distillation"
    DISTILLATION_SEEDS = settings.seeds_of("distillation")
    METHODS = settings.distillation.active_methods
    TEACHER = settings.distillation.teacher
    WITHOUT_TEACHER = [name for name, method in METHODS.items() if method.loss == "none"]
    WITH_TEACHER = [name for name, method in METHODS.items() if method.loss != "none"]
    STUDENT_EVALUATION = f"{DISTILLATION}/{{method}}/seed{{seed}}/evaluation.csv"
    # seeds that share a job, and those that have one of their own
    GROUPS = in_groups(DISTILLATION_SEEDS, settings.distillation.seeds_per_job)
    TOGETHER = [seeds for seeds in GROUPS if len(seeds) > 1]
    ALONE = [seed for seeds in GROUPS if len(seeds) == 1 for seed in seeds]

    targets += [f"{RESULTS}/tables/table1.{kind}" for kind in TABLE_FORMS]
    targets += [
        f"{RESULTS}/figures/{name}.{kind}" for name in ("distillation_training", "table1") for kind in ("pdf", "png")
    ]

    if TEACHER:

        rule train_teacher:
            input:
                train=TRAIN_IMAGES,
            output:
                model=f"{DISTILLATION}/teacher/model.safetensors",
                history=f"{DISTILLATION}/teacher/history.csv",
                metrics=f"{DISTILLATION}/teacher/metrics.json",
            log:
                f"{RESULTS}/logs/train_teacher.log",
            benchmark:
                f"{RESULTS}/benchmarks/train_teacher.tsv"
            # students wait for the teacher, so it goes before work that nothing waits for
            priority: 10
            conda:
                ENVIRONMENT
            threads: TRAIN.threads
            resources:
                gpu=GPUS,
                mem_mb=TRAIN.mem_mb,
                runtime=growing(TRAIN.runtime),
            params:
                recipe=recipes.train_teacher(settings.distillation).settings,
                code=recipes.train_teacher(settings.distillation).code,
            shell:
                "python -m lgg.pipeline train_network --recipe {params.recipe:q} --code {params.code} --threads {threads}"
                " --gpus {resources.gpu}"
                " --train {input.train:q} --out-model {output.model:q} --out-history {output.history:q}"
                " --out-metrics {output.metrics:q} > {log:q} 2>&1"

        rule evaluate_teacher:
            input:
                test=TEST_IMAGES,
                model=f"{DISTILLATION}/teacher/model.safetensors",
            output:
                evaluation=f"{DISTILLATION}/teacher/evaluation.csv",
                predictions=f"{DISTILLATION}/teacher/predictions.safetensors",
            log:
                f"{RESULTS}/logs/evaluate_teacher.log",
            benchmark:
                f"{RESULTS}/benchmarks/evaluate_teacher.tsv"
            conda:
                ENVIRONMENT
            threads: EVALUATE.threads
            resources:
                gpu=GPUS,
                mem_mb=EVALUATE.mem_mb,
                runtime=growing(EVALUATE.runtime),
            params:
                recipe=recipes.evaluate_network(TEACHER.architecture).settings,
                code=recipes.evaluate_network(TEACHER.architecture).code,
            shell:
                "python -m lgg.pipeline evaluate_network --recipe {params.recipe:q} --threads {threads}"
                " --gpus {resources.gpu} --test {input.test:q} --model {input.model:q}"
                " --out-evaluation {output.evaluation:q} --out-predictions {output.predictions:q} > {log:q} 2>&1"

        rule distill_student:
            input:
                train=TRAIN_IMAGES,
                teacher=f"{DISTILLATION}/teacher/model.safetensors",
            output:
                model=f"{DISTILLATION}/{{method}}/seed{{seed}}/model.safetensors",
                history=f"{DISTILLATION}/{{method}}/seed{{seed}}/history.csv",
                metrics=f"{DISTILLATION}/{{method}}/seed{{seed}}/metrics.json",
            log:
                f"{RESULTS}/logs/distill_student/{{method}}_seed{{seed}}.log",
            benchmark:
                f"{RESULTS}/benchmarks/distill_student/{{method}}_seed{{seed}}.tsv"
            wildcard_constraints:
                method=one_of(WITH_TEACHER),
                seed=one_of(map(str, ALONE)),
            conda:
                ENVIRONMENT
            threads: TRAIN.threads
            resources:
                gpu=GPUS,
                mem_mb=TRAIN.mem_mb,
                runtime=growing(TRAIN.runtime),
            params:
                recipe=lambda wildcards: recipes.distill_student(
                    settings.distillation, wildcards.method, int(wildcards.seed)
                ).settings,
                code=lambda wildcards: recipes.distill_student(
                    settings.distillation, wildcards.method, int(wildcards.seed)
                ).code,
            shell:
                "python -m lgg.pipeline distill_student --recipe {params.recipe:q} --code {params.code} --threads {threads}"
                " --gpus {resources.gpu} --train {input.train:q} --teacher {input.teacher:q} --out-model {output.model:q}"
                " --out-history {output.history:q} --out-metrics {output.metrics:q} > {log:q} 2>&1"

    rule train_student:
        input:
            train=TRAIN_IMAGES,
        output:
            model=f"{DISTILLATION}/{{method}}/seed{{seed}}/model.safetensors",
            history=f"{DISTILLATION}/{{method}}/seed{{seed}}/history.csv",
            metrics=f"{DISTILLATION}/{{method}}/seed{{seed}}/metrics.json",
        log:
            f"{RESULTS}/logs/train_student/{{method}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train_student/{{method}}_seed{{seed}}.tsv"
        wildcard_constraints:
            method=one_of(WITHOUT_TEACHER),
            seed=one_of(map(str, ALONE)),
        conda:
            ENVIRONMENT
        threads: TRAIN.threads
        resources:
            gpu=GPUS,
            mem_mb=TRAIN.mem_mb,
            runtime=growing(TRAIN.runtime),
        params:
            recipe=lambda wildcards: recipes.train_student(settings.distillation, int(wildcards.seed)).settings,
            code=lambda wildcards: recipes.train_student(settings.distillation, int(wildcards.seed)).code,
        shell:
            "python -m lgg.pipeline train_network --recipe {params.recipe:q} --code {params.code} --threads {threads}"
            " --gpus {resources.gpu}"
            " --train {input.train:q} --out-model {output.model:q} --out-history {output.history:q}"
            " --out-metrics {output.metrics:q} > {log:q} 2>&1"

    # outputs cannot list a group by wildcards, so each group has its rule
    for group in TOGETHER:

        rule:
            name:
                "train_students_" + "_".join(map(str, group))
            input:
                train=TRAIN_IMAGES,
                teacher=lambda wildcards: (
                    [f"{DISTILLATION}/teacher/model.safetensors"] if wildcards.method in WITH_TEACHER else []
                ),
            output:
                models=expand(f"{DISTILLATION}/{{{{method}}}}/seed{{seed}}/model.safetensors", seed=group),
                histories=expand(f"{DISTILLATION}/{{{{method}}}}/seed{{seed}}/history.csv", seed=group),
                metrics=expand(f"{DISTILLATION}/{{{{method}}}}/seed{{seed}}/metrics.json", seed=group),
            log:
                f"{RESULTS}/logs/train_students/{{method}}_seeds{'_'.join(map(str, group))}.log",
            benchmark:
                f"{RESULTS}/benchmarks/train_students/{{method}}_seeds{'_'.join(map(str, group))}.tsv"
            wildcard_constraints:
                method=one_of(METHODS),
            conda:
                ENVIRONMENT
            threads: TRAIN.threads
            resources:
                gpu=GPUS,
                mem_mb=TRAIN.mem_mb,
                runtime=growing(TRAIN.runtime),
            params:
                recipe=lambda wildcards, group=group: recipes.train_students(
                    settings.distillation, wildcards.method, group
                ).settings,
                code=lambda wildcards, group=group: recipes.train_students(
                    settings.distillation, wildcards.method, group
                ).code,
                teacher=lambda wildcards: "--teacher" if wildcards.method in WITH_TEACHER else "",
            shell:
                "python -m lgg.pipeline train_students --recipe {params.recipe:q} --code {params.code} --threads {threads}"
                " --gpus {resources.gpu}"
                " --train {input.train:q} {params.teacher} {input.teacher:q} --out-models {output.models:q}"
                " --out-histories {output.histories:q} --out-metrics {output.metrics:q} > {log:q} 2>&1"

    rule evaluate_student:
        input:
            test=TEST_IMAGES,
            model=f"{DISTILLATION}/{{method}}/seed{{seed}}/model.safetensors",
            teacher=([f"{DISTILLATION}/teacher/predictions.safetensors"] if TEACHER else []),
        output:
            evaluation=STUDENT_EVALUATION,
            predictions=f"{DISTILLATION}/{{method}}/seed{{seed}}/predictions.safetensors",
        log:
            f"{RESULTS}/logs/evaluate_student/{{method}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/evaluate_student/{{method}}_seed{{seed}}.tsv"
        wildcard_constraints:
            method=one_of(METHODS),
            seed=one_of(map(str, DISTILLATION_SEEDS)),
        conda:
            ENVIRONMENT
        threads: EVALUATE.threads
        resources:
            gpu=GPUS,
            mem_mb=EVALUATE.mem_mb,
            runtime=growing(EVALUATE.runtime),
        params:
            recipe=recipes.evaluate_network(settings.distillation.student.architecture).settings,
            code=recipes.evaluate_network(settings.distillation.student.architecture).code,
            teacher="--teacher" if TEACHER else "",
        shell:
            "python -m lgg.pipeline evaluate_network --recipe {params.recipe:q} --threads {threads}"
            " --gpus {resources.gpu} --test {input.test:q} --model {input.model:q} {params.teacher} {input.teacher:q}"
            " --out-evaluation {output.evaluation:q} --out-predictions {output.predictions:q} > {log:q} 2>&1"

    rule assemble_table1:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            evaluations=expand(STUDENT_EVALUATION, method=METHODS, seed=DISTILLATION_SEEDS),
            teacher=[f"{DISTILLATION}/teacher/evaluation.csv"] if TEACHER else [],
        output:
            csv=f"{RESULTS}/tables/table1.csv",
            md=f"{RESULTS}/tables/table1.md",
            tex=f"{RESULTS}/tables/table1.tex",
            html=in_report(
                f"{RESULTS}/tables/table1.html",
                SECTION["distillation"],
                "Table 1: error, gain and agreement of distilled students",
            ),
            pdf=f"{RESULTS}/figures/table1.pdf",
            png=in_report(
                f"{RESULTS}/figures/table1.png",
                SECTION["distillation"],
                "Table 1, drawn: error against agreement with the teacher",
            ),
        log:
            f"{RESULTS}/logs/assemble_table1.log",
        benchmark:
            f"{RESULTS}/benchmarks/assemble_table1.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.assemble_table1(settings.distillation, PAPER).settings,
            code=recipes.assemble_table1(settings.distillation, PAPER).code,
            teacher="--teacher" if TEACHER else "",
        shell:
            "python -m lgg.pipeline assemble_table1 --recipe {params.recipe:q} --train {input.train:q}"
            " --test {input.test:q}"
            " --evaluations {input.evaluations:q} {params.teacher} {input.teacher:q}"
            " --out-csv {output.csv:q} --out-md {output.md:q} --out-tex {output.tex:q}"
            " --out-html {output.html:q} --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"

    rule draw_distillation_training:
        input:
            histories=[
                f"{DISTILLATION}/{name}/seed{seed}/history.csv" for name in METHODS for seed in DISTILLATION_SEEDS
            ],
        output:
            pdf=f"{RESULTS}/figures/distillation_training.pdf",
            png=in_report(
                f"{RESULTS}/figures/distillation_training.png",
                SECTION["supplements"],
                "Table 1, training: losses and errors by epoch",
            ),
        log:
            f"{RESULTS}/logs/draw_distillation_training.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_distillation_training.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_training_curves(METHODS).settings,
            code=recipes.draw_training_curves(METHODS).code,
        shell:
            "python -m lgg.pipeline draw_training_curves --recipe {params.recipe:q} --histories {input.histories:q}"
            " --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"
