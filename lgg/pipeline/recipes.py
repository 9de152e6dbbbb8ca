"""What each stage depends on: from the configuration, one canonical JSON string; from the package, a digest of code.

Snakemake compares both with those of the last run. A recipe holds just the settings that can change the stage's result:
no labels, no resources, no paths of results. Imports neither torch nor torchvision.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgg import models
from lgg.data import own_files
from lgg.files import canonical_json
from lgg.pipeline.config import (
    Config,
    Corruptions,
    Data,
    Embedding,
    Geometry,
    RobustMethod,
    Robustness,
    RobustnessTests,
    Timing,
    Training,
)
from lgg.pipeline.config import Distillation as DistillationConfig
from lgg.pipeline.digest import code_digest


@dataclass(frozen=True)
class Recipe:
    """The settings of a stage as canonical JSON, the digest of the code it runs, and the stage's name."""

    settings: str
    code: str
    stage: str = ""


def _recipe(stage: str, settings: dict[str, Any], *chosen: str) -> Recipe:
    """Return the recipe of ``lgg.pipeline.stages.<stage>``, which loads the modules `chosen` by name."""
    # Snakemake would take {name} in a label for a wildcard; JSON's own braces are followed by a quote or a brace
    written = re.sub(r'\{(?=[^"}])', r"\\u007b", canonical_json(settings))
    return Recipe(written, code_digest(f"lgg.pipeline.stages.{stage}", *chosen), stage)


def prepare_data(config: Config) -> Recipe:
    # what the images are called changes none of them
    return _recipe("prepare_data", config.data.model_dump(mode="json", exclude={"cifar10"}))


def _module(architecture: Any) -> str:
    """Return the module that holds the network, which stages load by its name."""
    return models.module_of(architecture.built_with["name"])


def _network(architecture: Any, training: Training, seed: int) -> dict[str, Any]:
    return {
        "architecture": architecture.built_with,
        "training": _training(training),
        "seed": seed,
    }


def _training(training: Training) -> dict[str, Any]:
    settings = training.model_dump(mode="json")
    optimizer = {key: settings.pop(key) for key in ("momentum", "nesterov", "weight_decay")}
    return settings | {"optimizer": {"name": "sgd", **optimizer}}


def _described(training: Training, *architectures: Any) -> dict[str, Any]:
    """Return what a table says of how its networks were trained."""
    return {
        "architectures": [architecture.built_with for architecture in architectures],
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "augmentation": training.augmentation,
    }


def train_teacher(distillation: DistillationConfig) -> Recipe:
    teacher = distillation.teacher
    if teacher is None:
        raise ValueError("there is no teacher")
    settings = _network(teacher.architecture, distillation.training, teacher.seed)
    return _recipe("train_network", settings, _module(teacher.architecture))


def train_student(distillation: DistillationConfig, seed: int) -> Recipe:
    architecture = distillation.student.architecture
    settings = _network(architecture, distillation.training, seed)
    return _recipe("train_network", settings, _module(architecture))


