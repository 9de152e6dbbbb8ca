"""The cost of evaluation under corruptions beyond the network's forward passes.

    python benchmarks/evaluation.py [--images 10000]

PreActResNet18 in float32 on all 75 sets, generated as in the pipeline on all cores; the slow network of base width 64 sees a
twentieth of the images. The forward passes alone are timed on every fifth set, on the same images as tensors, right after
the evaluation of the set. Writes benchmarks/results/evaluation.csv and .png.
"""

import argparse
import time

import pandas as pd
import torch
from _common import begin, keep, show
from corruptions import synthetic_images

from lgg import models
from lgg.data.batches import in_order
from lgg.data.corruption_names import NAMES
from lgg.data.corruptions import SEVERITIES, corrupt
from lgg.evaluation.accuracy import error_percent, predict
from lgg.models.base import ImageClassifier
from lgg.reporting.figures import PALETTE, plt

BATCH = 500
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


def main() -> None:
    """Print the overhead, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="images per set")
    arguments = parser.parse_args()
    cores = begin()
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
