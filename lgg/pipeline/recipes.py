"""What each stage depends on: from the configuration, one canonical JSON string; from the package, a digest of code.

Snakemake compares both with those of the last run. A recipe holds just the settings that can change the stage's result:
no resources, no paths of results, and labels only of what shows them. What is in it is declared in
`lgg.pipeline.recipe_types`. Imports neither torch nor torchvision.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lgg import models
from lgg.data import own_files
from lgg.files import canonical_json
from lgg.pipeline import config as configuration
from lgg.pipeline import recipe_types as types
from lgg.pipeline.config import TEACHER, Config, Data, Embedding, Geometry, Paper, Robustness, Timing
from lgg.pipeline.config.embedding import EmbeddingMethod, LabelVariationEmbedding
from lgg.pipeline.config.methods import LossMethod, Method
from lgg.pipeline.config.networks import Network
from lgg.pipeline.config.paper import constants_of_the_paper
from lgg.pipeline.config.robustness import RobustMethod
from lgg.pipeline.digest import code_digest


@dataclass(frozen=True)
class Recipe:
    """The settings of a stage as canonical JSON, the digest of the code it runs, and the stage's name."""

    settings: str
    code: str
    stage: str


def _recipe(stage: str, settings: Mapping[str, Any], *chosen: str) -> Recipe:
    """Return the recipe of ``lgg.pipeline.stages.<stage>``, which loads the modules `chosen` by name."""
    return Recipe(_written(settings), code_digest(f"lgg.pipeline.stages.{stage}", *chosen), stage)


def _written(settings: Any) -> str:
    # Snakemake would take {name} in a label for a wildcard; JSON's own braces are followed by a quote or a brace
    return re.sub(r'\{(?=[^"}])', r"\\u007b", canonical_json(settings))


def prepare_data(config: Config) -> Recipe:
    # what the images are called changes none of them
    settings = cast(types.PrepareData, config.data.model_dump(mode="json", exclude={"cifar10"}))
    return _recipe("prepare_data", settings)


def _module(network: Network) -> str:
    """Return the module that holds the network, which stages load by its name."""
    return models.module_of(network.built_with["name"])


def _network(network: Network, training: configuration.Training) -> types.Network:
    """Return the settings of networks from any seeds.

    A seed that is in the paths of results is in no recipe: whether its network is trained alone or with others, in one job,
    Snakemake has to find the recipe to be the same.
    """
    settings: types.Network = {
        "architecture": network.built_with,
        "training": cast(types.Training, training.model_dump(mode="json")),
    }
    if start := network.digest_of():
        settings["start"] = start
    return settings


def _described(
    training: configuration.Training, *networks: Network, elsewhere: Mapping[str, Method] | None = None
) -> types.Trained:
    """Return how a table's networks were trained, and the rows that were trained elsewhere, for its legend."""
    described: types.Trained = {
        "architectures": [network.built_without_weights | _start(network) for network in networks],
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "augmentation": training.augmentation,
    }
    if elsewhere:
        described["elsewhere"] = [method.label for method in elsewhere.values()]
    return described


def _start(network: Network) -> dict[str, str]:
    """Return what a legend adds to the name of a network whose training starts from given weights."""
    digest = network.digest_of()
    if digest is None:
        return {}
    return {"starting from": "published weights" if network.downloaded else f"weights {digest[:12]}"}


# --- networks of your own -------------------------------------------------------------------------------------------


def load_network(network: Network, seed: int | None = None) -> Recipe:
    """Return the recipe of a network that was trained elsewhere, of one of several from `seed`."""
    return _recipe("load_network", _loaded(network, seed), _module(network))


def load_robust_network(robustness: Robustness, method_name: str, seed: int) -> Recipe:
    """Return the recipe of a network of Section 4.3 that was trained elsewhere."""
    network, defences = robustness.network_of(method_name), _defences(robustness.active_methods[method_name])
    settings: types.LoadNetwork = {**_loaded(network, seed), "defences": defences}
    return _recipe("load_network", settings, _module(network), *_defence_modules(defences))


def _loaded(network: Network, seed: int | None) -> types.LoadNetwork:
    weights = network.digest_of(seed)
    if weights is None:
        raise ValueError("the network has no weights")
    return {"architecture": network.built_with, "weights": weights}


