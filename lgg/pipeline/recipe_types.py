"""What is in each recipe, by stage: the same type where `lgg.pipeline.recipes` writes it and where the stage reads it.

A class is named after its stage, `TrainRobustNetwork` for ``lgg.pipeline.stages.train_robust_network``; the others are parts
of several.
"""

from typing import Any, Literal, NotRequired, TypedDict

#: what `lgg.models.build` is given, but for what the images decide: the network's name and its own arguments
Architecture = dict[str, Any]
#: arguments of a loss or a defence
Options = dict[str, Any]
#: of embeddings: none, unit length (True), or mean 0 and variance 1 of each dimension
Normalization = bool | Literal["batch"]


# --- data ---------------------------------------------------------------------------------------------------------------


class PrepareData(TypedDict):
    source: Literal["photo_patches", "digits", "cifar10", "cifar100", "torchvision", "arrays", "image_folder"]
    dataset: str | None
    path: str | None
    image_size: int
    train_images: int | None
    test_images: int | None
    validation_images: int | None
    seed: int
    class_names: list[str] | None
    mean: list[float] | None
    std: list[float] | None


class Corruptions(TypedDict):
    """What decides the pixels of corrupted images."""

    source: Literal["generated", "cifar10_c"]
    names: list[str]
    severities: list[int]
    images: int | None
    seed: int


class KeepCorruptions(TypedDict):
    names: list[str]
    seed: int


class DrawCorruptions(Corruptions):
    pass


class DownloadCorruptions(TypedDict):
    pass


# --- training -----------------------------------------------------------------------------------------------------------


class Phase(TypedDict):
    epochs: float
    learning_rate: float | list[float]
    shape: Literal["linear", "cosine"]
    fresh_optimizer: bool


class Sgd(TypedDict):
    name: Literal["sgd"]
    momentum: float
    nesterov: bool
    weight_decay: float
    decay_norms: bool


class AdamW(TypedDict):
    name: Literal["adamw"]
    betas: list[float]
    epsilon: float
    weight_decay: float
    decay_norms: bool


class TimedTraining(TypedDict):
    """What decides the time of a step."""

    optimizer: Sgd | AdamW
    batch_size: int
    augmentation: Literal["crop_and_flip", "random_resized_crop", "trivial_augment", "none"]
    label_smoothing: float
    gradient_clipping: float | None
    precision: Literal["float32", "bfloat16", "auto"]


class Training(TimedTraining):
    schedule: list[Phase]


class Network(TypedDict):
    """A network and its training."""

    architecture: Architecture
    training: Training
    #: of the only network of its kind; the seeds of others are the option ``--seeds`` of a job
    seed: NotRequired[int]
    #: SHA-256 of the file of weights that training starts from, or "published"; random weights without it
    start: NotRequired[str]


class TrainNetwork(Network):
    pass


# --- Section 4.1 --------------------------------------------------------------------------------------------------------


class Loss(TypedDict):
    """A loss of lgg.losses by its module, and its weight next to cross-entropy, where that is a part."""

    loss: str
    options: Options
    weight: float


class DistillationLoss(Loss):
    #: each a name in both networks, or one in the teacher and one in the student
    layers: list[str | list[str]] | None


class DistillStudent(Network, DistillationLoss):
    pass


# --- Section 4.2 --------------------------------------------------------------------------------------------------------


class EmbeddingLoss(TypedDict):
    """A loss of embeddings and how many dimensions they have; of cross-entropy, the name alone."""

    loss: str
    options: NotRequired[Options]
    weight: NotRequired[float]
    dimensions: NotRequired[int | None]


class TrainEmbedding(Network, EmbeddingLoss):
    pass


class TrainPlaneEmbedding(TrainEmbedding):
    epochs: list[int]
    normalize_embeddings: Normalization


# --- Section 4.3 --------------------------------------------------------------------------------------------------------


class Defence(TypedDict):
    """A defence of lgg.defences by its module."""

    name: str
    options: Options


class Defended(TypedDict):
    defences: list[Defence]


class TrainRobustNetwork(Network, Defended):
    pass


# --- networks that were trained elsewhere --------------------------------------------------------------------------------


class LoadNetwork(TypedDict):
    architecture: Architecture
    #: SHA-256 of the file of weights, or "published"
    weights: str
    #: of Section 4.3
    defences: NotRequired[list[Defence]]


class CheckedStep(TypedDict, total=False):
    """What decides whether a network can be trained as its row is."""

    loss: str
    options: Options
    weight: float
    layers: list[str | list[str]] | None
    dimensions: int | None
    defences: list[Defence]


class CheckNetworks(TypedDict):
    """A row of a table, or a network that there is once."""

    #: as in the configuration: geometry, distillation.teacher, robustness.baseline …
    name: str
    architecture: Architecture
    #: as `Network.start`; of a network that is not trained here, one for each seed
    weights: list[str]
    is_trained_here: bool
    teacher: Architecture | None
    step: CheckedStep


class ListNetworks(TypedDict):
    pass


class DownloadWeights(TypedDict):
    name: Literal["torchvision", "timm"]
    model: str


# --- evaluation ---------------------------------------------------------------------------------------------------------


