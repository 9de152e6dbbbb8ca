# Section 4.3, Table 3 and the second robustness table. Reads data/; writes to robustness/ a network for each method and seed
# with its history and metrics, and its errors under attacks, other tests and corruptions. Also writes tables/table3,
# table3_supplement and robustness, and figures/robustness_corruptions, robustness_severity, snr_curves, robustness_training,
# layer_variation and, if the methods contain a sweep of γ, weight_sweep.

if settings.robustness:
    ROBUSTNESS_SEEDS = settings.seeds_of("robustness")
    TRANSFER_SEED = settings.robustness.tests.transfer_seed
    DEFENCES = settings.robustness.active_methods
    DEFENCES_HERE = settings.robustness.trained_here
    DEFENCES_ELSEWHERE = settings.robustness.trained_elsewhere
    TABLE3_METHODS = settings.robustness.table_methods
    TRAINED_TABLE3_METHODS = {name: TABLE3_METHODS[name] for name in DEFENCES_HERE if name in TABLE3_METHODS}
    WATCHED = settings.robustness.watched_methods
    DEFENDED = f"{RESULTS}/robustness/{{method}}/seed{{seed}}"
    ROBUSTNESS_TABLES = {
        "table3": f"Table 3: clean error{', FGSM error and relative MCE' if settings.corruptions else ' and FGSM error'} of each method",
        "table3_supplement": "Table 3, further attacks: other FGSM, PGD, transferred attacks, DeepFool, other weights γ",
        "robustness": "Further robustness: accuracy under noise, dropout, coarse weights and PGD",
    }
    ROBUSTNESS_CORRUPTIONS = expand(f"{DEFENDED}/corruptions.csv", method=TABLE3_METHODS, seed=ROBUSTNESS_SEEDS)

    targets += tables(*ROBUSTNESS_TABLES)
    targets += figures("robustness_corruptions", "robustness_severity") if settings.corruptions else []
    targets += figures("snr_curves")
    targets += figures("robustness_training") if TRAINED_TABLE3_METHODS else []
    targets += figures("layer_variation") if WATCHED else []
    targets += figures("weight_sweep") if len(settings.robustness.sweep) > 2 else []

    TRAININGS.append(
        Training(
            "train_robust_network",
            methods=DEFENCES_HERE,
            seeds=ROBUSTNESS_SEEDS,
            recipe=lambda method: recipes.train_robust_network(settings.robustness, method),
            inputs={
                "train": TRAIN_IMAGES,
                **awaited("robustness.{method}", settings.robustness.network, DEFENCES_HERE),
            },
            start=settings.robustness.weights,
            outputs={**network(DEFENDED), "label_variation": f"{DEFENDED}/label_variation.csv"},
            # needed of the baseline alone
            lone_seeds=[TRANSFER_SEED],
            # adversarial training and its evaluation are the longest chain, so they start before shorter jobs
            priority=5,
        )
    )

    if DEFENCES_ELSEWHERE:

        use rule evaluation as load_robust_network with:
            input:
                train=TRAIN_IMAGES,
            output:
                **loaded(DEFENDED),
                label_variation=f"{DEFENDED}/label_variation.csv",
            pathvars:
                job="load_robust_network/{method}_seed{seed}",
            wildcard_constraints:
                **each(DEFENCES_ELSEWHERE, [*ROBUSTNESS_SEEDS, TRANSFER_SEED]),
            params:
                **stage(lambda wc: recipes.load_robust_network(settings.robustness, wc.method, int(wc.seed))),
                files=with_options(
                    weights=lambda wc: settings.robustness.network_of(wc.method).weights_of(int(wc.seed))
                ),

    use rule evaluation as evaluate_robustness with:
        input:
            test=TEST_IMAGES,
            model=f"{DEFENDED}/model.safetensors",
            source=f"{RESULTS}/robustness/{settings.robustness.baseline}/seed{TRANSFER_SEED}/model.safetensors",
        output:
            evaluation=f"{DEFENDED}/evaluation.csv",
        pathvars:
            job="evaluate_robustness/{method}_seed{seed}",
        wildcard_constraints:
            **each(DEFENCES, ROBUSTNESS_SEEDS),
        priority: 5
        params:
            **stage(lambda wc: recipes.evaluate_robustness(settings.robustness, wc.method)),

    use rule light as assemble_table3 with:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            evaluations=expand(f"{DEFENDED}/evaluation.csv", method=DEFENCES, seed=ROBUSTNESS_SEEDS),
            corruptions=ROBUSTNESS_CORRUPTIONS if settings.corruptions else [],
        output:
            **{form: f"{RESULTS}/tables/{{table}}.{form}" for form in TABLE_FORMS if form != "html"},
            html=report(
                f"{RESULTS}/tables/{{table}}.html",
                caption="../report/table3.rst",
                category=lambda wc: SECTION["robustness" if wc.table == "table3" else "supplements"],
                labels=lambda wc: label(ROBUSTNESS_TABLES[wc.table]),
            ),
        pathvars:
            job="assemble_table3/{table}",
        wildcard_constraints:
            table=one_of(ROBUSTNESS_TABLES),
        localrule: True
        params:
            **stage(lambda wc: recipes.assemble_table3(settings.robustness, settings.corruptions, wc.table, PAPER)),

    if settings.corruptions:

        use rule evaluation as evaluate_corruptions with:
            input:
                test=TEST_IMAGES,
                model=f"{DEFENDED}/model.safetensors",
                corruptions=ARCHIVE,
            output:
                corruptions=f"{DEFENDED}/corruptions.csv",
            pathvars:
                job="evaluate_corruptions/{method}_seed{seed}",
            wildcard_constraints:
                **each(TABLE3_METHODS, ROBUSTNESS_SEEDS),
            params:
                **stage(lambda wc: recipes.evaluate_corruptions(settings.robustness, settings.corruptions, wc.method)),

        use rule light as draw_robustness_corruptions with:
            input:
                corruptions=ROBUSTNESS_CORRUPTIONS,
            output:
                **corruption_figures("robustness", "Table 3", "each method"),
            pathvars:
                job="draw_robustness_corruptions",
            localrule: True
            params:
                **stage(recipes.draw_corruption_errors(TABLE3_METHODS)),

    use rule light as draw_snr_curves with:
        input:
            evaluations=expand(f"{DEFENDED}/evaluation.csv", method=TABLE3_METHODS, seed=ROBUSTNESS_SEEDS),
        output:
            **figure("snr_curves", "supplements", "FGSM: accuracy against the signal-to-noise ratio"),
        pathvars:
            job="draw_snr_curves",
        localrule: True
        params:
            **stage(recipes.draw_snr_curves(settings.robustness)),

    if TRAINED_TABLE3_METHODS:

        use rule light as draw_robustness_training with:
            input:
                histories=expand(f"{DEFENDED}/history.csv", method=TRAINED_TABLE3_METHODS, seed=ROBUSTNESS_SEEDS),
            output:
                **figure("robustness_training", "supplements", "Table 3, training: losses and errors by epoch"),
            pathvars:
                job="draw_robustness_training",
            localrule: True
            params:
                **stage(recipes.draw_training_curves(TRAINED_TABLE3_METHODS)),

    if WATCHED:

        use rule light as draw_layer_variation with:
            input:
                variations=expand(f"{DEFENDED}/label_variation.csv", method=WATCHED, seed=ROBUSTNESS_SEEDS),
            output:
                **figure(
                    "layer_variation",
                    "supplements",
                    "Regularizer: label variation of every layer while networks learn",
                ),
            pathvars:
                job="draw_layer_variation",
            localrule: True
            params:
                **stage(recipes.draw_layer_variation(settings.robustness)),

    if len(settings.robustness.sweep) > 2:

        use rule light as draw_weight_sweep with:
            input:
                evaluations=expand(
                    f"{DEFENDED}/evaluation.csv", method=settings.robustness.sweep, seed=ROBUSTNESS_SEEDS
                ),
            output:
                **figure("weight_sweep", "supplements", "Regularizer: error against its weight γ"),
            pathvars:
                job="draw_weight_sweep",
            localrule: True
            params:
                **stage(recipes.draw_weight_sweep(settings.robustness)),