def published(config: Config) -> dict[str, Network]:
    """Return the networks whose published weights are downloaded, by the names of the files without their ending."""
    networks = [part.network for part in (config.geometry, config.embedding, config.robustness) if part]
    if config.distillation:
        networks += [role.network for role in (config.distillation.teacher, config.distillation.student) if role]
    return {Path(network.downloaded).stem: network for network in networks if network.downloaded}


def download_weights(network: Network) -> Recipe:
    built = network.architecture.built_with
    settings: types.DownloadWeights = {"name": built["name"], "model": built["model"]}
    # no digest: editing the code must not discard a download
    return Recipe(_written(settings), "", "download_weights")


@dataclass(frozen=True)
class Checked:
    """A row of which the networks are built before any training, and their files of weights.

    Attributes:
        settings: of the check.
        modules: what is chosen by name.
        weights: files, as `settings` has their digests.
        downloads: those of them that are downloaded.
    """

    settings: types.CheckNetworks
    modules: Sequence[str]
    weights: Sequence[str]
    downloads: Sequence[str]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the check, no part of which can change where the recipe of the row's training stays the same.

        So a check that is repeated never repeats a training that would have stayed. That is why the code of the check itself
        is not counted.
        """
        return Recipe(_written(self.settings), code_digest(*self.modules), "check_networks")


def checked(config: Config) -> dict[str, Checked]:
    """Return what is checked, by row: networks of other libraries, of files of your own, and with weights from elsewhere."""
    found = [*_checked_geometry(config), *_checked_distillation(config)]
    found += [*_checked_embedding(config), *_checked_robustness(config)]
    return {one.settings["name"]: one for one in found}


def _check(
    name: str,
    network: Network,
    *,
    settings: Mapping[str, Any],
    modules: Sequence[str] = (),
    teacher: Network | None = None,
    is_trained_here: bool = True,
    seeds: Sequence[int] = (),
) -> Checked:
    """Return the check of one row.

    Args:
        name: of the row.
        network: its network.
        settings: of the training or the loading.
        modules: what the row chooses by name.
        teacher: the network that it learns from.
        is_trained_here: whether it is trained by the run.
        seeds: of networks that were trained elsewhere.
    """
    every: Sequence[int | None] = seeds or [None]
    paths = [path for seed in every if (path := network.weights_of(seed))]
    step = {key: value for key, value in settings.items() if key in types.CheckedStep.__annotations__}
    row: types.CheckNetworks = {
        "name": name,
        "architecture": settings.get("architecture", network.built_with),
        "weights": [digest for seed in every if (digest := network.digest_of(seed))],
        "is_trained_here": is_trained_here,
        "teacher": teacher.built_without_weights if teacher else None,
        "step": cast(types.CheckedStep, step),
    }
    return Checked(row, [*modules] or [_module(network)], paths, paths if network.downloaded else [])


def _checked_geometry(config: Config) -> Iterator[Checked]:
    geometry = config.geometry
    if geometry and geometry.network.is_checked:
        training = _network(geometry.network, geometry.training)
        yield _check("geometry", geometry.network, settings=training, is_trained_here=geometry.is_trained_here)


def _checked_distillation(config: Config) -> Iterator[Checked]:
    distillation = config.distillation
    if distillation is None:
        return
    teacher, seeds = distillation.teacher, config.seeds_of("distillation")
    if teacher and teacher.network.is_checked:
        training = _network(teacher.network, distillation.training)
        here = teacher.is_trained_here
        yield _check(f"distillation.{TEACHER}", teacher.network, settings=training, is_trained_here=here)
    for name, method in distillation.active_methods.items():
        network, row = distillation.network_of(name), f"distillation.{name}"
        if method.trained is not None:
            yield _check(row, network, settings={}, is_trained_here=False, seeds=seeds)
        elif teacher and method.learns_from_teacher:
            if network.is_checked or teacher.network.is_checked:
                distilled, modules = _distilled(distillation, name)
                yield _check(row, network, settings=distilled, modules=modules, teacher=teacher.network)
        elif network.is_checked:
            yield _check(row, network, settings=_network(network, distillation.training))


def _checked_embedding(config: Config) -> Iterator[Checked]:
    embedding = config.embedding
    if embedding is None or not embedding.network.is_checked:
        return
    for name in embedding.active_methods:
        settings, modules = _embedding_network(embedding, name)
        yield _check(f"embedding.{name}", embedding.network, settings=settings, modules=modules)
    for name in embedding.figure_methods:
        settings, modules = _plane_network(embedding, name)
        yield _check(f"embedding.figure.{name}", embedding.network, settings=settings, modules=modules)


def _checked_robustness(config: Config) -> Iterator[Checked]:
    robustness = config.robustness
    for name, method in robustness.active_methods.items() if robustness else ():
        assert robustness is not None
        network, row = robustness.network_of(name), f"robustness.{name}"
        if method.trained is not None:
            seeds = robustness.seeds_needed(name, config.seeds_of("robustness"))
            defences = _defences(method)
            modules = [_module(network), *_defence_modules(defences)]
            shared: dict[str, Any] = {"settings": {"defences": defences}, "modules": modules}
            yield _check(row, network, is_trained_here=False, seeds=seeds, **shared)
        elif network.is_checked:
            settings, modules = _robust_network(robustness, name)
            yield _check(row, network, settings=settings, modules=modules)


# --- Section 3.3 ---------------------------------------------------------------------------------------------------


def train_reference_network(geometry: Geometry) -> Recipe:
    settings: types.TrainNetwork = {**_network(geometry.network, geometry.training), "seed": geometry.seed}
    return _recipe("train_network", settings, _module(geometry.network))


def evaluate_geometry(geometry: Geometry) -> Recipe:
    keys = set(types.EvaluateGeometry.__annotations__)
    settings = cast(types.EvaluateGeometry, geometry.model_dump(mode="json", include=keys))
    return _recipe("evaluate_geometry", settings, _module(geometry.network))


def rows_of_checks(config: Config) -> dict[str, Any]:
    """Return, by row, the settings of its check and its files of weights: what a check that finds a mistake looks at, too."""
    return {name: {"recipe": one.settings, "weights": list(one.weights)} for name, one in checked(config).items()}


def list_networks() -> Recipe:
    settings: types.ListNetworks = {}
    return _recipe("list_networks", settings)


def draw_figure1(geometry: Geometry) -> Recipe:
    settings: types.DrawFigure1 = {"architecture": geometry.network.built_without_weights}
    return _recipe("draw_figure1", settings, _module(geometry.network))


def draw_figure2() -> Recipe:
    settings: types.DrawFigure2 = {}
    return _recipe("draw_figure2", settings)


def draw_graph_depths() -> Recipe:
    settings: types.DrawGraphDepths = {}
    return _recipe("draw_graph_depths", settings)


# --- Section 4.1 ---------------------------------------------------------------------------------------------------


def train_teacher(distillation: configuration.Distillation) -> Recipe:
    teacher = distillation.teacher
    if teacher is None:
        raise ValueError("there is no teacher")
    settings: types.TrainNetwork = {**_network(teacher.network, distillation.training), "seed": teacher.seed}
    return _recipe("train_network", settings, _module(teacher.network))


def train_student(distillation: configuration.Distillation) -> Recipe:
    network = distillation.student.network
    settings: types.TrainNetwork = {**_network(network, distillation.training)}
    return _recipe("train_network", settings, _module(network))


def _distilled(distillation: configuration.Distillation, method_name: str) -> tuple[types.DistillStudent, list[str]]:
    """Return the settings of a student's training with a teacher, and the modules it chooses by name."""
    method = distillation.active_methods[method_name]
    if method.loss == "none":
        raise ValueError(f"{method.label} has no teacher")
    network, teacher = distillation.student.network, distillation.teacher
    settings: types.DistillStudent = {
        **_network(network, distillation.training),
        "loss": method.loss_module,
        "options": method.options,
        "weight": method.weight,
        "layers": method.compared_layers,
    }
    networks = {_module(network)} | ({_module(teacher.network)} if teacher else set())
    return settings, [f"lgg.losses.{method.loss_module}", *sorted(networks)]


