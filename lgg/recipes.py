"""What each stage depends on: from the configuration, one canonical JSON string; from the package, a digest of code.

Snakemake compares both with those of the last run. A recipe holds just the settings that can change the stage's result:
no labels, no resources, no paths of results. Imports neither torch nor torchvision.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgg import models
from lgg.config import Config, Data, Geometry, Training
from lgg.config import Distillation as DistillationConfig
from lgg.digest import code_digest
from lgg.files import canonical_json


@dataclass(frozen=True)
class Recipe:
    """The settings of a stage as canonical JSON, and the digest of the code it runs."""

    settings: str
    code: str


def _recipe(stage: str, settings: dict[str, Any], *chosen: str) -> Recipe:
    """Return the recipe of ``lgg.stages.<stage>``, which loads the modules `chosen` by name."""
    return Recipe(canonical_json(settings), code_digest(f"lgg.stages.{stage}", *chosen))


def prepare_data(config: Config) -> Recipe:
    return _recipe("prepare_data", config.data.model_dump(mode="json"))


def _network(architecture: Any, training: Training, seed: int) -> dict[str, Any]:
    return {
        "architecture": architecture.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": seed,
    }


def train_teacher(distillation: DistillationConfig) -> Recipe:
    teacher = distillation.teacher
    if teacher is None:
        raise ValueError("there is no teacher")
    settings = _network(teacher.architecture, distillation.training, teacher.seed)
    return _recipe("train_network", settings, models.module_of(teacher.architecture.name))


def train_student(distillation: DistillationConfig, seed: int) -> Recipe:
    architecture = distillation.student.architecture
    settings = _network(architecture, distillation.training, seed)
    return _recipe("train_network", settings, models.module_of(architecture.name))


def distill_student(distillation: DistillationConfig, method_name: str, seed: int) -> Recipe:
    method = distillation.active_methods[method_name]
    architecture = distillation.student.architecture
    settings = _network(architecture, distillation.training, seed) | {
        "loss": method.loss,
        "options": method.options,
        "weight": getattr(method, "weight"),  # noqa: B009 — every method with a teacher has one
        "layers": method.compared_layers,
    }
    teacher = distillation.teacher
    networks = {architecture.name} | ({teacher.architecture.name} if teacher else set())
    return _recipe(
        "distill_student", settings, f"lgg.losses.{method.loss}", *(models.module_of(name) for name in sorted(networks))
    )


def evaluate_networks(architecture: Any, seeds: list[int]) -> Recipe:
    return _recipe("evaluate_networks", {"seeds": seeds}, models.module_of(architecture.name))


def train_reference_network(geometry: Geometry) -> Recipe:
    settings = _network(geometry.architecture, geometry.training, geometry.seed)
    return _recipe("train_network", settings, models.module_of(geometry.architecture.name))


def evaluate_geometry(geometry: Geometry) -> Recipe:
    settings = geometry.model_dump(mode="json", include={"classes", "images_per_class", "k", "draws", "draw_seed"})
    return _recipe("evaluate_geometry", settings, models.module_of(geometry.architecture.name))


def draw_figure1(geometry: Geometry) -> Recipe:
    settings = {"architecture": geometry.architecture.model_dump(mode="json")}
    return _recipe("draw_figure1", settings, models.module_of(geometry.architecture.name))


def draw_figure2() -> Recipe:
    return _recipe("draw_figure2", {})


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
    settings = {"rows": [{"name": name, **rows[name]} for name in order], "baseline": distillation.baseline}
    return _recipe("assemble_table1", settings)


def source_files(data: Data) -> list[str]:
    """Return the people's own files that the images come from, whose change makes new images."""
    if data.path is None or data.source not in ("arrays", "image_folder"):
        return []
    pattern = "*.npz" if data.source == "arrays" else "*/*/*"
    return sorted(str(path) for path in Path(data.path).glob(pattern) if path.is_file())
