"""What the Snakefile does before it declares rules. Imports neither torch nor torchvision."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from snakemake.logging import logger
from snakemake.utils import update_config

from lgg import gpus, terminal
from lgg.config import Config, check_paths, load
from lgg.errors import ConfigError
from lgg.signals import ENDING, WRITING
from lgg.streams import outlast


def start(raw: dict[str, Any], root: Path) -> Config:
    """Return the validated configuration, and let jobs find `python` and the package that this Snakefile uses.

    Jobs run ``python -m lgg.stages.…``: whatever stands first on PATH would be another Python where the environment is
    not activated, so the one that runs Snakemake is put first, and `root`, the Snakefile's folder, on PYTHONPATH.

    Raises ConfigError where the configuration cannot be used, or the environment has no `python` for the jobs.
    """
    _put_first("PATH", str(Path(sys.executable).parent))
    _put_first("PYTHONPATH", str(root))
    if shutil.which("python") is None:
        raise ConfigError(
            f"Snakemake runs in {sys.executable}, but beside it there is no `python` for the jobs. "
            "Install lgg and Snakemake into one virtual or conda environment."
        )
    config = load(_whole(root, raw))
    check_paths(config, Path.cwd())
    os.environ["LGG_SNAKEMAKE"] = str(os.getpid())
    os.environ["LGG_JOBS_PER_GPU"] = str(config.resources.jobs_per_gpu)
    os.environ["LGG_CHECKPOINTS"] = json.dumps(config.resources.checkpoints.model_dump(mode="json"))
    terminal.offer()
    if _is_snakemake(Path(sys.argv[0])):
        outlast(logger)
    return config


def heed_signals() -> None:
    """Let SIGTERM and SIGHUP end the jobs of this Snakemake, and itself, as Ctrl-C does, and pass on what asks for checkpoints.

    By itself Snakemake waits for jobs to finish after SIGTERM, and dies of the other signals with its lock left behind.
    Signals that were ignored from the start, as SIGHUP under nohup, stay so. A program that uses Snakemake as a library
    keeps its signals to itself.
    """
    if not _is_snakemake(Path(sys.argv[0])) or sys.platform == "win32":
        return
    # Snakemake sets a handler of SIGTERM of its own later. But Python writes the numbers of all signals to a pipe as well.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    others = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if others != -1:  # somebody else listens already
        signal.set_wakeup_fd(others)
        os.close(reading)
        os.close(writing)
        return
    for numbers, handler in (((signal.SIGTERM, signal.SIGHUP), _interrupt), (WRITING, _leave_it_to_jobs)):
        for number in numbers:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, handler)
    threading.Thread(target=_pass_on, args=(reading,), daemon=True).start()


# Taken by the first signal that interrupts Snakemake: shells, systems and kernels send several at an end, and a second
# interruption would cut short what the first one leads to.
_interrupted = threading.Lock()


def _interrupt(*_: object) -> None:
    if _interrupted.acquire(blocking=False):
        raise KeyboardInterrupt


def _leave_it_to_jobs(*_: object) -> None:
    """Do nothing: `_pass_on` hears of the signal too."""


def _is_snakemake(program: Path) -> bool:
    return program.stem == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")


def _pass_on(pipe: int) -> None:
    while arrived := os.read(pipe, 1):
        number = signal.Signals(arrived[0])
        if number in ENDING:
            _signal_stages(signal.SIGTERM)
        elif number in WRITING:
            _signal_stages(number)
        ours = signal.getsignal(number) is _interrupt
        if number == signal.SIGTERM and not ours and _interrupted.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)


def _signal_stages(number: signal.Signals) -> None:
    import psutil  # type: ignore[import-untyped]  # Snakemake needs it too

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:2] == ["-m"] and process.cmdline()[2].startswith("lgg.stages"):
                process.send_signal(number)


def _whole(root: Path, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base configuration with `raw` over it, keys in the base's order, new ones last.

    Snakemake has laid overlays over the base already, but with whatever an overlay mentions first, and the rows of a table
    would move with it; and where this workflow is a module of another, Snakemake gives it that one's configuration alone.
    """
    path = root / "config" / "config.yaml"
    whole = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    update_config(whole, raw)
    return dict(whole)


def _put_first(variable: str, folder: str) -> None:
    others = [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry and entry != folder]
    os.environ[variable] = os.pathsep.join([folder, *others])


def gpus_of_jobs(config: Config, limit: int | None) -> tuple[int, int]:
    """Return how many GPUs a job of training or evaluation asks for, 0 or 1, and the job that is timed, which takes all.

    `limit` is how many places on GPUs this run may use at once, as ``--resources gpu=N`` says. What is decided here for
    this machine is handed to the jobs that run on it.

    Raises ConfigError where jobs must have a GPU, and may not.
    """
    gpus.hand_over({})
    device = config.resources.device
    if device == "cuda" and limit == 0:
        raise ConfigError(
            "resources.device is cuda, but with `gpu=0` no job may use a GPU. Give `--resources gpu=1`, or as many as there "
            "are (a profile's `resources: gpu:` counts too), or set resources.device to cpu."
        )
    if device == "cpu":
        return 0, 0
    found = gpus.usable()
    if device == "auto":
        why = "no job may use a GPU (gpu=0)" if limit == 0 and found.locks else found.why
        if why:
            logger.info(f"resources.device: auto is the CPU here: {why}.")
        if why or not found.locks:
            return 0, 0
    elif found.why:
        logger.warning(f"resources.device: cuda, but on this machine {found.why}.")
    gpus.hand_over(found.locks)
    places = len(found.locks) * config.resources.jobs_per_gpu
    return 1, min(limit or 1, places or sys.maxsize)


def growing(minutes: int) -> Callable[[Any, int], int]:
    """Return a rule's `runtime`: `minutes`, and as many again for each attempt after the first."""
    return lambda wildcards, attempt: minutes * attempt  # noqa: ARG005  (Snakemake goes by the names)


def in_groups(seeds: Sequence[int], size: int) -> list[list[int]]:
    """Return `seeds` in groups of `size`, the last of which may be smaller."""
    return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]


def one_of(names: Iterable[str]) -> str:
    """Return a wildcard pattern that matches just these names, or nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"