def distill_student(distillation: configuration.Distillation, method_name: str) -> Recipe:
    settings, chosen = _distilled(distillation, method_name)
    return _recipe("distill_student", settings, *chosen)


def evaluate_network(network: Network) -> Recipe:
    settings: types.EvaluateNetwork = {}
    return _recipe("evaluate_network", settings, _module(network))


def assemble_table1(distillation: configuration.Distillation, paper: Paper) -> Recipe:
    teacher = distillation.teacher
    labels = {TEACHER: teacher.label} if teacher else {}
    labels |= {name: method.label for name, method in distillation.active_methods.items()}
    figures = {name: paper.row("table1", name) for name in labels}
    if "gain" in figures[distillation.baseline]:  # so the paper's gains are over another baseline
        figures = {name: {key: one for key, one in row.items() if key != "gain"} for name, row in figures.items()}
    rows: list[types.PaperRow] = [
        {"name": name, "label": label, "paper": figures[name]} for name, label in labels.items()
    ]
    networks = [teacher.network] if teacher and teacher.is_trained_here else []
    networks += [distillation.student.network] if distillation.trained_here else []
    elsewhere: dict[str, Any] = {} if teacher is None or teacher.is_trained_here else {TEACHER: teacher}
    settings: types.AssembleTable1 = {
        "rows": rows,
        "baseline": distillation.baseline,
        "teacher": TEACHER if teacher else None,
        "trained": _described(distillation.training, *networks, elsewhere=elsewhere | distillation.trained_elsewhere),
    }
    return _recipe("assemble_table1", settings)