def _distilled(distillation: DistillationConfig, method_name: str, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a student's training with a teacher, and the modules it chooses by name."""
    method = distillation.active_methods[method_name]
    architecture = distillation.student.architecture
    settings = _network(architecture, distillation.training, seed) | {
        "loss": method.loss_module,
        "options": method.options,
        "weight": getattr(method, "weight"),  # noqa: B009 — every method with a teacher has one
        "layers": method.compared_layers,
    }
    teacher = distillation.teacher
    networks = {_module(architecture)} | ({_module(teacher.architecture)} if teacher else set())
    return settings, [f"lgg.losses.{method.loss_module}", *sorted(networks)]


def distill_student(distillation: DistillationConfig, method_name: str, seed: int) -> Recipe:
    settings, chosen = _distilled(distillation, method_name, seed)
    return _recipe("distill_student", settings, *chosen)


def train_students(distillation: DistillationConfig, method_name: str, seeds: Sequence[int]) -> Recipe:
    """Return the recipe of students of one method that are trained together."""
    if distillation.active_methods[method_name].loss == "none":
        architecture = distillation.student.architecture
        settings, chosen = _network(architecture, distillation.training, 0), [_module(architecture)]
    else:
        settings, chosen = _distilled(distillation, method_name, 0)
    del settings["seed"]
    return _recipe("train_students", settings | {"seeds": list(seeds)}, *chosen)


def evaluate_network(architecture: Any) -> Recipe:
    return _recipe("evaluate_network", {}, _module(architecture))


def train_reference_network(geometry: Geometry) -> Recipe:
    settings = _network(geometry.architecture, geometry.training, geometry.seed)
    return _recipe("train_network", settings, _module(geometry.architecture))


def evaluate_geometry(geometry: Geometry) -> Recipe:
    settings = geometry.model_dump(mode="json", include={"classes", "images_per_class", "k", "draws", "draw_seed"})
    return _recipe("evaluate_geometry", settings, _module(geometry.architecture))


def draw_figure1(geometry: Geometry) -> Recipe:
    settings = {"architecture": geometry.architecture.built_with}
    return _recipe("draw_figure1", settings, _module(geometry.architecture))


def draw_figure2() -> Recipe:
    return _recipe("draw_figure2", {})


def draw_graph_depths() -> Recipe:
    return _recipe("draw_graph_depths", {})


def assemble_table1(distillation: DistillationConfig) -> Recipe:
    rows: dict[str, Any] = {
        name: {"label": method.label, "paper_error": method.paper_error, "paper_gain": method.paper_gain}
        for name, method in distillation.active_methods.items()
    }
    if distillation.teacher:
        rows["teacher"] = {
            "label": distillation.teacher.label,
            "paper_error": distillation.teacher.paper_error,
            "paper_gain": None,
        }
    # a list, since the order of the rows is part of the table and canonical JSON sorts keys
    order = [name for name in ("teacher", *distillation.active_methods) if name in rows]
    networks = [role.architecture for role in (distillation.teacher, distillation.student) if role]
    settings = {
        "rows": [{"name": name, **rows[name]} for name in order],
        "baseline": distillation.baseline,
        "trained": _described(distillation.training, *networks),
    }
    return _recipe("assemble_table1", settings)


# --- corruptions ---------------------------------------------------------------------------------------------------


def _corrupted(corruptions: Corruptions | None) -> dict[str, Any] | None:
    """Return what decides the pixels of the corrupted images, None where there are none; where they are kept does not."""
    if corruptions is None:
        return None
    return corruptions.model_dump(mode="json", include={"source", "names", "severities", "images", "seed"})


def keep_corruptions(corruptions: Corruptions) -> Recipe:
    return _recipe("keep_corruptions", corruptions.model_dump(mode="json", include={"names", "seed"}))


def draw_corruptions(corruptions: Corruptions) -> Recipe:
    return _recipe("draw_corruptions", _corrupted(corruptions) or {})


def draw_corruption_errors(methods: Mapping[str, Any]) -> Recipe:
    rows = _labels(methods)
    for row, method in zip(rows, methods.values(), strict=True):
        row["classifier"] = getattr(method, "classifier", None)  # embeddings have one, networks judge themselves
    return _recipe("draw_corruption_errors", {"rows": rows})


def draw_training_curves(methods: Mapping[str, Any]) -> Recipe:
    return _recipe("draw_training_curves", {"rows": _labels(methods)})


def _labels(methods: Mapping[str, Any]) -> list[dict[str, Any]]:
    # a list, since the order of the rows is part of a table or figure and canonical JSON sorts keys
    return [{"name": name, "label": method.label} for name, method in methods.items()]


# --- Section 4.2 ---------------------------------------------------------------------------------------------------


def _embedding_network(embedding: Embedding, method_name: str, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of an embedding's training, and the modules it chooses by name."""
    method = embedding.active_methods[method_name]
    settings = _network(embedding.architecture, embedding.training, seed) | {"loss": method.loss_module}
    chosen = [_module(embedding.architecture)]
    if method.loss == "cross_entropy":
        return settings, chosen
    settings |= {"options": method.options, "weight": method.weight, "dimensions": embedding.dimensions}
    return settings, [*chosen, f"lgg.losses.{method.loss_module}"]


def train_embedding(embedding: Embedding, method_name: str, seed: int) -> Recipe:
    settings, chosen = _embedding_network(embedding, method_name, seed)
    return _recipe("train_embedding", settings, *chosen)


def train_plane_embedding(embedding: Embedding, method_name: str) -> Recipe:
    if embedding.figure is None:
        raise ValueError("there is no Figure A1")
    settings, chosen = _embedding_network(embedding, method_name, embedding.figure.seed)
    if embedding.active_methods[method_name].loss == "cross_entropy":
        settings["architecture"]["bottleneck"] = 2
    else:
        settings["dimensions"] = 2
    return _recipe("train_plane_embedding", settings | {"epochs": embedding.figure_epochs}, *chosen)


def evaluate_embedding(embedding: Embedding, corruptions: Corruptions | None, method_name: str, seed: int) -> Recipe:
    method = embedding.active_methods[method_name]
    settings = {
        "seed": seed,
        "own_classifier": method.loss == "cross_entropy",
        "unit_length": getattr(method, "normalize_embeddings", False),
        "corruptions": _corrupted(corruptions),
    }
    return _recipe("evaluate_embedding", settings, _module(embedding.architecture))


def assemble_table2(embedding: Embedding, corruptions: Corruptions | None) -> Recipe:
    rows = [
        {
            "name": name,
            "label": method.label,
            "classifier": method.classifier,
            "paper": {
                "clean_error": method.paper_clean_error,
                "relative_mce": method.paper_relative_mce if _is_benchmark(corruptions) else None,
            },
        }
        for name, method in embedding.active_methods.items()
    ]
    trained = _described(embedding.training, embedding.architecture)
    return _recipe("assemble_table2", {"rows": rows, "baseline": embedding.baseline, "trained": trained})


def draw_figure_a1(embedding: Embedding) -> Recipe:
    chosen = {name: embedding.active_methods[name] for name in embedding.figure_methods}
    rows = _labels(chosen)
    for row, method in zip(rows, chosen.values(), strict=True):
        row["directional"] = getattr(method, "normalize_embeddings", False)
    return _recipe("draw_figure_a1", {"rows": rows, "epochs": embedding.figure_epochs})


# --- Section 4.3 ---------------------------------------------------------------------------------------------------


def _robust_network(robustness: Robustness, method_name: str, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a defended network's training, and the modules it chooses by name."""
    method = robustness.active_methods[method_name]
    settings = _network(robustness.architecture, robustness.training, seed)
    chosen = [_module(robustness.architecture)]
    given = {"regularizer": method.smoothness, "parseval": method.parseval, "adversarial": method.adversarial}
    used = {name: one.model_dump(mode="json") for name, one in given.items() if one}
    defences = [{"name": name, "options": options} for name, options in used.items()]
    return settings | {"defences": defences}, [*chosen, *(f"lgg.defences.{name}" for name in used)]


def train_robust_network(robustness: Robustness, method_name: str, seed: int) -> Recipe:
    settings, chosen = _robust_network(robustness, method_name, seed)
    return _recipe("train_robust_network", settings, *chosen)


def evaluate_robustness(robustness: Robustness) -> Recipe:
    settings = {"tests": robustness.tests.model_dump(mode="json")}
    return _recipe("evaluate_robustness", settings, _module(robustness.architecture))


def evaluate_corruptions(robustness: Robustness, corruptions: Corruptions | None) -> Recipe:
    settings = {"corruptions": _corrupted(corruptions)}
    return _recipe("evaluate_corruptions", settings, _module(robustness.architecture))


def assemble_table3(robustness: Robustness, corruptions: Corruptions | None, table: str) -> Recipe:
    """Return the recipe of one of Section 4.3's tables: "table3", "table3_supplement" or "robustness"."""
    methods = robustness.active_methods if table == "table3_supplement" else robustness.table_methods
    rows = [
        {
            "name": name,
            "label": method.label,
            "paper": _at_the_paper_s_constants(_paper(method, table), robustness.tests, corruptions),
            **method.model_dump(mode="json", include={"smoothness", "parseval", "adversarial"}),
        }
        for name, method in methods.items()
    ]
    settings = {
        "table": table,
        "rows": rows,
        "baseline": robustness.baseline,
        "tests": robustness.tests.model_dump(mode="json"),
        "trained": _described(robustness.training, robustness.architecture),
    }
    return _recipe("assemble_table3", settings)


def _paper(method: RobustMethod, table: str) -> dict[str, Any]:
    """Return the paper's figures for a row; the published networks' accuracies in the second robustness table."""
    if table == "robustness":
        return method.published.model_dump(mode="json") if method.published else {}
    return {
        "clean_error": method.paper_clean_error,
        "fgsm_normalized": method.paper_fgsm_error,
        "relative_mce": method.paper_relative_mce,
    }


def _at_the_paper_s_constants(
    paper: dict[str, Any], tests: RobustnessTests, corruptions: Corruptions | None
) -> dict[str, Any]:
    """Return the paper's figures without those that other constants than the configured ones belong to."""
    defaults = RobustnessTests()
    constants = {
        "fgsm_pixels": ("fgsm_snr",),
        "fgsm_normalized": ("fgsm_snr",),
        "gaussian_noise": ("noise_std",),
        "dropout": ("dropout_rate",),
        "quantized_weights": ("weight_bits",),
        "pgd": ("pgd",),
    }
    # whether PGD ends at the first success is a difference between the published code and this one, not a constant
    pgd = tests.pgd.model_copy(update={"stop_at_success": defaults.pgd.stop_at_success})
    tests = tests.model_copy(update={"pgd": pgd})
    alike = {
        metric: all(getattr(tests, key) == getattr(defaults, key) for key in keys) for metric, keys in constants.items()
    }
    alike["relative_mce"] = _is_benchmark(corruptions)
    return {metric: figure if alike.get(metric, True) else None for metric, figure in paper.items()}


def _is_benchmark(corruptions: Corruptions | None) -> bool:
    """Return whether all corruptions and severities of the benchmark are there, and no others."""
    whole = Corruptions()
    return corruptions is not None and all(
        sorted(getattr(corruptions, key)) == sorted(getattr(whole, key)) for key in ("names", "severities")
    )


def draw_snr_curves(robustness: Robustness) -> Recipe:
    settings = {"rows": _labels(robustness.table_methods), "fgsm_snr": robustness.tests.fgsm_snr}
    return _recipe("draw_snr_curves", settings)


def draw_layer_variation(robustness: Robustness) -> Recipe:
    return _recipe("draw_layer_variation", {"rows": _labels(robustness.watched_methods)})


def draw_weight_sweep(robustness: Robustness) -> Recipe:
    rows = [{"name": name, "weight": weight} for name, weight in robustness.sweep.items()]
    settings = {"rows": rows, "fgsm_snr": robustness.tests.fgsm_snr}
    return _recipe("draw_weight_sweep", settings)


# --- Appendix D ----------------------------------------------------------------------------------------------------


def measure_times(config: Config) -> Recipe:
    """Return the recipe of the measurements behind Table A1; ValueError where there is no `timing`."""
    timing = _timing(config)
    rows: list[dict[str, Any]] = []
    chosen: set[str] = set()
    for section, name in config.timed_methods:
        settings, modules, teacher = _timed(config, section, name)
        for defence in settings.get("defences", ()):
            if defence["name"] == "adversarial" and timing.adversarial:
                defence["options"] = timing.adversarial.model_dump(mode="json")
        rows.append({"name": f"{section}.{name}", "section": section, "recipe": settings, "teacher": teacher})
        chosen |= set(modules)
    return _recipe("measure_times", {"rows": rows, "rounds": timing.rounds, "steps": timing.steps}, *sorted(chosen))


def _timed(config: Config, section_name: str, name: str) -> tuple[dict[str, Any], list[str], Any]:
    """Return the settings of a training as far as its time depends on them, the modules it chooses, and its teacher."""
    section, teacher = getattr(config, section_name), None
    if section_name == "robustness":
        settings, chosen = _robust_network(section, name, 0)
    elif section_name == "embedding":
        settings, chosen = _embedding_network(section, name, 0)
    elif section.active_methods[name].loss == "none":
        architecture = section.student.architecture
        settings, chosen = _network(architecture, section.training, 0), [_module(architecture)]
    else:
        settings, chosen = _distilled(section, name, 0)
        teacher = section.teacher.architecture.built_with
    # neither how the learning rate goes nor the weight of a term takes time
    del settings["training"]["schedule"]
    for part in (settings, *(defence["options"] for defence in settings.get("defences", ()))):
        if "weight" in part:
            part["weight"] = 1.0
    return settings, chosen, teacher


def assemble_table_a1(config: Config) -> Recipe:
    """Return the recipe of Table A1; ValueError where there is no `timing`."""
    timing, attack = _timing(config), None
    rows = []
    for section_name, name in config.timed_methods:
        section = getattr(config, section_name)
        network = section.student.architecture if section_name == "distillation" else section.architecture
        method = section.active_methods[name]
        if getattr(method, "adversarial", None):
            attack = (timing.adversarial or method.adversarial).model_dump(mode="json")
        rows.append(
            {
                "name": f"{section_name}.{name}",
                "label": method.label,
                "network": network.model_dump(mode="json"),
                "baseline": f"{section_name}.{section.baseline}",
                "batch_size": section.training.batch_size,
                "epochs": section.training.epochs,
                "paper_epoch_seconds": getattr(method, "paper_epoch_seconds", None),
            }
        )
    return _recipe("assemble_table_a1", {"rows": rows, "adversarial": attack})


def _timing(config: Config) -> Timing:
    if config.timing is None:
        raise ValueError("there is no Table A1")
    return config.timing


def source_files(data: Data) -> list[str]:
    """Return the user's own files that the images are read from, whose change makes new images.

    Others beside them, such as those that a file manager leaves, change nothing.
    """
    if data.path is None or data.source not in ("arrays", "image_folder"):
        return []
    return [str(path) for path in own_files.source_files(data.source, Path(data.path))]


def source_state(data: Data) -> str:
    """Return a digest that differs where one of `source_files` was changed, added or taken away."""
    files = source_files(data)
    return own_files.state_of(map(Path, files)) if files else ""
