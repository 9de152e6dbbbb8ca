"""The settings of `lgg.devices.prepare` compared with PyTorch's defaults, each in new processes, interleaved.

Start: importing torch and enabling deterministic algorithms. Step: forward and backward pass of PreActResNet18 on the CPU
with one thread, with freed memory kept for the next step or returned to the kernel. Writes
benchmarks/results/process_settings.csv and .png.
"""

import argparse
import subprocess
import sys

import pandas as pd
from _common import begin, draw_ratios, keep, relative, show

START = {
    "lgg": "import torch; from lgg.devices import prepare; prepare(0, 1)",
    "plain": "import torch; torch.set_num_threads(1); torch.use_deterministic_algorithms(True)",
}
STEP = """
import time, torch
import torch.nn.functional as F
from lgg import models
torch.manual_seed(0)
model = models.build("preact_resnet18", num_classes=10, base_width={base_width})
images = torch.rand({batch_size}, 3, 32, 32).to(memory_format=torch.channels_last)
labels = torch.randint(10, ({batch_size},))
def step():
    F.cross_entropy(model(images), labels).backward()
for _ in range(3):
    step()
began = time.perf_counter()
for _ in range({steps}):
    step()
print((time.perf_counter() - began) / {steps})
"""
CLOCK = "import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"


def seconds(code: str) -> float:
    """Return the number that `code` prints last in a new process."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def compare(codes: dict[str, str], rounds: int) -> pd.DataFrame:
    """Return the times of both codes, interleaved."""
    rows = [
        {"name": name, "round": number, "seconds_per_step": seconds(code)}
        for number in range(rounds)
        for name, code in codes.items()
    ]
    return relative(pd.DataFrame(rows), "plain")


def main() -> None:
    """Print both comparisons, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20, help="steps per process")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind")
    arguments = parser.parse_args()
    begin()
    step = STEP.format(base_width=arguments.base_width, batch_size=arguments.batch_size, steps=arguments.steps)
    comparisons = {
        "start": {name: CLOCK.format(code=code) for name, code in START.items()},
        f"step, base width {arguments.base_width}, batch {arguments.batch_size}": {
            name: f"{code}\n{step}" for name, code in START.items()
        },
    }
    tables = []
    for title, codes in comparisons.items():
        table = compare(codes, arguments.rounds)
        show(table, title)
        tables.append(table.assign(comparison=title))
    table = pd.concat(tables, ignore_index=True)
    ours = table[table["name"] == "lgg"]
    keep(table, draw_ratios(ours, list(ours["comparison"]), "time ÷ time with PyTorch's settings"), "process_settings")


if __name__ == "__main__":
    main()
