# Section 4.1, Table 1. Reads data/; writes the teacher and a student for each method and seed, with history, metrics and
# evaluation, to distillation/, and tables/table1, figures/table1 and figures/distillation_training.

if settings.distillation:
    DISTILLATION = f"{RESULTS}/distillation"
    DISTILLATION_SEEDS = settings.seeds_of("distillation")
    METHODS = settings.distillation.active_methods
    TEACHER_FOLDER = f"{DISTILLATION}/{TEACHER}"
    WITHOUT_TEACHER = [name for name, method in METHODS.items() if method.loss == "none"]
    WITH_TEACHER = [name for name, method in METHODS.items() if method.loss != "none"]
    STUDENT = f"{DISTILLATION}/{{method}}/seed{{seed}}"
    # seeds that share a job, and seeds that have their own
    GROUPS = in_groups(DISTILLATION_SEEDS, settings.distillation.seeds_per_job)
    TOGETHER = [seeds for seeds in GROUPS if len(seeds) > 1]
    ALONE = [seed for seeds in GROUPS if len(seeds) == 1 for seed in seeds]

    targets += tables("table1") + figures("distillation_training", "table1")

    if settings.distillation.teacher:

        use rule training as train_teacher with:
            input:
                train=TRAIN_IMAGES,
            output:
                **network(TEACHER_FOLDER),
            pathvars:
                job="train_teacher",
            # students wait for the teacher, so it has priority over jobs that nothing waits for
            priority: 10
            params:
                **stage(recipes.train_teacher(settings.distillation)),

        use rule evaluation as evaluate_teacher with:
            input:
                test=TEST_IMAGES,
                model=f"{TEACHER_FOLDER}/model.safetensors",
            output:
                evaluation=f"{TEACHER_FOLDER}/evaluation.csv",
                predictions=f"{TEACHER_FOLDER}/predictions.safetensors",
            pathvars:
                job="evaluate_teacher",
            params:
                **stage(recipes.evaluate_network(settings.distillation.teacher.architecture)),

        use rule training as distill_student with:
            input:
                train=TRAIN_IMAGES,
                teacher=f"{TEACHER_FOLDER}/model.safetensors",
            output:
                **network(STUDENT),
            pathvars:
                job="distill_student/{method}_seed{seed}",
            wildcard_constraints:
                **each(WITH_TEACHER, ALONE),
            params:
                **stage(lambda wc: recipes.distill_student(settings.distillation, wc.method, int(wc.seed))),

    use rule training as train_student with:
        input:
            train=TRAIN_IMAGES,
        output:
            **network(STUDENT),
        pathvars:
            job="train_student/{method}_seed{seed}",
        wildcard_constraints:
            **each(WITHOUT_TEACHER, ALONE),
        params:
            **stage(lambda wc: recipes.train_student(settings.distillation, int(wc.seed))),

    # outputs cannot list a group by wildcards, so each group has its own rule; `use rule` does not accept computed names
    for group in TOGETHER:

        rule:
            name:
                "train_students_" + "_".join(map(str, group))
            input:
                train=TRAIN_IMAGES,
                teacher=lambda wc: [f"{TEACHER_FOLDER}/model.safetensors"] if wc.method in WITH_TEACHER else [],
            output:
                models=expand(f"{STUDENT}/model.safetensors", seed=group, allow_missing=True),
                histories=expand(f"{STUDENT}/history.csv", seed=group, allow_missing=True),
                metrics=expand(f"{STUDENT}/metrics.json", seed=group, allow_missing=True),
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
                **asks(TRAIN, GPUS),
            params:
                **stage(lambda wc, group=group: recipes.train_students(settings.distillation, wc.method, group)),
                files=files,
            shell:
                COMMAND

    use rule evaluation as evaluate_student with:
        input:
            test=TEST_IMAGES,
            model=f"{STUDENT}/model.safetensors",
            teacher=[f"{TEACHER_FOLDER}/predictions.safetensors"] if settings.distillation.teacher else [],
        output:
            evaluation=f"{STUDENT}/evaluation.csv",
            predictions=f"{STUDENT}/predictions.safetensors",
        pathvars:
            job="evaluate_student/{method}_seed{seed}",
        wildcard_constraints:
            **each(METHODS, DISTILLATION_SEEDS),
        params:
            **stage(recipes.evaluate_network(settings.distillation.student.architecture)),

    use rule light as assemble_table1 with:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            evaluations=expand(f"{STUDENT}/evaluation.csv", method=METHODS, seed=DISTILLATION_SEEDS),
            teacher=[f"{TEACHER_FOLDER}/evaluation.csv"] if settings.distillation.teacher else [],
        output:
            **table("table1", "distillation", "Table 1: error, gain and agreement of distilled students"),
            **figure("table1", "distillation", "Table 1, drawn: error against agreement with the teacher"),
        pathvars:
            job="assemble_table1",
        localrule: True
        params:
            **stage(recipes.assemble_table1(settings.distillation, PAPER)),

    use rule light as draw_distillation_training with:
        input:
            histories=expand(f"{STUDENT}/history.csv", method=METHODS, seed=DISTILLATION_SEEDS),
        output:
            **figure("distillation_training", "supplements", "Table 1, training: losses and errors by epoch"),
        pathvars:
            job="draw_distillation_training",
        localrule: True
        params:
            **stage(recipes.draw_training_curves(METHODS)),
