"""Trains the paper's configuration on a GPU that is lent for a short time: the most valuable results first, up to a time limit.

    python tools/paper_length.py 50m                            config/cifar10.yaml with config/paper-length.yaml
    python tools/paper_length.py 50m --configfile mine.yaml     the same with another overlay after them
    python tools/paper_length.py 50m --cores 8                  further arguments are Snakemake's

It runs Snakemake once for each step, with the configuration without what later steps add: so a step leaves a complete run, with
its tables and `provenance.json`, and the next one goes on from it. At the limit, or on Ctrl-C, SIGTERM or SIGHUP, training runs
write checkpoints. The same command goes on from there. Run it from the repository's root.
"""

import argparse
import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # Snakemake needs it too
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lgg.errors import ConfigError
from lgg.pipeline.config import TEACHER, Config, plan
from lgg.pipeline.config.run import Comparison
from lgg.pipeline.interrupt import is_snakemake
from lgg.training.signals import ENDING, not_ignored

CONFIG = Path("config")
OVERLAYS = ("cifar10.yaml", "paper-length.yaml")
LOCKS = Path(".snakemake/locks")
SECONDS = {"s": 1, "m": 60, "h": 3600}
GRACE = 120.0  # seconds in which jobs write checkpoints and Snakemake ends; after them it is killed


@dataclass(frozen=True)
class Step:
    """A part of the run.

    Attributes:
        what: its name, for the user.
        leaving_out: what Snakemake's ``--config`` leaves out of the configuration until this step.
        networks: the folders of the networks that this step trains, relative to the run's.
        table: the table that it makes.
    """

    what: str
    leaving_out: Sequence[str]
    networks: Sequence[str]
    table: str

    def is_made(self, results: Path) -> bool:
        """Return whether networks and table are there."""
        models = [results / folder / "model.safetensors" for folder in self.networks]
        return all(path.is_file() for path in [*models, results / f"tables/{self.table}.csv"])


def steps_of(settings: Config) -> list[Step]:
    """Return the steps that train something, the most valuable first; PGD training takes longest, so it is the last."""
    students = settings.distillation.trained_here if settings.distillation else {}
    embeddings = settings.embedding.active_methods if settings.embedding else {}
    robust = settings.robustness.trained_here if settings.robustness else {}
    under_pgd = [name for name, method in robust.items() if method.adversarial]
    others = [name for name in robust if name not in under_pgd]
    no_pgd = [f"robustness={{methods: {{{', '.join(f'{name}: null' for name in under_pgd)}}}}}"] if under_pgd else []
    taught = [*_teacher(settings), *_seeded(settings, "distillation", students)]
    defended, attacked = (_seeded(settings, "robustness", names) for names in (others, under_pgd))
    embedded = _seeded(settings, "embedding", embeddings)
    steps = [
        Step("Table 1", ["embedding=null", "robustness=null"], taught, "table1"),
        Step("Table 3 without PGD training", ["embedding=null", *no_pgd], defended, "table3"),
        Step("Table 2", no_pgd, embedded, "table2"),
        Step("PGD training for Table 3", [], attacked, "table3"),
    ]
    return [step for step in steps if step.networks]


def _teacher(settings: Config) -> list[str]:
    teacher = settings.distillation and settings.distillation.teacher
    return [f"distillation/{TEACHER}"] if teacher and teacher.is_trained_here else []


def _seeded(settings: Config, section: Comparison, methods: Iterable[str]) -> list[str]:
    """Return the folders of the networks of `methods`, one for each seed and, of Table 3's baseline, one more."""
    folders = []
    for name in methods:
        seeds = settings.seeds_of(section)
        if section == "robustness" and settings.robustness:
            seeds = settings.robustness.seeds_needed(name, seeds)
        folders += [f"{section}/{name}/seed{seed}" for seed in seeds]
    return folders