# --- corruptions ---------------------------------------------------------------------------------------------------


def _corrupted(corruptions: configuration.Corruptions) -> types.Corruptions:
    """Return what decides the pixels of the corrupted images; where they are kept does not."""
    keys = set(types.Corruptions.__annotations__)
    return cast(types.Corruptions, corruptions.model_dump(mode="json", include=keys))


def keep_corruptions(corruptions: configuration.Corruptions) -> Recipe:
    settings: types.KeepCorruptions = {"names": list(corruptions.names), "seed": corruptions.seed}
    return _recipe("keep_corruptions", settings)


def draw_corruptions(corruptions: configuration.Corruptions) -> Recipe:
    settings: types.DrawCorruptions = {**_corrupted(corruptions)}
    return _recipe("draw_corruptions", settings)


def draw_corruption_errors(methods: Mapping[str, Method]) -> Recipe:
    rows: list[types.ErrorsRow] = [
        # embeddings have a classifier, networks classify themselves
        {**row, "classifier": getattr(methods[row["name"]], "classifier", None)}
        for row in _labels(methods)
    ]
    settings: types.DrawCorruptionErrors = {"rows": rows}
    return _recipe("draw_corruption_errors", settings)


def draw_training_curves(methods: Mapping[str, Method]) -> Recipe:
    settings: types.DrawTrainingCurves = {"rows": _labels(methods)}
    return _recipe("draw_training_curves", settings)


def draw_embedding_training(embedding: Embedding) -> Recipe:
    rows: list[types.LearningRow] = []
    for row in _labels(embedding.active_methods):
        method = embedding.active_methods[row["name"]]
        levels = isinstance(method, LabelVariationEmbedding) and method.normalize_embeddings is not False
        rows.append({**row, "options": method.options if levels else None})
    settings: types.DrawEmbeddingTraining = {
        "rows": rows,
        "dimensions": embedding.dimensions,
        "batch_size": embedding.training.batch_size,
    }
    return _recipe("draw_embedding_training", settings)


def _labels(methods: Mapping[str, Method]) -> list[types.Row]:
    # a list, since the order of the rows is part of a table or figure and canonical JSON sorts keys
    return [{"name": name, "label": method.label} for name, method in methods.items()]


# --- Section 4.2 ---------------------------------------------------------------------------------------------------


def _embedding_network(embedding: Embedding, method_name: str) -> tuple[types.TrainEmbedding, list[str]]:
    """Return the settings of an embedding's training, and the modules it chooses by name."""
    network = _network(embedding.network, embedding.training)
    return _with_loss(network, embedding, embedding.active_methods[method_name], embedding.dimensions)


