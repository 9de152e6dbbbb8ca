"""What the Snakefile does before it declares rules. Imports neither torch nor torchvision."""

import argparse
import contextlib
import copy
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from snakemake.common.configfile import load_configfile
from snakemake.logging import logger
from snakemake.settings.types import ConfigSettings
from snakemake.utils import update_config

from lgg.errors import ConfigError
from lgg.pipeline import gpus
from lgg.pipeline.config import Config, plan
from lgg.pipeline.config.overlays import read_arguments
from lgg.pipeline.environment import Environment
from lgg.pipeline.streams import outlast
from lgg.training import terminal
from lgg.training.signals import ENDING, WRITING


def start(raw: Mapping[str, Any], root: Path, given: ConfigSettings | None = None) -> Config:
    """Return the validated configuration, and let jobs find `python` and the package that this Snakefile uses.

    Args:
        raw: the configuration as Snakemake has put it together.
        root: the Snakefile's folder.
        given: the files and command line that it was put together from.

    Jobs run ``python -m lgg.pipeline …``. The first `python` on PATH may be another one where the environment is not
    activated, so the folder of the one that runs Snakemake goes first, and `root` goes first on PYTHONPATH.

    Raises ConfigError where the configuration cannot be used, or the environment has no `python` for the jobs.
    """
    _put_first("PATH", str(Path(sys.executable).parent))
    _put_first("PYTHONPATH", str(root))
    if shutil.which("python") is None:
        raise ConfigError(
            f"Snakemake runs in {sys.executable}, but there is no `python` next to it for the jobs. "
            "Install the extra `pipeline`, which includes Snakemake, into one virtual or conda environment."
        )
    config = plan(*_layers(raw, root, given or ConfigSettings()), folder=Path.cwd())
    for line in config.data.notices:
        print(line, file=sys.stderr)
    if _is_snakemake(Path(sys.argv[0])):
        outlast(logger)
    return config


def _export(config: Config, locks: Mapping[str, str]) -> None:
    """Hand over to the jobs that this process starts what they cannot know: see `Environment`.

    On a cluster a job has a Snakemake of its own, which hands over its own values: the terminal is another machine's.
    """
    Environment(
        snakemake=os.getpid(),
        terminal=terminal.name(),
        gpus=locks,
        jobs_per_gpu=config.resources.jobs_per_gpu,
        checkpoints=config.resources.checkpoints.model_dump(mode="json"),
    ).export()


def heed_signals() -> None:
    """Let SIGTERM and SIGHUP end this Snakemake and its jobs as Ctrl-C does, and pass on what asks for checkpoints.

    By default Snakemake waits for its jobs after SIGTERM; the other signals kill it and leave its lock behind. Signals that
    are ignored from the start, as SIGHUP under nohup, stay ignored. Where a program uses Snakemake as a library, its signals
    are left alone.
    """
    if not _is_snakemake(Path(sys.argv[0])) or sys.platform == "win32":
        return
    # Snakemake sets its own handler of SIGTERM later, but Python also writes the numbers of all signals to a pipe
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    others = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if others != -1:  # something else listens already
        signal.set_wakeup_fd(others)
        os.close(reading)
        os.close(writing)
        return
    for numbers, handler in (((signal.SIGTERM, signal.SIGHUP), _interrupt), (WRITING, _leave_it_to_jobs)):
        for number in numbers:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, handler)
    threading.Thread(target=_pass_on, args=(reading,), daemon=True).start()


# Taken by the first signal that interrupts Snakemake: shells and systems send several when they end, and a second
# interruption would cut short how Snakemake handles the first.
_interrupted = threading.Lock()


def _interrupt(*_: object) -> None:
    if _interrupted.acquire(blocking=False):
        raise KeyboardInterrupt


def _leave_it_to_jobs(*_: object) -> None:
    """Do nothing: `_pass_on` gets the signal too."""


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
            command = process.cmdline()
            if command[1:2] == ["-m"] and "".join(command[2:3]) == "lgg.pipeline":
                process.send_signal(number)


def _layers(raw: Mapping[str, Any], root: Path, given: ConfigSettings) -> list[Mapping[str, Any]]:
    """Return the layers of the configuration, each to be laid over those before it: the base, files, the command line.

    Snakemake has merged them already, but where an overlay changes a kind, keys of the former kind remain; keys that an
    overlay mentions come first, which would reorder the rows of a table; and values of the command line are text. Where this
    workflow is a module of another one, the merged configuration is all that there is.
    """
    path = root / "config" / "config.yaml"
    base = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    files = [load_configfile(file) for file in given.configfiles]
    if raw not in (_merged(base, *files, given.config), _merged(*files, given.config)):
        return [base, raw]
    return [base, *files, read_arguments(given.config_args or (), given.config)]


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return `layers` merged as Snakemake does it."""
    whole: dict[str, Any] = {}
    for layer in layers:
        update_config(whole, copy.deepcopy(layer))
    return whole


def _put_first(variable: str, folder: str) -> None:
    others = [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry and entry != folder]
    os.environ[variable] = os.pathsep.join([folder, *others])


def gpus_of_jobs(config: Config, limit: int | None) -> tuple[int, int]:
    """Return how many GPUs a job of training or evaluation asks for, 0 or 1, and the job that is timed, which takes all.

    `limit` is how many places on GPUs this run may use at once, as ``--resources gpu=N`` says. What is decided here for
    this machine is handed to the jobs that run on it.

    Raises ConfigError where jobs must have a GPU, and may not.
    """
    found = _usable(config.resources.device, limit)
    _export(config, found or {})
    if found is None:
        return 0, 0
    places = len(found) * config.resources.jobs_per_gpu
    return 1, min(limit or 1, places or sys.maxsize)


def _usable(device: str, limit: int | None) -> Mapping[str, str] | None:
    """Return the locks of the GPUs that jobs on this machine may use; None where jobs are to run on the CPU."""
    if device == "cuda" and limit == 0:
        raise ConfigError(
            "resources.device is cuda, but with `gpu=0` no job may use a GPU. Give `--resources gpu=1`, or as many as there "
            "are (a profile's `resources: gpu:` counts too), or set resources.device to cpu."
        )
    if device == "cpu":
        return None
    found = gpus.usable()
    if device == "cuda":
        if found.why:
            logger.warning(f"resources.device: cuda, but on this machine {found.why}.")
        return found.locks
    why = "no job may use a GPU (gpu=0)" if limit == 0 and found.locks else found.why
    if why:
        logger.info(f"resources.device: auto is the CPU here: {why}.")
    return None if why else found.locks or None


def growing(minutes: int) -> Callable[[Any, int], int]:
    """Return a rule's `runtime`: `minutes`, and as many again for each attempt after the first."""
    return lambda wildcards, attempt: minutes * attempt  # noqa: ARG005  (Snakemake goes by the names)


