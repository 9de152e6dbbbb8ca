# Section 4.1, Table 1. Reads data/; writes the teacher and a student for each method and seed, with history, metrics and
# evaluation, to distillation/, and tables/table1, figures/table1 and figures/distillation_training.

if settings.distillation:
    DISTILLATION = f"{RESULTS}/distillation"
    DISTILLATION_SEEDS = settings.seeds_of("distillation")
    METHODS = settings.distillation.active_methods
    TAUGHT = settings.distillation.teacher
    TEACHER_FOLDER = f"{DISTILLATION}/{TEACHER}"
    TRAINED_HERE = settings.distillation.trained_here
    TRAINED_ELSEWHERE = settings.distillation.trained_elsewhere
    WITHOUT_TEACHER = [name for name, method in TRAINED_HERE.items() if not method.learns_from_teacher]
    WITH_TEACHER = [name for name, method in TRAINED_HERE.items() if method.learns_from_teacher]
    STUDENT = f"{DISTILLATION}/{{method}}/seed{{seed}}"

    targets += tables("table1") + figures("table1", *(["distillation_training"] if TRAINED_HERE else []))

    TRAININGS.append(
        Training(
            "train_student",
            methods=WITHOUT_TEACHER,
            seeds=DISTILLATION_SEEDS,
            recipe=lambda method: recipes.train_student(settings.distillation),
            inputs={
                "train": TRAIN_IMAGES,
                **awaited("distillation.{method}", settings.distillation.student.network, WITHOUT_TEACHER),
            },
            outputs=network(STUDENT),
            start=settings.distillation.student.weights,
        )
    )

    if TAUGHT and TAUGHT.is_trained_here:

        use rule training as train_teacher with:
            input:
                **awaited(f"distillation.{TEACHER}", TAUGHT.network),
                train=TRAIN_IMAGES,
            output:
                **network(TEACHER_FOLDER),
            pathvars:
                job="train_teacher",
            # students wait for the teacher, so it has priority over jobs that nothing waits for
            priority: 10
            params:
                **stage(recipes.train_teacher(settings.distillation)),
                files=with_options(start=TAUGHT.weights),

    if TAUGHT and not TAUGHT.is_trained_here:

        use rule evaluation as load_teacher with:
            input:
                train=TRAIN_IMAGES,
                weights=TAUGHT.network.downloaded or [],
            output:
                **loaded(TEACHER_FOLDER),
            pathvars:
                job="load_teacher",
            priority: 10
            params:
                **stage(recipes.load_network(TAUGHT.network)),
                files=with_options(weights=TAUGHT.weights),

    if TAUGHT:
        TRAININGS.append(
            Training(
                "distill_student",
                methods=WITH_TEACHER,
                seeds=DISTILLATION_SEEDS,
                recipe=lambda method: recipes.distill_student(settings.distillation, method),
                inputs={
                    "train": TRAIN_IMAGES,
                    "teacher": f"{TEACHER_FOLDER}/model.safetensors",
                    **awaited("distillation.{method}", settings.distillation.student.network, WITH_TEACHER),
                },
                outputs=network(STUDENT),
                start=settings.distillation.student.weights,
            )
        )

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
                **stage(recipes.evaluate_network(TAUGHT.network)),

    if TRAINED_ELSEWHERE:

        use rule evaluation as load_student with:
            input:
                train=TRAIN_IMAGES,
            output:
                **loaded(STUDENT),
            pathvars:
                job="load_student/{method}_seed{seed}",
            wildcard_constraints:
                **each(TRAINED_ELSEWHERE, DISTILLATION_SEEDS),
            params:
                **stage(lambda wc: recipes.load_network(settings.distillation.network_of(wc.method), int(wc.seed))),
                files=with_options(
                    weights=lambda wc: settings.distillation.network_of(wc.method).weights_of(int(wc.seed))
                ),

    use rule evaluation as evaluate_student with:
        input:
            test=TEST_IMAGES,
            model=f"{STUDENT}/model.safetensors",
            teacher=[f"{TEACHER_FOLDER}/predictions.safetensors"] if TAUGHT else [],
        output:
            evaluation=f"{STUDENT}/evaluation.csv",
            predictions=f"{STUDENT}/predictions.safetensors",
        pathvars:
            job="evaluate_student/{method}_seed{seed}",
        wildcard_constraints:
            **each(METHODS, DISTILLATION_SEEDS),
        params:
            **stage(lambda wc: recipes.evaluate_network(settings.distillation.network_of(wc.method))),

    use rule light as assemble_table1 with:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            evaluations=expand(f"{STUDENT}/evaluation.csv", method=METHODS, seed=DISTILLATION_SEEDS),
            teacher=[f"{TEACHER_FOLDER}/evaluation.csv"] if TAUGHT else [],
        output:
            **table("table1", "distillation", "Table 1: error, gain and agreement of distilled students"),
            **figure("table1", "distillation", "Table 1, drawn: error against agreement with the teacher"),
        pathvars:
            job="assemble_table1",
        localrule: True
        params:
            **stage(recipes.assemble_table1(settings.distillation, PAPER)),

    if TRAINED_HERE:

        use rule light as draw_distillation_training with:
            input:
                histories=expand(f"{STUDENT}/history.csv", method=TRAINED_HERE, seed=DISTILLATION_SEEDS),
            output:
                **figure("distillation_training", "supplements", "Table 1, training: losses and errors by epoch"),
            pathvars:
                job="draw_distillation_training",
            localrule: True
            params:
                **stage(recipes.draw_training_curves(TRAINED_HERE)),