def _with_loss(
    network: types.Network, embedding: Embedding, method: EmbeddingMethod, dimensions: int | None
) -> tuple[types.TrainEmbedding, list[str]]:
    """Return a network's settings with those of a method's loss, and the modules that are chosen by name."""
    settings = cast(types.TrainEmbedding, {**network, "loss": method.loss_module})
    chosen = [_module(embedding.network)]
    if method.loss == "cross_entropy":
        return settings, chosen
    settings |= {"options": method.options, "weight": method.weight, "dimensions": dimensions}
    return settings, [*chosen, f"lgg.losses.{method.loss_module}"]


def train_embedding(embedding: Embedding, method_name: str) -> Recipe:
    settings, chosen = _embedding_network(embedding, method_name)
    return _recipe("train_embedding", settings, *chosen)


def _plane_network(embedding: Embedding, method_name: str) -> tuple[types.TrainEmbedding, list[str]]:
    """Return what `_embedding_network` does, for a network whose embeddings have two dimensions."""
    method = embedding.figure_methods[method_name]
    settings, chosen = _with_loss(_network(embedding.network, embedding.figure_training), embedding, method, 2)
    if method.loss == "cross_entropy":
        settings["architecture"]["bottleneck"] = 2
    return settings, chosen


def train_plane_embedding(embedding: Embedding, method_name: str) -> Recipe:
    if embedding.figure is None:
        raise ValueError("there is no Figure A1")
    network, chosen = _plane_network(embedding, method_name)
    settings: types.TrainPlaneEmbedding = {
        **network,
        "seed": embedding.figure.seed,
        "epochs": embedding.figure_epochs,
        "normalize_embeddings": _normalization(embedding.figure_methods[method_name]),
    }
    return _recipe("train_plane_embedding", settings, *chosen)


def evaluate_embedding(
    embedding: Embedding, corruptions: configuration.Corruptions | None, method_name: str, seed: int
) -> Recipe:
    method = embedding.active_methods[method_name]
    settings: types.EvaluateEmbedding = {
        "seed": seed,
        "own_classifier": method.loss == "cross_entropy",
        "normalize_embeddings": _normalization(method),
        "corruptions": _corrupted(corruptions) if corruptions else None,
    }
    return _recipe("evaluate_embedding", settings, _module(embedding.network))


def _normalization(method: LossMethod) -> types.Normalization:
    return getattr(method, "normalize_embeddings", False)


def assemble_table2(embedding: Embedding, corruptions: configuration.Corruptions | None, paper: Paper) -> Recipe:
    constants = constants_of_the_paper(None, corruptions)
    rows: list[types.Table2Row] = [
        {
            "name": name,
            "label": method.label,
            "classifier": method.classifier,
            "paper": paper.row("table2", name, constants),
        }
        for name, method in embedding.active_methods.items()
    ]
    settings: types.AssembleTable2 = {
        "rows": rows,
        "baseline": embedding.baseline,
        "trained": _described(embedding.training, embedding.network),
    }
    return _recipe("assemble_table2", settings)


def draw_figure_a1(embedding: Embedding) -> Recipe:
    methods = embedding.figure_methods
    rows: list[types.EmbeddedRow] = [
        {**row, "directional": _normalization(methods[row["name"]]) is True} for row in _labels(methods)
    ]
    settings: types.DrawFigureA1 = {"rows": rows, "epochs": embedding.figure_epochs}
    return _recipe("draw_figure_a1", settings)


# --- Section 4.3 ---------------------------------------------------------------------------------------------------


def _defences(method: RobustMethod) -> list[types.Defence]:
    return [{"name": defence.module, "options": defence.options} for defence in method.defences]


def _defence_modules(defences: Iterable[types.Defence]) -> list[str]:
    return [f"lgg.defences.{name}" for name in sorted({one["name"] for one in defences})]


def _robust_network(robustness: Robustness, method_name: str) -> tuple[types.TrainRobustNetwork, list[str]]:
    """Return the settings of a defended network's training, and the modules it chooses by name."""
    defences = _defences(robustness.active_methods[method_name])
    network = robustness.network_of(method_name)
    settings: types.TrainRobustNetwork = {**_network(network, robustness.training), "defences": defences}
    return settings, [_module(network), *_defence_modules(defences)]


