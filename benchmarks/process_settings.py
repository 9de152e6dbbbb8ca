"""What `lgg.devices.prepare` sets for a job, timed beside PyTorch as it comes, each in fresh processes by turns.

The start: importing torch and asking for deterministic algorithms. The step: forward and backward pass of
PreActResNet18 on the CPU, one thread, where freed memory is kept for the next step or given back to the kernel.
"""

import argparse
import platform
import statistics
import subprocess
import sys

import torch

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
model.to(memory_format=torch.channels_last)
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
    """Return what `code` prints last, in a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def compare(name: str, codes: dict[str, str], rounds: int) -> None:
    """Time both codes by turns and print their medians."""
    times: dict[str, list[float]] = {key: [] for key in codes}
    for _ in range(rounds):
        for key, code in codes.items():
            times[key].append(seconds(code))
    medians = {key: statistics.median(values) for key, values in times.items()}
    spread = ", ".join(f"{key} {min(values):.3f} to {max(values):.3f} s" for key, values in times.items())
    print(f"{name}: lgg {medians['lgg']:.3f} s, plain {medians['plain']:.3f} s, ", end="")
    print(f"ratio {medians['lgg'] / medians['plain']:.2f} (medians of {rounds}; {spread})", flush=True)


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20, help="steps in each process")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}")
    step = STEP.format(base_width=arguments.base_width, batch_size=arguments.batch_size, steps=arguments.steps)
    compare("start", {key: CLOCK.format(code=code) for key, code in START.items()}, arguments.rounds)
    compare(
        f"step, base width {arguments.base_width}, batch {arguments.batch_size}",
        {key: f"{code}\n{step}" for key, code in START.items()},
        arguments.rounds,
    )


if __name__ == "__main__":
    main()
