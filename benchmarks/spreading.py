"""How the wall time of the paper's configuration decreases with the number of GPUs: a simulation from measured times.

    python benchmarks/spreading.py [--rounds 3]

Jobs, their dependencies, GPUs and priorities are those that Snakemake plans for config/cifar10.yaml. Their times are
estimates: a step of every training and a pass of every network are timed on this machine at the paper's sizes, and scaled by
the factor that makes the epoch of Table A1's baseline the paper's 47.4 s. A list schedule then gives the wall time on 1 to
64 GPUs. Writes benchmarks/results/spreading.csv and .png.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from _common import begin, keep, show
from _scheduling import Job, critical_path, gpu_seconds, schedule, seconds_to_the_end, wall_seconds
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from lgg import models
from lgg.attacks import loss_gradient
from lgg.data.storage import ImageSet, read_header, read_images, write_images
from lgg.evaluation.accuracy import predict
from lgg.evaluation.classifiers import CLASSIFIERS, fit
from lgg.pipeline import recipes
from lgg.pipeline.config import Config, Paper, Timing, Training, load, read_paper
from lgg.pipeline.stages import measure_times
from lgg.reporting.figures import MARKERS, PALETTE, plt
from lgg.training.timing import Trial

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "config/cifar10.yaml"
GPUS = (1, 2, 4, 8, 16, 32, 64)
CLASSES, TRAIN_IMAGES, TEST_IMAGES = 10, 50_000, 10_000

# --- assumptions, in seconds ------------------------------------------------------------------------------------------

#: start of a job: container or allocation, interpreter, PyTorch, CUDA
START_UP = 15.0
#: jobs that do not train or run networks: data, tables, figures
LIGHT = 10.0
#: download of the 2.9 GB of CIFAR-10-C
DOWNLOAD = 300.0
#: iterations of DeepFool, with one gradient per class, until a batch of images is misclassified
DEEPFOOL_ROUNDS = 5

HOUR = 3600
PLANNED = "in the workflow's order"


# --- what Snakemake plans ---------------------------------------------------------------------------------------------


@dataclass
class Planned:
    """A job as listed by a dry run: its `fields` as text."""

    rule: str
    fields: dict[str, str] = field(default_factory=dict)

    def files(self, kind: str) -> list[str]:
        return self.fields[kind].split(", ") if kind in self.fields else []

    def resource(self, name: str) -> int:
        return int(dict(entry.split("=", 1) for entry in self.files("resources")).get(name, 0))

    @property
    def method(self) -> str:
        return next((entry.removeprefix("method=") for entry in self.files("wildcards") if "method=" in entry), "")

    @property
    def name(self) -> str:
        return " ".join([self.rule, *self.files("wildcards")])


def plan() -> list[Planned]:
    """Return all jobs of a first run on GPUs, in the order in which Snakemake would start them."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--nocolor"]
    asked = ["--configfile", CONFIG, "--config", "resources={device: cuda}", "--resources", f"gpu={max(GPUS)}"]
    done = subprocess.run([*command, *asked], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    jobs: list[Planned] = []
    for line in done.stdout.splitlines():
        if rule := re.fullmatch(r"(?:local)?rule (\w+):", line):
            jobs.append(Planned(rule[1]))
        elif jobs and (entry := re.fullmatch(r"    (\w+): (.*)", line)):
            jobs[-1].fields.setdefault(entry[1], entry[2])
    return [job for job in jobs if job.rule != "all"]


def as_jobs(planned: list[Planned], seconds_of: Callable[[Planned], float]) -> dict[str, Job]:
    """Return the graph of the planned jobs, each with its GPUs, its priority and its time by `seconds_of`."""
    makers = {path: job.name for job in planned for path in job.files("output")}
    return {
        job.name: Job(
            seconds_of(job),
            job.resource("gpu"),
            frozenset(makers[path] for path in job.files("input") if path in makers),
            float(job.fields.get("priority", 0)),
        )
        for job in planned
    }


# --- what is measured -------------------------------------------------------------------------------------------------


def paper() -> Config:
    return load(*(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("config/config.yaml", CONFIG)))


def step_seconds(config: Config, rounds: int, threads: int) -> dict[str, float]:
    """Return the shortest time of a step of every training, by SECTION.METHOD, measured as by Table A1's rule.

    The shortest, here and below, since other load on the machine only adds to it, and ratios need both undisturbed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {
            "train": some_images(folder),
            "out_times": folder / "times.csv",
            "out_machine": folder / "machine.json",
        }
        recipe = timing_recipe(config, rounds)
        measure_times.main(argparse.Namespace(recipe=recipe, gpus=0, threads=threads, captured=False, **files))
        times = pd.read_csv(files["out_times"])
    return times.groupby("name")["seconds_per_step"].min().to_dict()


def timing_recipe(config: Config, rounds: int) -> dict[str, Any]:
    """Return the recipe of Table A1's rule that times every training of `config`: SECTION.METHOD, teacher and geometry."""
    methods = [
        f"{part}.{name}" for part in ("robustness", "distillation", "embedding") for name in _methods(config, part)
    ]
    timing = Timing(methods=methods, rounds=rounds, steps=1)
    recipe: dict[str, Any] = json.loads(recipes.measure_times(config.model_copy(update={"timing": timing})).settings)
    plain = next(row for row in recipe["rows"] if row["name"] == f"distillation.{config.distillation.baseline}")
    for name, architecture, training in (
        ("teacher", config.distillation.teacher.architecture, config.distillation.training),
        ("geometry", config.geometry.architecture, config.geometry.training),
    ):
        settings = {"architecture": architecture.built_with, "training": training.model_dump(exclude={"schedule"})}
        recipe["rows"].append(plain | {"name": name, "recipe": plain["recipe"] | settings})
    return recipe


def some_images(folder: Path) -> Path:
    """Write random training images to a file in `folder` and return its path."""
    images = np.random.default_rng(0).integers(256, size=(512, 32, 32, 3), dtype=np.uint8)
    data = ImageSet(images, np.arange(512) % CLASSES, tuple(map(str, range(CLASSES))))
    write_images(folder / "train", data, {"mean": [0.5] * 3, "std": [0.25] * 3})
    return folder / "train"


def trials(config: Config, images: Path, device: torch.device, only: str | None = None) -> dict[str, Trial]:
    """Return every training of `config` by SECTION.METHOD, ready to take steps on `device` with the images of a file.

    `only`: the name of the one that is wanted; None for all.
    """
    data, header = read_images(images), read_header(images)
    rows = [row for row in timing_recipe(config, rounds=2)["rows"] if only in (None, row["name"])]
    return {row["name"]: measure_times.make_trial(row, data, header, device, False) for row in rows}


def _methods(config: Config, section: str) -> Mapping[str, Any]:
    methods: Mapping[str, Any] = getattr(config, section).active_methods
    return methods


def pass_seconds(architecture: Any, rounds: int) -> tuple[float, float]:
    """Return the shortest times of a prediction and of a gradient, per image of a batch."""
    torch.manual_seed(0)
    model = models.build(**architecture.built_with, num_classes=CLASSES).eval().requires_grad_(False)
    images = torch.randint(256, (100, 32, 32, 3), dtype=torch.uint8)
    pixels, labels = images.permute(0, 3, 1, 2).float() / 255, torch.randint(CLASSES, (100,))

    def least(run: Callable[[], object]) -> float:
        return min(_seconds(run) for _ in range(1 + 3 * rounds)) / len(images)

    return least(lambda: predict(model, images)), least(lambda: loss_gradient(model, pixels, labels))


def classifier_seconds(threads: int) -> tuple[float, float]:
    """Return the times to fit the classifiers of Table 2 to the training set, and to classify one test image.

    The embeddings are slightly overlapping clusters of ten classes in ten dimensions, like those of a trained network.
    """
    generator = np.random.default_rng(0)
    labels = np.arange(TRAIN_IMAGES) % CLASSES
    embedded = (3.5 * np.eye(CLASSES)[labels] + generator.normal(size=(len(labels), CLASSES))).astype(np.float32)
    test, fitting, predicting = embedded[:TEST_IMAGES], 0.0, 0.0
    for name in CLASSIFIERS:
        began = time.perf_counter()
        classifier = fit(name, embedded, labels, 0, workers=threads)
        fitting += time.perf_counter() - began
        predicting += _seconds(lambda classifier=classifier: classifier.predict(test))
    return fitting, predicting / len(test)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


# --- the time of a job ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Times in seconds: of a step of each training; of a prediction and a gradient of each network; of the classifiers."""

    step: Mapping[str, float]
    prediction: Mapping[str, float]
    gradient: float
    fitting: float
    classifying: float


def seconds_of(job: Planned, config: Config, costs: Costs) -> float:
    """Return the estimated time of a job, including its start."""
    return START_UP + _work(job, config, costs) if job.resource("gpu") else _light(job)


def _light(job: Planned) -> float:
    return DOWNLOAD if job.rule == "download_corruptions" else LIGHT


def _work(job: Planned, config: Config, costs: Costs) -> float:
    sets = len(config.corruptions.names) * len(config.corruptions.severities)
    corrupted = sets * (config.corruptions.images or TEST_IMAGES)
    prediction = costs.prediction
    match job.rule:
        case "train_reference_network":
            return _training(config.geometry.training, costs.step["geometry"])
        case "train_teacher":
            return _training(config.distillation.training, costs.step["teacher"])
        case "train_student" | "distill_student":
            return _training(config.distillation.training, costs.step[f"distillation.{job.method}"])
        case "train_embedding":
            return _training(config.embedding.training, costs.step[f"embedding.{job.method}"])
        case "train_plane_embedding":
            shown = len(config.embedding.figure_epochs) * TRAIN_IMAGES * prediction["embedding"]
            return shown + _training(config.embedding.training, costs.step[f"embedding.{job.method}"])
        case "train_robust_network":
            return _training(config.robustness.training, costs.step[f"robustness.{job.method}"])
        case "evaluate_teacher":
            return TEST_IMAGES * prediction["teacher"]
        case "evaluate_student":
            return TEST_IMAGES * prediction["student"]
        case "evaluate_embedding":
            images = TEST_IMAGES + corrupted
            seen = (TRAIN_IMAGES + images) * prediction["embedding"]
            return seen + costs.fitting + images * costs.classifying
        case "evaluate_corruptions":
            return corrupted * prediction["robustness"]
        case "evaluate_robustness":
            predictions, gradients = passes_under_tests(config, job.method)
            return predictions * prediction["robustness"] + gradients * costs.gradient
        case "measure_times":
            steps = 2 + config.timing.rounds * config.timing.steps
            return steps * sum(costs.step[f"{section}.{name}"] for section, name in config.timed_methods)
    raise ValueError(f"the rule {job.rule} has no estimate: add one here")


def _training(training: Training, step: float) -> float:
    return training.epochs * ceil(TRAIN_IMAGES / training.batch_size) * step


def passes_under_tests(config: Config, method: str) -> tuple[float, float]:
    """Return how many predictions and how many gradients of an image the tests of one network take."""
    tests = config.robustness.tests
    attacked = tests.images or TEST_IMAGES
    levels = len({*tests.curve_snrs, tests.fgsm_snr})
    # a further start is for the images that none before has fooled the network on: the share that the published one keeps
    left = paper_figures(config).row("robustness", method).get("pgd", 100.0) / 100
    starts = sum(
        test.steps * (1 + (test.restarts - 1) * left) * attacked for test in (tests.pgd, tests.strong_pgd, tests.pgd)
    )
    # clean images, noise, dropout, quantised weights; attacks on the network, then transfer attacks
    predictions = 4 * TEST_IMAGES + (1 + 2 * levels + 2 + 2) * attacked
    deepfool = DEEPFOOL_ROUNDS * tests.deepfool_images
    return predictions + deepfool, starts + 3 * attacked + deepfool * CLASSES


def paper_figures(config: Config) -> Paper:
    return read_paper(ROOT / "config/paper.yaml", config)


def paper_epoch_seconds(config: Config) -> float:
    """Return the paper's seconds for an epoch of Section 4.3's baseline."""
    return paper_figures(config).row("tableA1", f"robustness.{config.robustness.baseline}")["epoch_seconds"]


def as_on_the_paper_s_gpu(costs: Costs, config: Config) -> tuple[Costs, float]:
    """Return `costs` scaled to the paper's time for an epoch of the baseline, and the factor.

    The classifiers of Table 2 run on the CPU, so their times are not scaled.
    """
    steps = ceil(TRAIN_IMAGES / config.robustness.training.batch_size)
    factor = paper_epoch_seconds(config) / (steps * costs.step[f"robustness.{config.robustness.baseline}"])
    scaled = {name: factor * seconds for name, seconds in costs.step.items()}
    predictions = {name: factor * seconds for name, seconds in costs.prediction.items()}
    return replace(costs, step=scaled, prediction=predictions, gradient=factor * costs.gradient), factor


def measured(config: Config, rounds: int, threads: int) -> Costs:
    networks = {
        "teacher": config.distillation.teacher.architecture,
        "student": config.distillation.student.architecture,
        "embedding": config.embedding.architecture,
        "robustness": config.robustness.architecture,
    }
    passes = {name: pass_seconds(architecture, rounds) for name, architecture in networks.items()}
    prediction = {name: seconds for name, (seconds, _) in passes.items()}
    step = step_seconds(config, rounds, threads)
    return Costs(step, prediction, passes["robustness"][1], *classifier_seconds(threads))


# --- what is shown ----------------------------------------------------------------------------------------------------


def longest_first(jobs: Mapping[str, Job]) -> dict[str, Job]:
    """Return the jobs with the length of the longest chain after them as priority: critical path first."""
    left = seconds_to_the_end(jobs)
    return {name: replace(job, priority=left[name]) for name, job in jobs.items()}


def simulate(jobs: Mapping[str, Job]) -> pd.DataFrame:
    """Return wall time, bounds and efficiency for each number of GPUs, in the workflow's order and longest first."""
    floor = sum(jobs[name].seconds for name in critical_path(jobs)) / HOUR
    rows = []
    for gpus in GPUS:
        work = gpu_seconds(jobs.values(), gpus) / HOUR
        for order, ordered in ((PLANNED, jobs), ("longest first", longest_first(jobs))):
            wall = wall_seconds(schedule(ordered, gpus)) / HOUR
            rows.append(
                {"order": order, "GPUs": gpus, "wall (h)": wall, "bound (h)": max(floor, work / gpus)}
                | {"critical path (h)": floor, "work (GPU h)": work, "efficiency": work / (gpus * wall)}
            )
    return pd.DataFrame(rows)


def by_rule(planned: list[Planned], jobs: Mapping[str, Job]) -> pd.DataFrame:
    """Return the number of jobs, the hours of one and of all, and the requested limit, for each rule and method."""
    rows = [
        {
            "job": f"{job.rule} {job.method}",
            "hours": jobs[job.name].seconds / HOUR,
            "limit": job.resource("runtime") / 60,
        }
        for job in planned
        if job.resource("gpu")
    ]
    groups = pd.DataFrame(rows).groupby("job")
    table = groups.agg(jobs=("hours", "size"), hours=("hours", "max"), total=("hours", "sum"), limit=("limit", "max"))
    table["over the limit"] = np.where(table["hours"] > table["limit"], "yes", "")
    return table.sort_values("total", ascending=False).reset_index()


def draw(table: pd.DataFrame) -> Figure:
    """Draw wall time with its lower bounds on log axes, and efficiency."""
    figure, (walls, shares) = plt.subplots(1, 2, figsize=(7, 2.9))
    first = table[table["order"] == PLANNED]
    for place, (order, rows) in enumerate(table.groupby("order", sort=False)):
        look = {"marker": MARKERS[place], "color": PALETTE[place], "markersize": 4}
        walls.plot(rows["GPUs"], rows["wall (h)"], label=order, **look)
        shares.plot(rows["GPUs"], rows["efficiency"], **look)
    walls.plot(
        first["GPUs"], first["work (GPU h)"] / first["GPUs"], "--", color="grey", linewidth=1, label="work ÷ GPUs"
    )
    walls.axhline(first["critical path (h)"].iloc[0], color=PALETTE[3], linewidth=1, label="critical path")
    walls.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="wall time (hours)")
    shares.set(xscale="log", ylim=(0, 1.05), xlabel="GPUs", ylabel="work ÷ (GPUs × wall time)")
    for axis in (walls, shares):
        axis.set_xticks(GPUS, map(str, GPUS))
        axis.xaxis.set_minor_formatter(NullFormatter())
    walls.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    walls.yaxis.set_major_formatter(ScalarFormatter())
    walls.yaxis.set_minor_formatter(NullFormatter())
    walls.legend(frameon=False, fontsize=7)
    return figure


def main() -> None:
    """Print the times of jobs, the critical path and the wall times, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    threads = begin()
    config = paper()
    planned = plan()
    costs, factor = as_on_the_paper_s_gpu(measured(config, arguments.rounds, threads), config)
    print(f"times of networks are scaled by {factor:.3f}; those of Table 2's classifiers are not")
    jobs = as_jobs(planned, lambda job: seconds_of(job, config, costs))
    show(by_rule(planned, jobs), f"hours of the jobs with a GPU, of {len(jobs)} jobs")
    print(
        "\ncritical path: " + " → ".join(f"{name} ({jobs[name].seconds / HOUR:.2f} h)" for name in critical_path(jobs))
    )
    table = simulate(jobs)
    show(table, f"wall time of {CONFIG}")
    keep(table, draw(table), "spreading")


if __name__ == "__main__":
    main()