def report(results: Path, steps: Sequence[Step], ended: Sequence[int | None]) -> list[str]:
    """Return a line on each step: finished if Snakemake's exit status, in `ended`, is 0."""
    lines = []
    for number, step in enumerate(steps):
        folders = [results / folder for folder in step.networks]
        trained = sum((folder / "model.safetensors").is_file() for folder in folders)
        begun = sum((folder / "checkpoint.safetensors").is_file() for folder in folders)
        status = ended[number] if number < len(ended) else None
        state = {0: "finished", None: "not finished"}.get(status, "failed")
        some = f", {begun} with a checkpoint" if begun else ""
        lines.append(f"{step.what}: {state}; {trained} of {len(folders)} networks trained{some}")
    return lines


def run(command: Sequence[str], seconds: float) -> int | None:
    """Return a command's exit status; None if it was stopped after `seconds`, or by a KeyboardInterrupt."""
    # in a group of its own: Ctrl-C would reach Snakemake twice, from the terminal and from here
    child = subprocess.Popen(command, process_group=0)
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        return child.wait(timeout=seconds)
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    child.terminate()
    try:
        child.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        child.kill()  # its jobs end then
        child.wait()
    return None


def unlock(command: Sequence[str]) -> None:
    """Remove the lock that a killed Snakemake has left; where one is running here, leave it in its place."""
    if any(LOCKS.glob("*")) and not _snakemake_works_here():
        subprocess.run([*command, "--unlock"], check=False)


def _snakemake_works_here() -> bool:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()[1:4]
            named = words[:2] == ["-m", "snakemake"] or any(is_snakemake(Path(word)) for word in words)
            if named and Path(process.cwd()) == Path.cwd():
                return True
    return False


def seconds_of(text: str) -> int:
    """Return the seconds of a time such as 50m, 2h or 90s."""
    if not (found := re.fullmatch(r"([1-9][0-9]*)([smh])", text)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time limit; write a whole number and s, m or h, such as 50m"
        )
    return int(found[1]) * SECONDS[found[2]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all that there was time for has ended well."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("limit", type=seconds_of, help="when to stop: 50m, 2h, 90s")
    parser.add_argument(
        "--configfile", nargs="+", type=Path, default=[], help="overlays after config/paper-length.yaml"
    )
    given, further = parser.parse_known_args(arguments)
    if any(word.startswith(("--config", "-C")) for word in further):
        parser.error("--config is what the steps differ in: write an overlay, and give it with --configfile")
    overlays = [*(CONFIG / name for name in OVERLAYS), *given.configfile]
    try:
        layers = [yaml.safe_load(path.read_text("utf-8")) or {} for path in (CONFIG / "config.yaml", *overlays)]
        settings = plan(*layers, folder=Path.cwd())
    except (OSError, yaml.YAMLError, ConfigError) as error:
        parser.error(str(error))
    steps, results = steps_of(settings), Path("results", settings.run)
    snakemake = [sys.executable, "-m", "snakemake", "--keep-going", "--cores", "all", *further]
    snakemake += ["--configfile", *map(str, overlays)]
    for number in not_ignored(ENDING):
        signal.signal(number, signal.default_int_handler)

    ended: list[int | None] = []
    with contextlib.suppress(KeyboardInterrupt):
        for step in steps:
            # the last step is the whole run; an earlier one would take PGD training out of tables again
            if step is not steps[-1] and step.is_made(results):
                ended.append(0)
                continue
            print(f"== {step.what}", flush=True)
            unlock(snakemake)
            left = given.limit - (time.monotonic() - began)
            changes = ["--config", *step.leaving_out] if step.leaving_out else []
            ended.append(run([*snakemake, *changes], left) if left > 0 else None)
            if ended[-1] is None:
                break
    print("\n".join([f"== {results}", *report(results, steps, ended)]))
    if None in ended or len(ended) < len(steps):
        print(f"Stopped. The same command goes on from here, and on another machine to which {results} is copied.")
    return int(any(ended))


if __name__ == "__main__":
    sys.exit(main())
