"""The expected jobs, derived from a configuration and not from the Snakefile."""

from lgg.pipeline.config import Config

TEACHER = {"train_teacher": 1, "evaluate_teacher": 1}
TABLE1 = {"assemble_table1": 1}
STUDENTS_TRAINING = {"draw_distillation_training": 1}
EMBEDDINGS_TRAINING = {"draw_embedding_training": 1}
DEFENCES_TRAINING = {"draw_robustness_training": 1}
LAYERS = {"draw_layer_variation": 1}
TRAINING_FIGURES = STUDENTS_TRAINING | EMBEDDINGS_TRAINING | DEFENCES_TRAINING | LAYERS
FIGURE1 = {"draw_figure1": 1}
FIGURE2 = {"evaluate_geometry": 1, "draw_figure2": 1, "draw_graph_depths": 1}
FIGURE_A1 = {"draw_figureA1": 1}
EXAMPLES = {"draw_corruptions": 1}
EMBEDDING_ERRORS = {"draw_embedding_corruptions": 1}
TABLE2 = {"assemble_table2": 1}
ROBUSTNESS_ERRORS = {"draw_robustness_corruptions": 1}
SNR_CURVES = {"draw_snr_curves": 1}
# Table 3, its supplement and the second robustness table
TABLES3 = {"assemble_table3": 3}


def student_training(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that train a student of each of `methods` from each seed, and draw how."""
    loss = {name: method.loss for name, method in config.distillation.active_methods.items()}
    return {
        f"train_student {name}" if loss[name] == "none" else f"distill_student {name}": len(
            config.seeds_of("distillation")
        )
        for name in methods
    } | STUDENTS_TRAINING


def evaluations(config: Config, *methods: str) -> dict[str, int]:
    return {f"evaluate_student {name}": len(config.seeds_of("distillation")) for name in methods}


def retrained(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that train and evaluate `methods` and put them into Table 1."""
    return student_training(config, *methods) | evaluations(config, *methods) | TABLE1


def retrained_geometry() -> dict[str, int]:
    return {"train_reference_network": 1} | FIGURE2


# --- Section 4.2 --------------------------------------------------------------------------------------------------


def embedding_trainings(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that train embeddings by `methods`, one for each seed, and draw how."""
    return {f"train_embedding {name}": len(config.seeds_of("embedding")) for name in methods} | EMBEDDINGS_TRAINING


def planes(config: Config) -> dict[str, int]:
    """Return the jobs that train the embeddings of Figure A1 and draw it."""
    figure = config.embedding.figure
    rows = [name for name, method in figure.methods.items() if method] if figure else []
    return {f"train_plane_embedding {name}": 1 for name in rows} | (FIGURE_A1 if rows else {})


def embedding_evaluations(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that evaluate embeddings and show how."""
    jobs = {f"evaluate_embedding {name}": len(config.seeds_of("embedding")) for name in methods}
    return jobs | TABLE2 | (EMBEDDING_ERRORS if config.corruptions else {})


def retrained_embeddings(config: Config, *methods: str) -> dict[str, int]:
    return embedding_trainings(config, *methods) | embedding_evaluations(config, *methods)


# --- Section 4.3 --------------------------------------------------------------------------------------------------


def robust_trainings(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that train a network of each of `methods` from each seed, of the baseline one more; and draw how."""
    more = {config.robustness.baseline: 1}
    drawn = DEFENCES_TRAINING if set(methods) & set(config.robustness.table_methods) else {}
    drawn = drawn | (LAYERS if set(methods) & set(config.robustness.watched_methods) else {})
    return {
        f"train_robust_network {name}": len(config.seeds_of("robustness")) + more.get(name, 0) for name in methods
    } | drawn


def robustness_evaluations(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that put `methods` to attacks and other tests, and show how they did."""
    jobs = {f"evaluate_robustness {name}": len(config.seeds_of("robustness")) for name in methods} | TABLES3
    jobs |= SNR_CURVES if set(methods) & set(config.robustness.table_methods) else {}
    sweep = set(config.robustness.sweep) if len(config.robustness.sweep) > 2 else set()
    return jobs | ({"draw_weight_sweep": 1} if set(methods) & sweep else {})


def corruption_evaluations(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that put those of `methods` that stand in Table 3 to corruptions, and show how they did."""
    shown = [name for name in methods if name in config.robustness.table_methods and config.corruptions]
    jobs = {f"evaluate_corruptions {name}": len(config.seeds_of("robustness")) for name in shown}
    return jobs | (ROBUSTNESS_ERRORS | TABLES3 if shown else {})


def retrained_defences(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that train and evaluate `methods`; with the baseline all are attacked again by its images."""
    attacked = config.robustness.active_methods if config.robustness.baseline in methods else methods
    return (
        robust_trainings(config, *methods)
        | robustness_evaluations(config, *attacked)
        | corruption_evaluations(config, *methods)
    )


# --- Appendix D ---------------------------------------------------------------------------------------------------

TABLE_A1 = {"assemble_tableA1": 1}
TIMES = {"measure_times": 1} | TABLE_A1


# --- all ----------------------------------------------------------------------------------------------------------


def every_job(config: Config) -> dict[str, int]:
    """Return all jobs of a first run."""
    jobs: dict[str, int] = {}
    if config.geometry:
        jobs |= FIGURE1 | retrained_geometry()
    if config.distillation:
        jobs |= retrained(config, *config.distillation.active_methods)
        jobs |= TEACHER if config.distillation.teacher else {}
    if config.embedding:
        jobs |= retrained_embeddings(config, *config.embedding.active_methods) | planes(config)
    if config.robustness:
        jobs |= retrained_defences(config, *config.robustness.active_methods)
    jobs |= TIMES if config.timed_methods else {}
    if config.corruptions and (config.embedding or config.robustness):
        jobs |= EXAMPLES
        jobs |= {"download_corruptions": 1} if config.corruptions.source == "cifar10_c" else {}
        jobs |= {"keep_corruptions": 1} if config.corruptions.keep else {}
    return jobs | ({"prepare_data": 1} if jobs else {})
