"""The share of this machine's arithmetic performance that a training step reaches, and where the rest of the time goes.

    python benchmarks/arithmetic.py [--rounds 5]

Counts the multiplications and additions of a step's convolutions and products, divides them by its time, and compares
with the fastest of several large convolutions. A profile splits the time by kind of operation. Writes
benchmarks/results/arithmetic.csv and .png.
"""

import argparse
import time
from collections.abc import Callable

import pandas as pd
import torch
import torch.nn.functional as F
from _common import begin, keep, show
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lgg import models
from lgg.data.batches import Batches
from lgg.reporting.figures import PALETTE, plt
from lgg.training.objectives import CrossEntropy
from lgg.training.timing import Trial

#: name in models.build, its options, batch size, and goal
NETWORKS = {
    "WideResNet28-1": ("wide_resnet", {"depth": 28, "width": 1}, 128, 0.7),
    "PreActResNet18": ("preact_resnet18", {"base_width": 64}, 100, 0.85),
}
PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}
KINDS = {
    "convolutions": ("convolution",),
    "batch normalisation": ("batch_norm",),
    "ReLU": ("threshold", "clamp", "relu"),
    "additions": ("aten::add",),
    "copies, conversions": ("copy", "_to", "fill_", "empty", "resize", "clone", "contiguous"),
}


def seconds(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the times of `repeats` calls, sorted, after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return sorted(times[2:])


def best_convolution(precision: str) -> float:
    """Return the largest number of operations per second of large 3 × 3 convolutions, including backward passes."""
    rates = []
    for channels, side in ((64, 32), (128, 32), (256, 16), (512, 16)):
        kind = {"dtype": PRECISIONS[precision], "memory_format": torch.channels_last}
        x = torch.rand(64, channels, side, side).to(**kind)
        weight = torch.rand(channels, channels, 3, 3).to(**kind)
        gradient = torch.rand_like(x)
        operations = 2 * 9 * channels**2 * x.shape[0] * side**2

        def backward(mask: list[bool], x: Tensor = x, weight: Tensor = weight, gradient: Tensor = gradient) -> object:
            geometry = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
            return torch.ops.aten.convolution_backward(gradient, x, weight, *geometry, mask)

        calls = (
            lambda x=x, weight=weight: F.conv2d(x, weight, padding=1),
            lambda backward=backward: backward([True, False, False]),
            lambda backward=backward: backward([False, True, False]),
        )
        rates += [operations / seconds(call, 5)[0] for call in calls]
    return max(rates)


def build(name: str, precision: str) -> Trial:
    kind, options, batch, _ = NETWORKS[name]
    torch.manual_seed(0)
    images = torch.randint(256, (4 * batch, 32, 32, 3), dtype=torch.uint8)
    batches = Batches(images, torch.randint(10, (len(images),)), batch_size=batch, seed=0, augmentation="crop_and_flip")
    return Trial(models.build(kind, num_classes=10, **options), CrossEntropy(), batches, precision=precision)


def shares(trial: Trial) -> dict[str, float]:
    """Return the share of each kind of operation in the time of a step."""
    # a profile reports an operation's time in the calling thread, which waits for all other threads
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        trial.seconds(3)
    times = dict.fromkeys([*KINDS, "rest"], 0.0)
    for operation in profiled.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(part in operation.key for part in parts)), "rest")
        times[kind] += operation.self_cpu_time_total
    total = sum(times.values())
    return {kind: time / total for kind, time in times.items()}


def main() -> None:
    """Print rates and shares, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    begin()
    rows = []
    for precision in PRECISIONS:
        best = best_convolution(precision)
        for name, (_, _, _, goal) in NETWORKS.items():
            trial = build(name, precision)
            with FlopCounterMode(display=False) as counter:
                trial.seconds(1)
            operations = counter.get_total_flops()
            times = seconds(lambda trial=trial: trial.seconds(1), arguments.rounds)
            parts = shares(trial)
            median = times[len(times) // 2]
            rows.append(
                {
                    "network": name,
                    "precision": precision,
                    "gflop": operations / 1e9,
                    "seconds": median,
                    "gflops": operations / median / 1e9,
                    "best_gflops": best / 1e9,
                    "ratio": operations / median / best,
                    "low": operations / times[-1] / best,
                    "high": operations / times[0] / best,
                    "goal": goal,
                    # what the step would reach if only convolutions took time
                    "convolutions_alone": operations / (parts["convolutions"] * median) / best,
                    **{f"share_{kind}": share for kind, share in parts.items()},
                }
            )
    table = pd.DataFrame(rows)
    columns = [column for column in table if not column.startswith("share_")]
    show(table[columns], "operations of a step (10⁹), its rate and that of the best convolution (10⁹ per second)")
    portions = table.filter(like="share_").rename(columns=lambda column: column.removeprefix("share_"))
    labels = table["network"] + ", " + table["precision"]
    show(pd.concat([labels.rename(""), portions], axis=1), "shares of the time of a step")
    figure, axis = plt.subplots(figsize=(6, 2.4))
    portions.set_index(labels).plot.barh(stacked=True, ax=axis, color=PALETTE)
    axis.invert_yaxis()
    axis.set(xlabel="share of a step's time", ylabel="", xlim=(0, 1))
    axis.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    keep(table, figure, "arithmetic")


if __name__ == "__main__":
    main()
