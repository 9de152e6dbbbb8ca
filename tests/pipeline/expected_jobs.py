"""Which jobs there are, worked out from a configuration and not from the Snakefile."""

from lgg.config import Config

TEACHER = {"train_teacher": 1, "evaluate_teacher": 1}
TABLE1 = {"assemble_table1": 1}
FIGURE1 = {"draw_figure1": 1}
FIGURE2 = {"evaluate_geometry": 1, "draw_figure2": 1}


def trainings(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that train a student of each of `methods` from each seed."""
    loss = {name: method.loss for name, method in config.distillation.active_methods.items()}
    return {
        f"train_student {name}" if loss[name] == "none" else f"distill_student {name}": len(config.seeds)
        for name in methods
    }


def evaluations(*methods: str) -> dict[str, int]:
    return {f"evaluate_students {name}": 1 for name in methods}


def retrained(config: Config, *methods: str) -> dict[str, int]:
    """Return the jobs that train and evaluate `methods` and put them into Table 1."""
    return trainings(config, *methods) | evaluations(*methods) | TABLE1


def retrained_geometry() -> dict[str, int]:
    return {"train_reference_network": 1} | FIGURE2


def every_job(config: Config) -> dict[str, int]:
    """Return all jobs of a first run."""
    jobs = {"prepare_data": 1} if config.geometry or config.distillation else {}
    if config.geometry:
        jobs |= FIGURE1 | retrained_geometry()
    if config.distillation:
        jobs |= retrained(config, *config.distillation.active_methods)
        jobs |= TEACHER if config.distillation.teacher else {}
    return jobs
