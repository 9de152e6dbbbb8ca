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

    targets += tables("table1") + figures("distillation_training", "table1")

    TRAININGS.append(
        Training(
            "train_student",
            methods=WITHOUT_TEACHER,
            seeds=DISTILLATION_SEEDS,
            recipe=lambda method: recipes.train_student(settings.distillation),
            inputs={"train": TRAIN_IMAGES},
            outputs=network(STUDENT),
        )
    )

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

        TRAININGS.append(
            Training(
                "distill_student",
                methods=WITH_TEACHER,
                seeds=DISTILLATION_SEEDS,
                recipe=lambda method: recipes.distill_student(settings.distillation, method),
                inputs={"train": TRAIN_IMAGES, "teacher": f"{TEACHER_FOLDER}/model.safetensors"},
                outputs=network(STUDENT),
            )
        )

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
