"""What the training steps of the paper's configuration cost on a GPU: one command, of at most eight minutes.

    python benchmarks/step_times.py [--minutes 8] [--rounds 3] [--steps 20] [--device cpu] [--out FILE.csv]

Without a GPU it measures nothing, unless told to measure the CPU. First the tests that need a GPU run, for half of the time at
most; where one fails, times of captured steps mean nothing. Then every training of config/cifar10.yaml takes steps at the
paper's sizes, with nothing else running: one network at a time, its steps one by one and replayed as CUDA graphs, interleaved;
then 1 to 16 networks side by side, each with its own graph. All of it in bfloat16 and then in float32, whose convolutions use
TF32 as PyTorch sets it. What is not reached in time or fails is named.

Prints milliseconds, TFLOP/s, memory and ratios as Markdown tables, the goals, and the hours of all training runs. Writes
benchmarks/results/step_times.csv, or FILE.csv: one row per measurement, where `seconds_per_step` is the time in which each of
`networks` networks takes one step, and `gigabytes` the memory that their first steps reserve.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from _common import RESULTS, begin, show
from kernels import PRECISIONS, REFERENCES, WITH_TEACHER, student_and_teacher
from operations import networks_of, operations_of_steps, steps_of
from spreading import HOUR, ROOT, paper, some_images, trials

from lgg.devices import name_of, prepare
from lgg.pipeline.config import Config
from lgg.training.timing import SideBySide, Trial, measure

#: files of tests, some of whose tests need a GPU
GPU_TESTS = ("tests/test_on_a_gpu.py", "tests/evaluation/test_evaluation_on_a_gpu.py", "tests/losses/test_parseval.py")

SIDE_BY_SIDE = (1, 2, 4, 8, 16)
#: trainings timed side by side: the largest network, the smallest, and one with a teacher
SEVERAL = ("robustness.baseline", "distillation.baseline", "distillation.gkd")

#: on one H100 in bfloat16: the most milliseconds of a step alone, and the most times its reference's step
MILLISECONDS = {"robustness.baseline": 1.8, "distillation.baseline": 1.5}
RATIOS = {
    "robustness.regularizer": 1.10,
    "robustness.parseval": 1.05,
    "robustness.adversarial": 6.0,
    "distillation.gkd": 1.15,
}
TERAFLOPS_SIDE_BY_SIDE, HOURS = 250.0, 8.0


def tests_pass(seconds: float) -> bool:
    """Run the tests that need a GPU, in a process of their own, and return whether all passed in that many seconds."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-rs", *GPU_TESTS]
    try:
        return subprocess.run(command, cwd=ROOT, check=False, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"The tests were ended after {seconds:.0f} seconds.", flush=True)
        return False


@contextlib.contextmanager
def going_on(what: str) -> Iterator[None]:
    """Name `what` is not measured if PyTorch raises an error inside, such as one of memory, and go on after it."""
    try:
        yield
    except RuntimeError as error:
        print(f"not measured, since it fails: {what} ({str(error).partition(chr(10))[0]})", flush=True)


class Measurements:
    """Rows of the table, collected until the time is up.

    Args:
        config: the configuration whose trainings are timed.
        images: the file of the images.
        device: where they take steps.
        rounds, steps: of each measurement.
        until: by `time.monotonic`.
    """

    def __init__(
        self, config: Config, images: Path, device: torch.device, *, rounds: int, steps: int, until: float
    ) -> None:
        self.config = config
        self.images = images
        self.device = device
        self.rounds = rounds
        self.steps = steps
        self.until = until
        self.rows: list[dict[str, Any]] = []

    @property
    def ways(self) -> tuple[bool, ...]:
        """Whether steps are captured: both ways on a GPU."""
        return (False, True) if self.device.type == "cuda" else (False,)

    def trainings(self, precision: str, captured: bool, only: str | None = None) -> dict[str, Trial]:
        """Return all trainings by SECTION.METHOD, and the reference of distillation, ready to take steps; or `only` one."""
        found = trials(self.config, self.images, self.device, only)
        if only is None:
            found |= student_and_teacher(found)
        return {
            name: replace(trial, precision=precision, captured=captured, apart=True) for name, trial in found.items()
        }

    def alone(self, precision: str) -> None:
        """Time every training, one network at a time, in every way."""
        if self._late(f"one network at a time, {precision}"):
            return
        ready = {(name, way): one for way in self.ways for name, one in self.trainings(precision, way).items()}
        memory = {}
        for (name, way), trial in ready.items():
            with going_on(f"{name}, {precision}"):
                memory[name, way] = self._gigabytes([trial])
        by_text = {f"{name} {way}": (name, way) for name, way in memory}
        for row in measure({text: ready[key] for text, key in by_text.items()}, rounds=self.rounds, steps=self.steps):
            name, way = by_text[row["name"]]
            self._add(ready[name, way], name, 1, row["round"], row["seconds_per_step"], memory[name, way])

    def side_by_side(self, name: str, precision: str) -> None:
        """Time 1 to 16 networks of one training side by side, their steps captured where there is a GPU."""
        for number in SIDE_BY_SIDE:
            if self._late(f"{number} networks of {name} side by side, {precision}"):
                return
            networks = [self.trainings(precision, self.ways[-1], name)[name] for _ in range(number)]
            memory = self._gigabytes(networks)
            for row in measure({name: SideBySide(networks)}, rounds=self.rounds, steps=self.steps):
                self._add(networks[0], name, number, row["round"], row["seconds_per_step"], memory)

    def _late(self, what: str) -> bool:
        late = time.monotonic() > self.until
        if late:
            print(f"not measured, since the time is up: {what}", flush=True)
        return late

    def _gigabytes(self, networks: list[Trial]) -> float:
        """Return the memory that warming these networks up reserves; not a number on a CPU."""
        if self.device.type != "cuda":
            return float("nan")
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved(self.device)
        measure({"": SideBySide(networks)}, rounds=0, steps=0)
        return (torch.cuda.memory_reserved(self.device) - before) / 1e9

    def _add(self, trial: Trial, name: str, number: int, round_: int, seconds: float, memory: float) -> None:
        self.rows.append(
            {"name": name, "precision": trial.precision, "captured": trial.step.is_captured, "networks": number}
            | {"round": round_, "seconds_per_step": seconds, "gigabytes": memory}
        )


