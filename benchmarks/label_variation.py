"""Label variation of the full cosine graph, p = 2: two closed forms compared with the graph by autograd, with gradients.

    python benchmarks/label_variation.py

The closed form that is linear in the batch size B forms no (B, B) matrix; that of cosines forms one, and is for small
batches: where the two take the same time is `lgg.graph.MOST_INPUTS_OF_A_GRAPH`. Prints time and peak memory at B = 8,192 and
d = 4,096, each measured in a separate process, and how the cost grows with B, the dimensions d, and the number of layers.
Writes benchmarks/results/label_variation.csv and .png (log axes, with the fitted exponents).
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd
from _common import begin, draw_cost, keep, show

from lgg.reporting.figures import plt

AT_ONCE = "lgg.graph.cosine_label_variations(xs, labels, power=2, num_classes=10).sum()"
FORMS = {
    "closed form": AT_ONCE,
    "closed form of cosines": AT_ONCE,
    "matrices": "sum(lgg.label_variation(lgg.similarity_graph(x), labels, power=2) for x in xs)",
}
#: the largest batch in which the closed form is that of cosines
LIMITS = {"closed form": 0, "closed form of cosines": 10**9, "matrices": 0}
# a process's peak memory never decreases, so it is read before and after
CODE = """
import resource, time, torch, lgg, lgg.graph
from lgg.devices import prepare
prepare(0, {cores})
lgg.graph.MOST_INPUTS_OF_A_GRAPH = dict.fromkeys(lgg.graph.MOST_INPUTS_OF_A_GRAPH, {limit})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
torch.manual_seed(0)
xs = [torch.rand({batch}, {dimensions}, requires_grad=True) for _ in range({layers})]
labels = torch.randint(10, ({batch},))
small = torch.rand(64, 64, requires_grad=True)
def value(xs, labels):
    return {form}
value([small], labels[:64]).backward()
before, seconds = peak(), []
for _ in range({repeats} + 1):
    for x in xs:
        x.grad = None
    began = time.perf_counter()
    value(xs, labels).backward()
    seconds.append(time.perf_counter() - began)
print(sorted(seconds[1:])[{repeats} // 2], peak() - before)
"""
LARGE = {"B": 8192, "d": 4096, "layers": 1}
#: what grows, what is fixed, the largest value for each form, and the value from which its exponent is fitted
GROWTHS: list[tuple[str, dict[str, int], dict[str, tuple[int, ...]], int]] = [
    (
        "B",
        {"d": 512, "layers": 1},
        {
            "closed form": (32, 128, 512, 2048, 8192, 32768, 65536),
            "closed form of cosines": (32, 128, 512, 2048, 8192),
            "matrices": (32, 128, 512, 2048, 8192),
        },
        2048,
    ),
    ("d", {"B": 128, "layers": 1}, dict.fromkeys(FORMS, (64, 512, 4096, 16384, 65536)), 4096),
    ("layers", {"B": 128, "d": 16384}, dict.fromkeys(FORMS, (1, 2, 4, 8, 17)), 1),
]


def run(form: str, size: dict[str, int], cores: int, repeats: int = 5) -> dict[str, Any]:
    """Return the time in seconds and the additional peak memory in MB of a value with its gradient, in a new process."""
    named = {"batch": size["B"], "dimensions": size["d"], "layers": size["layers"]}
    code = CODE.format(form=FORMS[form], limit=LIMITS[form], repeats=repeats, cores=cores, **named)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, megabytes = map(float, done.stdout.split())
    return {"form": form, **size, "seconds": seconds, "peak_mb": megabytes}


def growth(cores: int) -> Iterator[dict[str, Any]]:
    """Yield one row per form and size, with the name of the quantity that grew."""
    for quantity, others, sizes, _ in GROWTHS:
        for form, values in sizes.items():
            for value in values:
                yield {"growing": quantity, **run(form, {**others, quantity: value}, cores)}


def main() -> None:
    """Print the ratios, and write the table and the plot."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cores = begin()
    both = pd.DataFrame([run(form, LARGE, cores, repeats=3) for form in FORMS])
    show(both)
    time, memory = both.loc[0, ["seconds", "peak_mb"]] / both.loc[2, ["seconds", "peak_mb"]]
    print(f"closed form ÷ matrices: time {time:.3f} (goal 0.05), memory {memory:.3f} (goal 0.1)", flush=True)
    table = pd.DataFrame(growth(cores))
    show(table)
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True)
    for axis, (quantity, others, _, start) in zip(axes, GROWTHS, strict=True):
        own = table[table["growing"] == quantity]
        draw_cost(axis, dict(iter(own.groupby("form", sort=False))), quantity, start)
        axis.set_title(", ".join(f"{name} = {value:,}" for name, value in others.items()))
    axes[0].set_ylabel("value and gradient (s)")
    keep(pd.concat([both, table]), figure, "label_variation")


if __name__ == "__main__":
    main()
