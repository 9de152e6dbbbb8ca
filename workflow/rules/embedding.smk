# Section 4.2, Table 2 and Figure A1. Reads data/; writes to embedding/ a network for each method and seed with its history and
# metrics, the errors of classifiers on its embeddings, and the embeddings of Figure A1 with the errors of neighbours in the
# plane. Also writes tables/table2 and table2_supplement, and figures/figureA1, embedding_corruptions, embedding_severity and
# embedding_training.

if settings.embedding:
    EMBEDDING_SEEDS = settings.seeds_of("embedding")
    EMBEDDINGS = settings.embedding.active_methods
    FIGURE_A1 = settings.embedding.figure_methods
    EMBEDDING = f"{RESULTS}/embedding/{{method}}/seed{{seed}}"
    PLANE = f"{RESULTS}/embedding/figureA1/{{method}}"
    EMBEDDING_CORRUPTIONS = expand(f"{EMBEDDING}/corruptions.csv", method=EMBEDDINGS, seed=EMBEDDING_SEEDS)

    targets += tables("table2", "table2_supplement")
    targets += figures("embedding_corruptions", "embedding_severity") if settings.corruptions else []
    targets += figures("embedding_training", *(["figureA1"] if FIGURE_A1 else []))

    TRAININGS.append(
        Training(
            "train_embedding",
            methods=EMBEDDINGS,
            seeds=EMBEDDING_SEEDS,
            recipe=lambda method: recipes.train_embedding(settings.embedding, method),
            inputs={
                "train": TRAIN_IMAGES,
                **awaited("embedding.{method}", settings.embedding.network, EMBEDDINGS),
            },
            outputs=network(EMBEDDING),
            start=settings.embedding.weights,
        )
    )

    use rule evaluation as evaluate_embedding with:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            model=f"{EMBEDDING}/model.safetensors",
            corruptions=ARCHIVE,
        output:
            evaluation=f"{EMBEDDING}/evaluation.csv",
            corruptions=f"{EMBEDDING}/corruptions.csv" if settings.corruptions else [],
        pathvars:
            job="evaluate_embedding/{method}_seed{seed}",
        wildcard_constraints:
            **each(EMBEDDINGS, EMBEDDING_SEEDS),
        params:
            **stage(
                lambda wc: recipes.evaluate_embedding(
                    settings.embedding, settings.corruptions, wc.method, int(wc.seed)
                )
            ),

    use rule light as assemble_table2 with:
        input:
            train=TRAIN_IMAGES,
            test=TEST_IMAGES,
            evaluations=expand(f"{EMBEDDING}/evaluation.csv", method=EMBEDDINGS, seed=EMBEDDING_SEEDS),
            corruptions=EMBEDDING_CORRUPTIONS if settings.corruptions else [],
        output:
            **table(
                "table2",
                "embedding",
                f"Table 2: error {'and relative MCE ' if settings.corruptions else ''}of embeddings",
            ),
            **table(
                "table2_supplement",
                "supplements",
                "Table 2, every classifier: error of every classifier on every embedding",
                "supplement_",
            ),
        pathvars:
            job="assemble_table2",
        localrule: True
        params:
            **stage(recipes.assemble_table2(settings.embedding, settings.corruptions, PAPER)),

    if settings.corruptions:

        use rule light as draw_embedding_corruptions with:
            input:
                corruptions=EMBEDDING_CORRUPTIONS,
            output:
                **corruption_figures("embedding", "Table 2", "each embedding"),
            pathvars:
                job="draw_embedding_corruptions",
            localrule: True
            params:
                **stage(recipes.draw_corruption_errors(EMBEDDINGS)),

    use rule light as draw_embedding_training with:
        input:
            train=TRAIN_IMAGES,
            histories=expand(f"{EMBEDDING}/history.csv", method=EMBEDDINGS, seed=EMBEDDING_SEEDS),
        output:
            **figure("embedding_training", "supplements", "Table 2, training: losses and errors by epoch"),
        pathvars:
            job="draw_embedding_training",
        localrule: True
        params:
            **stage(recipes.draw_embedding_training(settings.embedding)),

    if FIGURE_A1:

        use rule training as train_plane_embedding with:
            input:
                **awaited("embedding.figure.{method}", settings.embedding.network, FIGURE_A1),
                train=TRAIN_IMAGES,
                test=TEST_IMAGES,
            output:
                **network(PLANE),
                positions=f"{PLANE}/positions.safetensors",
            pathvars:
                job="train_plane_embedding/{method}",
            wildcard_constraints:
                method=one_of(FIGURE_A1),
            params:
                **stage(lambda wc: recipes.train_plane_embedding(settings.embedding, wc.method)),
                files=with_options(start=settings.embedding.weights),

        use rule light as draw_figureA1 with:
            input:
                train=TRAIN_IMAGES,
                test=TEST_IMAGES,
                positions=expand(f"{PLANE}/positions.safetensors", method=FIGURE_A1),
            output:
                **figure("figureA1", "embedding", "Figure A1: embeddings in the plane while networks learn"),
                errors=f"{RESULTS}/embedding/figureA1/errors.csv",
            pathvars:
                job="draw_figureA1",
            localrule: True
            params:
                **stage(recipes.draw_figure_a1(settings.embedding)),