def medians(times: pd.DataFrame, operations: Mapping[str, int]) -> pd.DataFrame:
    """Return a row per training, precision, way and number of networks: median and range in ms, TFLOP/s, memory, ratio.

    The ratio is to the reference's step of the same precision and way (see `kernels.REFERENCES`), alone.
    """
    keys = ["name", "precision", "captured", "networks"]
    groups = times.groupby(keys, sort=False)
    found = groups["seconds_per_step"].agg(["median", "min", "max"]).mul(1e3).add_prefix("ms_")
    found["gigabytes"] = groups["gigabytes"].first()
    found = found.reset_index()
    seconds = found["ms_median"] / 1e3
    found["teraflops"] = found["name"].map(operations) * found["networks"] / seconds / 1e12
    alone = found[found["networks"] == 1].set_index(keys[:3])["ms_median"]
    references = [
        alone.get((REFERENCES.get(name.split(".")[0]), precision, captured))
        for name, precision, captured in zip(found["name"], found["precision"], found["captured"], strict=True)
    ]
    found["ratio"] = found["ms_median"] / pd.Series(references, dtype=float).where(found["networks"] == 1)
    return found


def goals(table: pd.DataFrame, hours: float) -> pd.DataFrame:
    """Return the goals for one H100 in bfloat16, with what was measured: captured steps where there are some."""
    best = table[(table["precision"] == "bfloat16") & (table["captured"] == table["captured"].any())]
    alone, several = best[best["networks"] == 1].set_index("name"), best[best["networks"] > 1]
    baseline = several[several["name"] == "robustness.baseline"]
    rows = [
        *((f"{name}: milliseconds", alone["ms_median"].get(name), most) for name, most in MILLISECONDS.items()),
        *((f"{name}: ratio", alone["ratio"].get(name), most) for name, most in RATIOS.items()),
        ("robustness.baseline side by side: TFLOP/s, at least", baseline["teraflops"].max(), TERAFLOPS_SIDE_BY_SIDE),
        ("all training runs: hours", hours, HOURS),
    ]
    return pd.DataFrame(rows, columns=["goal", "measured", "limit"])


def hours_of_all(config: Config, table: pd.DataFrame) -> float:
    """Return the hours of all training runs of `config` on one GPU, one at a time, by the fastest way of each."""
    seconds = table[table["networks"] == 1].groupby("name")["ms_median"].min() / 1e3
    names = [name for name in seconds.index if name != WITH_TEACHER]
    networks = networks_of(names)
    return sum(networks[name] * steps_of(config, name) * seconds[name] for name in names) / HOUR


def markdown(table: pd.DataFrame) -> str:
    """Return the table for a page."""
    rows = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in row] for row in table.to_numpy()]
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("nan", "")


def main() -> None:
    """Run the tests, print the tables, and write all times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS / "step_times.csv")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here that PyTorch can use, so nothing is measured.")
        return
    until = time.monotonic() + 60 * arguments.minutes
    cores = begin()
    if arguments.device == "cuda" and not tests_pass(60 * arguments.minutes / 2):
        print("Tests of the GPU failed: do not use captured steps there, and do not publish their times.", flush=True)
    device = prepare(int(arguments.device == "cuda"), cores)
    config, operations = paper(), operations_of_steps()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"rounds": arguments.rounds, "steps": arguments.steps, "until": until}
        found = Measurements(config, some_images(Path(folder)), device, **settings)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        for precision in reversed(PRECISIONS):
            plans = [(precision, partial(found.alone, precision))]
            plans += [(f"{name}, {precision}", partial(found.side_by_side, name, precision)) for name in SEVERAL]
            for what, plan in plans:
                with going_on(what):
                    plan()
                # each time, in case the next one never ends
                times = pd.DataFrame(found.rows).assign(device=name_of(device), torch=torch.__version__)
                times.to_csv(arguments.out, index=False, float_format="%.5g")
    if not found.rows:
        raise SystemExit("nothing could be measured")
    table = medians(times, operations)
    print(f"\n{name_of(device)}, PyTorch {torch.__version__}\n\n{markdown(table)}\n")
    show(goals(table, hours_of_all(config, table)), "goals for one H100 in bfloat16")


if __name__ == "__main__":
    main()