def train_robust_network(robustness: Robustness, method_name: str) -> Recipe:
    settings, chosen = _robust_network(robustness, method_name)
    return _recipe("train_robust_network", settings, *chosen)


def _tests(robustness: Robustness) -> types.Tests:
    return cast(types.Tests, robustness.tests.model_dump(mode="json"))


def evaluate_robustness(robustness: Robustness, method_name: str | None = None) -> Recipe:
    """Return the recipe of a method's evaluation; of the baseline's if none is named."""
    settings: types.EvaluateRobustness = {"tests": _tests(robustness)}
    # transferred attacks are crafted on a network of the baseline
    names = (method_name or robustness.baseline, robustness.baseline)
    modules = sorted({_module(robustness.network_of(name)) for name in names})
    return _recipe("evaluate_robustness", settings, *modules)


def evaluate_corruptions(
    robustness: Robustness, corruptions: configuration.Corruptions, method_name: str | None = None
) -> Recipe:
    """Return the recipe of a method's evaluation; of the baseline's if none is named."""
    settings: types.EvaluateCorruptions = {"corruptions": _corrupted(corruptions)}
    network = robustness.network_of(method_name or robustness.baseline)
    return _recipe("evaluate_corruptions", settings, _module(network))


def assemble_table3(
    robustness: Robustness, corruptions: configuration.Corruptions | None, table: types.RobustnessTable, paper: Paper
) -> Recipe:
    """Return the recipe of one of Section 4.3's tables."""
    methods = robustness.active_methods if table == "table3_supplement" else robustness.table_methods
    figures_of = "robustness" if table == "robustness" else "table3"
    constants = constants_of_the_paper(robustness.tests, corruptions)
    rows: list[types.Table3Row] = [
        {
            "name": name,
            "label": method.label,
            "paper": paper.row(figures_of, name, constants),
            "defences": _defences(method),
        }
        for name, method in methods.items()
    ]
    here = [name for name, method in methods.items() if method.trained is None]
    networks = [robustness.network_of(name) for name in here[:1]]  # the same for all of them
    elsewhere = {name: method for name, method in methods.items() if method.trained is not None}
    settings: types.AssembleTable3 = {
        "table": table,
        "rows": rows,
        "baseline": robustness.baseline,
        "tests": _tests(robustness),
        "trained": _described(robustness.training, *networks, elsewhere=elsewhere),
    }
    return _recipe("assemble_table3", settings, *_defence_modules(one for row in rows for one in row["defences"]))


def draw_snr_curves(robustness: Robustness) -> Recipe:
    settings: types.DrawSnrCurves = {
        "rows": _labels(robustness.table_methods),
        "fgsm_snr": robustness.tests.fgsm_snr,
    }
    return _recipe("draw_snr_curves", settings)


def draw_layer_variation(robustness: Robustness) -> Recipe:
    settings: types.DrawLayerVariation = {"rows": _labels(robustness.watched_methods)}
    return _recipe("draw_layer_variation", settings)


def draw_weight_sweep(robustness: Robustness) -> Recipe:
    rows: list[types.SweepRow] = [{"name": name, "weight": weight} for name, weight in robustness.sweep.items()]
    settings: types.DrawWeightSweep = {"rows": rows, "fgsm_snr": robustness.tests.fgsm_snr}
    return _recipe("draw_weight_sweep", settings)


# --- Appendix D ----------------------------------------------------------------------------------------------------


def measure_times(config: Config) -> Recipe:
    """Return the recipe of the measurements behind Table A1; ValueError where there is no `timing`."""
    timing = _timing(config)
    rows: list[types.TimedRow] = []
    chosen: set[str] = set()
    for section, name in config.timed_methods:
        network, modules = _timed(config, section, name)
        teacher = _timed_teacher(config, section, name)
        row = {"name": f"{section}.{name}", "section": section, "recipe": network, "teacher": teacher}
        rows.append(cast(types.TimedRow, row))
        chosen |= set(modules)
    settings: types.MeasureTimes = {"rows": rows, "rounds": timing.rounds, "steps": timing.steps}
    return _recipe("measure_times", settings, *sorted(chosen))