def asks(what: Any, gpus: int) -> dict[str, Any]:
    """Return a rule's `resources`: GPUs, and of an entry of the key `resources` memory and time, more with each attempt."""
    return {"gpu": gpus, "mem_mb": what.mem_mb, "runtime": growing(what.runtime)}


def stage(recipe: Any) -> dict[str, Any]:
    """Return a rule's `params` that name the stage, its settings and its code.

    `recipe` is a `lgg.pipeline.recipes.Recipe`, or a function that returns one for the wildcards of a job.
    """

    def param(name: str) -> Any:
        if callable(recipe):
            return lambda wildcards: getattr(recipe(wildcards), name)
        return getattr(recipe, name)

    return {"stage": param("stage"), "recipe": param("settings"), "code": param("code")}


def files(wildcards: Any, input: Any, output: Any) -> str:  # noqa: A002, ARG001  (Snakemake goes by the names)
    """Return a command's options for the files of a job: ``--NAME`` for inputs and ``--out-NAME`` for outputs.

    What has no file is left out. Snakemake does not track parameters that are made of inputs and outputs.
    """
    named = [*input.items(), *((f"out-{name}", paths) for name, paths in output.items())]
    return " ".join(
        f"--{name} {shlex.join([paths] if isinstance(paths, str) else paths)}" for name, paths in named if paths
    )


def each(methods: Iterable[str], seeds: Iterable[int]) -> dict[str, str]:
    """Return the wildcard constraints of a rule that has a job for each of `methods` and `seeds`."""
    return {"method": one_of(methods), "seed": one_of(map(str, seeds))}


def in_groups(seeds: Sequence[int], size: int) -> list[list[int]]:
    """Return `seeds` in groups of `size`, the last of which may be smaller."""
    return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]


def one_of(names: Iterable[str]) -> str:
    """Return a wildcard pattern that matches just these names, or nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def starts_jobs(workflow: Any) -> bool:
    """Return whether this is the Snakemake that the user started, and not one that runs a single job for it."""
    return str(getattr(workflow.exec_mode, "name", "DEFAULT")) == "DEFAULT"


def ending(workflow: Any, results: str, targets: Sequence[str]) -> str:
    """Return the message at the end of a successful run.

    It gives the command for the report where all `targets`, the tables and figures of the whole run, exist.
    """
    missing = sum(not Path(target).exists() for target in targets)
    if missing and not workflow.storage_settings.default_storage_provider:  # in other storage they are no local files
        return (
            f"Done with what was asked for. {len(targets) - missing} of the run's {len(targets)} tables and figures exist; "
            "the same command without names of files or rules makes the others, and then says how to make the report."
        )
    return (
        f"Done: {results}/tables/, {results}/figures/; results/README.md explains them.\n"
        f"To make the report, {results}/report.html: {shlex.join(report_command(workflow, results, sys.argv))}"
    )


def report_command(workflow: Any, results: str, given: Sequence[str]) -> list[str]:
    """Return the command that makes the report of this run, with the same Snakefile, folder, profile and configuration.

    Args:
        given: the command line of this Snakemake, for its profiles.
    """
    command = ["snakemake", "--report", f"{results}/report.html"]
    snakefile, folder = Path(workflow.main_snakefile).absolute(), workflow.overwrite_workdir
    if folder is not None or snakefile != Path.cwd() / "Snakefile":
        command += ["--snakefile", str(snakefile)]
    if folder is not None:
        command += ["--directory", str(Path.cwd())]
    command += _profiles(given)
    if workflow.overwrite_configfiles:
        command += ["--configfile", *map(str, workflow.overwrite_configfiles)]
    # as they were written: Snakemake's parsed values have other types
    settings = workflow.config_settings.config_args
    if settings:
        command += ["--config", *([settings] if isinstance(settings, str) else settings)]
    return command


def _profiles(given: Sequence[str]) -> list[str]:
    """Return the options of a command line that name profiles, which may set where results are stored."""
    if not given or not _is_snakemake(Path(given[0])):
        return []
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--profile", "--workflow-profile"):
        options.add_argument(name)
    found, _ = options.parse_known_args(given[1:])
    return [part for name, value in vars(found).items() if value for part in (f"--{name.replace('_', '-')}", value)]
