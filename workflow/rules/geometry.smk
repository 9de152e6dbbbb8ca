# Section 3 and Appendix C, Figures 1 and 2. Reads data/train.safetensors; writes the reference network and geometry.json (its
# graphs) to geometry/, and figures/figure1, figure2, figure2_draws and graph_depths.

if settings.geometry:
    GEOMETRY = f"{RESULTS}/geometry"
    REFERENCE = f"{GEOMETRY}/reference_network"

    targets += figures("figure1", "figure2", "figure2_draws", "graph_depths")
    targets.append(f"{RESULTS}/figures/graph_depths.gif")

    if settings.geometry.is_trained_here:

        use rule training as train_reference_network with:
            input:
                **awaited("geometry", settings.geometry.network),
                train=TRAIN_IMAGES,
            output:
                **network(REFERENCE),
            pathvars:
                job="train_reference_network",
            params:
                **stage(recipes.train_reference_network(settings.geometry)),
                files=with_options(start=settings.geometry.weights),

    if not settings.geometry.is_trained_here:

        use rule evaluation as load_reference_network with:
            input:
                train=TRAIN_IMAGES,
                weights=settings.geometry.network.downloaded or [],
            output:
                **loaded(REFERENCE),
            pathvars:
                job="load_reference_network",
            params:
                **stage(recipes.load_network(settings.geometry.network)),
                files=with_options(weights=settings.geometry.weights),

    use rule evaluation as evaluate_geometry with:
        input:
            train=TRAIN_IMAGES,
            model=f"{REFERENCE}/model.safetensors",
        output:
            geometry=f"{GEOMETRY}/geometry.json",
        pathvars:
            job="evaluate_geometry",
        resources:
            **asks(EVALUATE, 0),
        params:
            **stage(recipes.evaluate_geometry(settings.geometry)),

    use rule light as draw_figure1 with:
        input:
            train=TRAIN_IMAGES,
        output:
            **figure("figure1", "geometry", "Figure 1: the reference network, step by step"),
        pathvars:
            job="draw_figure1",
        localrule: True
        params:
            **stage(recipes.draw_figure1(settings.geometry)),

    use rule light as draw_figure2 with:
        input:
            geometry=f"{GEOMETRY}/geometry.json",
        output:
            **figure("figure2", "geometry", "Figure 2: graphs of 20 images at three depths"),
            **figure("figure2_draws", "supplements", "Figure 2, many draws: label variation at these depths", "draws_"),
        pathvars:
            job="draw_figure2",
        localrule: True
        params:
            **stage(recipes.draw_figure2()),

    use rule light as draw_graph_depths with:
        input:
            geometry=f"{GEOMETRY}/geometry.json",
        output:
            **figure(
                "graph_depths", "geometry", "Figure 2 at every depth: the same images on their way through the network"
            ),
            gif=f"{RESULTS}/figures/graph_depths.gif",
        pathvars:
            job="draw_graph_depths",
        localrule: True
        params:
            **stage(recipes.draw_graph_depths()),