def _timed(config: Config, section: str, name: str) -> tuple[types.TimedNetwork, list[str]]:
    """Return the settings of a training as far as its time depends on them, and the modules it chooses."""
    settings: Mapping[str, Any]
    if section == "robustness" and config.robustness:
        settings, chosen = _robust_network(config.robustness, name)
        settings = {**settings, "defences": [_timed_defence(one, _timing(config)) for one in settings["defences"]]}
    elif section == "embedding" and config.embedding:
        settings, chosen = _embedding_network(config.embedding, name)
    elif config.distillation and config.distillation.active_methods[name].loss == "none":
        network = config.distillation.student.network
        settings, chosen = _network(network, config.distillation.training), [_module(network)]
    elif config.distillation:
        settings, chosen = _distilled(config.distillation, name)
    # neither how the learning rate goes nor the weight of a term takes time, nor what the network knows
    training = {key: settings["training"][key] for key in types.TimedTraining.__annotations__}
    weight = {"weight": 1.0} if "weight" in settings else {}
    timed = {key: value for key, value in settings.items() if key != "start"}
    if "start" in settings:
        timed["architecture"] = _network_of(config, section, name).built_without_weights
    return cast(types.TimedNetwork, {**timed, "training": training, **weight}), chosen


def _network_of(config: Config, section: str, name: str) -> Network:
    part = getattr(config, section)
    network: Network = part.network if section == "embedding" else part.network_of(name)
    return network


def _timed_defence(defence: types.Defence, timing: Timing) -> types.Defence:
    """Return a defence as it is timed: the regularizer with weight 1, the attack of `timing` where there is one."""
    options = defence["options"]
    if defence["name"] == "regularizer":
        options = options | {"weight": 1.0}
    if defence["name"] == "adversarial" and timing.adversarial:
        options = timing.adversarial.model_dump(mode="json")
    return {"name": defence["name"], "options": options}


def _timed_teacher(config: Config, section: str, name: str) -> types.Architecture | None:
    """Return the network of the teacher that a timed training has, None without one."""
    distillation = config.distillation if section == "distillation" else None
    if distillation is None or distillation.teacher is None or distillation.active_methods[name].loss == "none":
        return None
    return distillation.teacher.network.built_without_weights


def assemble_table_a1(config: Config, paper: Paper) -> Recipe:
    """Return the recipe of Table A1; ValueError where there is no `timing`."""
    timing = _timing(config)
    attack: configuration.TrainingAttack | None = None
    rows: list[types.TimesRow] = []
    for section_name, name in config.timed_methods:
        section = getattr(config, section_name)
        network = _network_of(config, section_name, name)
        method = section.active_methods[name]
        if isinstance(method, RobustMethod) and method.adversarial:
            attack = timing.adversarial or method.adversarial
        row = f"{section_name}.{name}"
        rows.append(
            {
                "name": row,
                "label": method.label,
                "network": network.built_without_weights,
                "baseline": f"{section_name}.{section.baseline}",
                "batch_size": section.training.batch_size,
                "epochs": section.training.epochs,
                "paper": paper.row("tableA1", row),
            }
        )
    keys = set(types.TrainingAttack.__annotations__)
    adversarial = cast(types.TrainingAttack, attack.model_dump(mode="json", include=keys)) if attack else None
    settings: types.AssembleTableA1 = {"rows": rows, "adversarial": adversarial}
    return _recipe("assemble_table_a1", settings)


def _timing(config: Config) -> Timing:
    if config.timing is None:
        raise ValueError("there is no Table A1")
    return config.timing


# --- files ---------------------------------------------------------------------------------------------------------


def source_files(data: Data) -> list[str]:
    """Return the user's own files that the images are read from, whose change makes new images.

    Other files in the folder, such as those that a file manager leaves, change nothing.
    """
    if data.path is None or data.source not in ("arrays", "image_folder"):
        return []
    return own_files.source_files(data.source, Path(data.path))


def source_state(data: Data) -> str:
    """Return a digest that differs where one of `source_files` was changed, added or removed."""
    files = source_files(data)
    return own_files.state_of(files) if files else ""
