"""Label variation of the full cosine graph, p = 2: the closed form beside the graph's matrices, forward and backward.

    python benchmarks/label_variation.py

Prints time and peak memory at B = 8,192 and d = 4,096, each measured in a process of its own, and the growth of the closed
form with B; writes benchmarks/results/label_variation.csv and .png (log axes, with the fitted exponents).
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from lgg import machine

RESULTS = Path(__file__).parent / "results"
FORMS = {
    "closed form": "lgg.cosine_label_variation(x, labels, power=2)",
    "matrices": "lgg.label_variation(lgg.similarity_graph(x), labels, power=2)",
}
# the peak that a process has reached is never forgotten, so it is read before and after
CODE = """
import resource, time, torch, lgg
from lgg.devices import prepare
prepare(0, {cores})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
torch.manual_seed(0)
x = torch.rand({batch}, {dimensions}, requires_grad=True)
labels = torch.randint(10, ({batch},))
small = torch.rand(64, 64, requires_grad=True)
def value(x, labels):
    return {form}
value(small, labels[:64]).backward()
before, seconds = peak(), []
for _ in range({repeats}):
    x.grad = None
    began = time.perf_counter()
    value(x, labels).backward()
    seconds.append(time.perf_counter() - began)
print(sorted(seconds)[len(seconds) // 2], peak() - before)
"""


def run(form: str, batch: int, dimensions: int, repeats: int = 3) -> tuple[float, float]:
    """Return seconds and additional peak memory in MB of a value with its gradient, in a fresh process."""
    cores = machine.describe()["cores"]
    code = CODE.format(form=FORMS[form], batch=batch, dimensions=dimensions, repeats=repeats, cores=cores)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def main() -> None:
    """Print, and write the table and the plot."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    here = machine.describe()
    print(f"{here['processor']}, {here['cores']} cores, {here['system']}", flush=True)
    both = {form: run(form, 8192, 4096) for form in FORMS}
    for form, (seconds, megabytes) in both.items():
        print(f"B = 8,192, d = 4,096, {form}: {seconds:.3f} s, {megabytes:.0f} MB more at the peak", flush=True)
    time_ratio, memory_ratio = (ours / theirs for ours, theirs in zip(*both.values(), strict=True))
    print(
        f"closed form / matrices: time {time_ratio:.3f} (goal 0.05), memory {memory_ratio:.3f} (goal 0.1)", flush=True
    )
    rows = []
    for form, batches in (("closed form", (128, 512, 2048, 8192, 32768, 65536)), ("matrices", (128, 512, 2048, 8192))):
        for batch in batches:
            seconds, megabytes = run(form, batch, 512)
            rows.append({"form": form, "B": batch, "d": 512, "seconds": seconds, "peak_mb": megabytes})
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="%.4g"))
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "label_variation.csv", index=False, float_format="%.4g")
    plot(table)


def plot(table: pd.DataFrame) -> None:
    """Draw time against B with the exponent fitted from B = 2,048 on, where a step no longer costs the calls alone."""
    from lgg.reporting.figures import MARKERS, PALETTE, plt, set_style

    set_style()
    figure, axis = plt.subplots(figsize=(4.5, 3.4))
    for place, (form, own) in enumerate(table.groupby("form", sort=False)):
        large = own[own["B"] >= 2048]
        exponent = np.polyfit(np.log(large["B"]), np.log(large["seconds"]), 1)[0]
        print(f"{form}: time grows as B^{exponent:.2f} from B = 2,048 on")
        label = f"{form}, ∝ B^{exponent:.2f} at the end"
        axis.loglog(own["B"], own["seconds"], marker=MARKERS[place], color=PALETTE[place], label=label)
    axis.set(xlabel="inputs in the batch, B (d = 512)", ylabel="value and gradient (s)")
    axis.legend(frameon=False)
    figure.savefig(RESULTS / "label_variation.png", dpi=200)


if __name__ == "__main__":
    main()
