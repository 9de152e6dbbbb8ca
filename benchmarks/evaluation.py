"""The cost of evaluation under corruptions beyond the network's forward passes.

    python benchmarks/evaluation.py [--images 10000]
    python benchmarks/evaluation.py --batch-sizes

PreActResNet18 in float32 on all 75 sets, generated as in the pipeline on all cores; the slow network of base width 64 sees a
twentieth of the images. The forward passes alone are timed on every fifth set, on the same images as tensors, right after
the evaluation of the set. Writes benchmarks/results/evaluation.csv and .png.

With --batch-sizes: images per second of predictions and of gradients for several batch sizes, on a GPU if there is one, next to
the size that is chosen there. Writes benchmarks/results/evaluation_batches.csv.
"""

import argparse
import statistics
import time
from functools import partial

import pandas as pd
import torch
from _common import RESULTS, begin, keep, show
from corruptions import synthetic_images

from lgg import models
from lgg.data.batches import in_order
from lgg.data.corruption_names import NAMES
from lgg.data.corruptions import SEVERITIES, corrupt
from lgg.devices import name_of
from lgg.evaluation.accuracy import error_percent, predict
from lgg.evaluation.batching import choose_batch_size
from lgg.evaluation.robustness import without_gradient
from lgg.models.base import ImageClassifier
from lgg.reporting.figures import PALETTE, plt

BATCH = 500
SIZES = (50, 100, 250, 500, 1000, 2500, 5000, 10_000)
GOAL = 0.15


def forward_seconds(model: ImageClassifier, images: torch.Tensor) -> float:
    """Return the time of the network's forward passes for `images`, already on its device in its format."""
    batches = list(in_order(images, BATCH))
    with torch.inference_mode():
        began = time.perf_counter()
        for batch in batches:
            model(batch)
        return time.perf_counter() - began


def evaluate(width: int, count: int, workers: int) -> pd.DataFrame:
    """Return one row per set: the times to generate its images, to evaluate them, and of the forward passes alone."""
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=10, base_width=width).eval()
    images, labels = synthetic_images(count), torch.randint(10, (count,))
    predict(model, torch.from_numpy(images[:BATCH]))
    rows = []
    for number, (name, severity) in enumerate((name, severity) for name in NAMES for severity in SEVERITIES):
        began = time.perf_counter()
        made = torch.from_numpy(corrupt(images, name, severity, workers=workers))
        making = time.perf_counter() - began
        error_percent(predict(model, made, batch_size=BATCH), labels)
        whole = time.perf_counter() - began
        alone = forward_seconds(model, made) if number % len(SEVERITIES) == 2 else None
        rows.append(
            {"width": width, "corruption": name, "severity": severity, "images": count}
            | {"making": making, "evaluating": whole - making, "forward": alone}
        )
    return pd.DataFrame(rows)


def by_batch_size(width: int, count: int, device: torch.device) -> pd.DataFrame:
    """Return one row per kind of pass and batch size: images per second, the median of three interleaved rounds."""
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=10, base_width=width).to(device).eval()
    model = model.to(memory_format=torch.channels_last)
    images, labels = torch.from_numpy(synthetic_images(count)), torch.randint(10, (count,))
    kinds = {
        "predictions": (False, partial(predict, model, images, device=device)),
        "gradients": (True, partial(without_gradient, model, images, labels, device=device)),
    }
    times: dict[tuple[str, int], list[float]] = {}
    chosen = {name: choose_batch_size(model, images, device, gradients=kind[0]) for name, kind in kinds.items()}
    for round_ in range(4):
        for name, (_, evaluate) in kinds.items():
            for size in sorted({size for size in SIZES if size <= count} | {chosen[name]}):
                began = time.perf_counter()
                evaluate(batch_size=size)
                # the first round warms up
                times.setdefault((name, size), []).extend([time.perf_counter() - began] if round_ else [])
    rows = [
        {"width": width, "pass": name, "batch": size, "images per second": count / statistics.median(seconds)}
        | {"chosen": size == chosen[name]}
        for (name, size), seconds in times.items()
    ]
    return pd.DataFrame(rows)


def compare_batch_sizes() -> None:
    """Print images per second by batch size, and write the table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    counts = {16: 10_000, 64: 10_000} if device.type == "cuda" else {16: 1000, 64: 200}
    table = pd.concat([by_batch_size(width, count, device) for width, count in counts.items()])
    show(table, f"images per second on {name_of(device)}")
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "evaluation_batches.csv", index=False, float_format="%.4g")


def main() -> None:
    """Print the overhead, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="images per set")
    parser.add_argument("--batch-sizes", action="store_true", help="instead, compare batch sizes")
    arguments = parser.parse_args()
    cores = begin()
    if arguments.batch_sizes:
        compare_batch_sizes()
        return
    tables = [evaluate(16, arguments.images, cores), evaluate(64, max(BATCH, arguments.images // 20), cores)]
    rows = []
    for table in tables:
        width, count = table.loc[0, "width"], table.loc[0, "images"]
        both = table.dropna()
        # the share of the forward passes is measured on the sets for which both times are known
        forward = table["evaluating"].sum() * both["forward"].sum() / both["evaluating"].sum()
        whole = table["making"].sum() + table["evaluating"].sum()
        rows.append(
            {"base width": width, "sets": len(table), "images": count, "forward (s)": forward}
            | {"making (s)": table["making"].sum(), "other (s)": table["evaluating"].sum() - forward}
            | {"overhead": whole / forward - 1, "goal": GOAL}
        )
    summary = pd.DataFrame(rows)
    show(summary, "evaluation under corruptions, beyond the forward passes")
    figure, axis = plt.subplots(figsize=(5, 1.8))
    parts = summary.filter(like="(s)").div(summary["forward (s)"], axis=0)
    parts.columns = [column.removesuffix(" (s)") for column in parts]
    parts.set_index("base width " + summary["base width"].astype(str)).plot.barh(stacked=True, ax=axis, color=PALETTE)
    axis.axvline(1 + GOAL, color=PALETTE[3], linewidth=1, label="goal")
    axis.set(xlabel="time ÷ forward passes", ylabel="")
    axis.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.08, 1))
    keep(pd.concat(tables), figure, "evaluation")


if __name__ == "__main__":
    main()
