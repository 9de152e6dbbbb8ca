"""The cost of the methods: a training step with each of them compared with a plain step, interleaved in one process.

    python benchmarks/training_cost.py [--rounds 5] [--steps 2]

Prints ratios with their goals, and writes benchmarks/results/training_cost.csv and .png. Images are random, which does not
affect the time. Base width 64 is the paper's network; bfloat16 is left out on CPUs that emulate it (no AMX, no AVX-512 BF16).
"""

import argparse
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from _common import begin, draw_ratios, keep, relative, show
from torch import Tensor

from lgg import losses, models
from lgg.data.batches import Batches
from lgg.defences import Adversarial, Parseval, Regularizer
from lgg.devices import precision_on
from lgg.models.base import ImageClassifier
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Objective, Robust, Step
from lgg.training.timing import Trial, measure

CLASSES = 10


class TeacherToo:
    """Cross-entropy and an unused forward pass of a teacher: the minimal cost of distillation."""

    def __init__(self, teacher: ImageClassifier) -> None:
        self.teacher = teacher.eval().requires_grad_(False)

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step:
        with torch.no_grad():
            self.teacher(images, return_representations=True)
        return CrossEntropy()(model, images, labels)


def network(name: str, **options: object) -> ImageClassifier:
    torch.manual_seed(0)
    return models.build(name, num_classes=CLASSES, **options)


def trial(
    build: Callable[[], ImageClassifier],
    objective: Objective,
    batch_size: int,
    precision: str,
) -> Trial:
    images = torch.randint(256, (4 * batch_size, 32, 32, 3), dtype=torch.uint8)
    labels = torch.randint(CLASSES, (4 * batch_size,))
    model = build()
    after_step = partial(objective.after_step, model) if isinstance(objective, Robust) else None
    batches = Batches(images, labels, batch_size=batch_size, seed=0, augmentation="crop_and_flip")
    return Trial(model, objective, batches, precision=precision, after_step=after_step)


def robust_trials(base_width: int, precision: str) -> dict[str, Trial]:
    """Return the training runs of Section 4.3 with the paper's batch size of 100."""
    plain = partial(network, "preact_resnet18", base_width=base_width)
    return {
        "baseline": trial(plain, CrossEntropy(), 100, precision),
        "Parseval": trial(partial(plain, parseval=True), Robust([Parseval(0.01)]), 100, precision),
        "regularizer": trial(plain, Robust([Regularizer(1e-6)]), 100, precision),
        "PGD-7": trial(plain, Robust([Adversarial()]), 100, precision),
    }


def distillation_trials(precision: str) -> dict[str, Trial]:
    """Return the training runs of Section 4.1, WideResNet28-0.5 with a WideResNet28-1 teacher, with batch size 128."""
    student, teacher = (partial(network, "wide_resnet", depth=28, width=width) for width in (0.5, 1))
    return {
        "student and teacher's pass": trial(student, TeacherToo(teacher()), 128, precision),
        "GKD": trial(student, Distillation(teacher(), losses.GraphDistillation(), 1.0), 128, precision),
        "RKD-D": trial(student, Distillation(teacher(), losses.RelationalDistillation(), 1.0), 128, precision),
    }


def embedding_trials(base_width: int, precision: str) -> dict[str, Trial]:
    """Return the training runs of Section 4.2 with batch size 128."""
    plain = partial(network, "preact_resnet18", base_width=base_width)
    label_variation = losses.LabelVariation(normalize_embeddings=True, reduction="mean")
    return {
        "cross-entropy": trial(plain, CrossEntropy(), 128, precision),
        "label variation": trial(plain, MetricLearning(label_variation, 1.0), 128, precision),
    }


#: comparisons: title, training runs, the one by which the others are divided, and goals
COMPARISONS: list[tuple[str, Callable[[], dict[str, Trial]], str, dict[str, float]]] = [
    *(
        (
            f"PreActResNet18, base width {width}, {precision}",
            partial(robust_trials, width, precision),
            "baseline",
            goals,
        )
        for width, precision, goals in (
            (64, "bfloat16", {"Parseval": 1.05, "regularizer": 1.15, "PGD-7": 8.0}),
            (16, "bfloat16", {"Parseval": 1.05, "regularizer": 1.30, "PGD-7": 8.0}),
            (64, "float32", {"Parseval": 1.05, "regularizer": 1.15, "PGD-7": 8.0}),
            (16, "float32", {"Parseval": 1.05, "regularizer": 1.30, "PGD-7": 8.0}),
        )
    ),
    *(
        (f"WideResNet28-0.5, {p}", partial(distillation_trials, p), "student and teacher's pass", {"GKD": 1.08})
        for p in ("bfloat16", "float32")
    ),
    *(
        (
            f"PreActResNet18, base width 64, embeddings, {p}",
            partial(embedding_trials, 64, p),
            "cross-entropy",
            {"label variation": 1.03},
        )
        for p in ("bfloat16", "float32")
    ),
]


def main() -> None:
    """Print each comparison, and write all as a table and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps per measurement")
    arguments = parser.parse_args()
    begin()
    tables = []
    emulated = precision_on(torch.device("cpu"), "auto") != "bfloat16"
    for title, build, reference, goals in COMPARISONS:
        if emulated and title.endswith("bfloat16"):
            print(f"\n{title}: left out, since this CPU emulates bfloat16", flush=True)
            continue
        times = pd.DataFrame(measure(build(), rounds=arguments.rounds, steps=arguments.steps))
        table = relative(times, reference)
        table["goal"] = table["name"].map(goals)
        show(table, f"{title}, ratios to {reference}")
        tables.append(table.assign(comparison=title))
    table = pd.concat(tables, ignore_index=True)
    ratios = table[table["seconds"].notna() & (table["ratio"] != 1)]
    labels = ratios["name"] + ", " + ratios["comparison"].str.replace("PreActResNet18, base", "ResNet18,")
    keep(table, draw_ratios(ratios, list(labels), "time of a step ÷ time without"), "training_cost")


if __name__ == "__main__":
    main()