class EvaluateNetwork(TypedDict):
    pass


class EvaluateGeometry(TypedDict):
    classes: int
    images_per_class: int
    k: int
    similarity: Literal["cosine", "rbf", "rbf_squared"]
    draws: int
    draw_seed: int


class EvaluateEmbedding(TypedDict):
    seed: int
    own_classifier: bool
    normalize_embeddings: Normalization
    corruptions: Corruptions | None


class Pgd(TypedDict):
    epsilon: float
    step_size: float
    steps: int
    restarts: int
    loss: Literal["cross_entropy", "logit_difference"]
    stop_at_success: bool


class Tests(TypedDict):
    images: int | None
    seed: int
    transfer_seed: int
    fgsm_snr: float
    curve_snrs: list[float]
    noise_std: float
    dropout_rate: float
    weight_bits: int
    pgd: Pgd
    strong_pgd: Pgd
    deepfool_images: int


class EvaluateRobustness(TypedDict):
    tests: Tests


class EvaluateCorruptions(TypedDict):
    corruptions: Corruptions


# --- tables -------------------------------------------------------------------------------------------------------------


class Row(TypedDict):
    name: str
    label: str


class Trained(TypedDict):
    """How the networks of a table were trained, for its legend."""

    architectures: list[Architecture]
    epochs: int
    batch_size: int
    augmentation: str
    #: labels of rows that were trained elsewhere, where there are any
    elsewhere: NotRequired[list[str]]


class PaperRow(Row):
    #: the paper's figures by measure
    paper: dict[str, float]


class AssembleTable1(TypedDict):
    rows: list[PaperRow]
    baseline: str
    #: name of the teacher's row, where there is a teacher
    teacher: str | None
    trained: Trained


class Table2Row(PaperRow):
    classifier: str


class AssembleTable2(TypedDict):
    rows: list[Table2Row]
    baseline: str
    trained: Trained


class Table3Row(PaperRow):
    defences: list[Defence]


RobustnessTable = Literal["table3", "table3_supplement", "robustness"]


class AssembleTable3(TypedDict):
    table: RobustnessTable
    rows: list[Table3Row]
    baseline: str
    tests: Tests
    trained: Trained


# --- figures ------------------------------------------------------------------------------------------------------------


class DrawFigure1(TypedDict):
    architecture: Architecture


class DrawFigure2(TypedDict):
    pass


class DrawGraphDepths(TypedDict):
    pass


class ErrorsRow(Row):
    #: of embeddings; None of networks that classify themselves
    classifier: str | None


class DrawCorruptionErrors(TypedDict):
    rows: list[ErrorsRow]


class DrawTrainingCurves(TypedDict):
    rows: list[Row]


class LearningRow(Row):
    #: of label variation whose outputs are normalised, else None: there are no reference levels
    options: Options | None


class DrawEmbeddingTraining(TypedDict):
    rows: list[LearningRow]
    #: of the embeddings; None for the number of classes
    dimensions: int | None
    batch_size: int


class EmbeddedRow(Row):
    #: whether lengths mean nothing
    directional: bool


class DrawFigureA1(TypedDict):
    rows: list[EmbeddedRow]
    epochs: list[int]


class DrawSnrCurves(TypedDict):
    rows: list[Row]
    fgsm_snr: float


class DrawLayerVariation(TypedDict):
    rows: list[Row]


class SweepRow(TypedDict):
    name: str
    weight: float


class DrawWeightSweep(TypedDict):
    rows: list[SweepRow]
    fgsm_snr: float


# --- Appendix D ---------------------------------------------------------------------------------------------------------


class TimedNetwork(TypedDict):
    """A training as far as its time depends on it: without the schedule, and with weights of 1."""

    architecture: Architecture
    training: TimedTraining


class TimedDistillation(TimedNetwork, DistillationLoss):
    pass


class TimedEmbedding(TimedNetwork, EmbeddingLoss):
    pass


class TimedDefence(TimedNetwork, Defended):
    pass


class BaselineRow(TypedDict):
    name: str
    section: Literal["distillation"]
    recipe: TimedNetwork
    teacher: None


class DistillationRow(TypedDict):
    name: str
    section: Literal["distillation"]
    recipe: TimedDistillation
    teacher: Architecture


class EmbeddingRow(TypedDict):
    name: str
    section: Literal["embedding"]
    recipe: TimedEmbedding
    teacher: None


class RobustnessRow(TypedDict):
    name: str
    section: Literal["robustness"]
    recipe: TimedDefence
    teacher: None


#: a method to be timed: what it trains depends on its section, and on whether it has a teacher
TimedRow = BaselineRow | DistillationRow | EmbeddingRow | RobustnessRow


class MeasureTimes(TypedDict):
    rows: list[TimedRow]
    rounds: int
    steps: int


class TimesRow(PaperRow):
    network: dict[str, Any]
    baseline: str
    batch_size: int
    epochs: int


class TrainingAttack(TypedDict):
    epsilon: float
    step_size: float
    steps: int
    random_start: bool


class AssembleTableA1(TypedDict):
    rows: list[TimesRow]
    #: of the methods with adversarial training, as timed
    adversarial: TrainingAttack | None
