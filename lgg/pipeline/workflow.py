"""What the Snakefile does before it declares rules: reads the configuration and prepares jobs. Does not import torch."""

import copy
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from snakemake.common.configfile import load_configfile
from snakemake.logging import logger
from snakemake.settings.types import ConfigSettings
from snakemake.utils import update_config

from lgg.errors import ConfigError
from lgg.pipeline import gpus, recipes
from lgg.pipeline.config import Config, plan
from lgg.pipeline.config.overlays import read_arguments
from lgg.pipeline.environment import Environment
from lgg.pipeline.interrupt import is_snakemake
from lgg.pipeline.streams import outlast
from lgg.training import terminal

LONGEST = 100_000  # characters of an environment variable; Linux starts no process with one of 128 KiB


def start(raw: Mapping[str, Any], root: Path, given: ConfigSettings | None = None) -> Config:
    """Return the validated configuration, and let jobs find the `python` and the package that this Snakefile uses.

    Args:
        raw: the configuration as merged by Snakemake.
        root: the Snakefile's folder.
        given: the files and command line that it was merged from.

    Jobs run ``python -m lgg.pipeline …``. If the environment is not activated, the first `python` on PATH may be another one,
    so the folder of the one that runs Snakemake is put first, and `root` first on PYTHONPATH.

    Raises ConfigError if the configuration is invalid, or the environment has no `python` for the jobs.
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
    if is_snakemake(Path(sys.argv[0])):
        outlast(logger)
    return config


def _export(config: Config, locks: Mapping[str, str]) -> None:
    """Export to the jobs that this process starts what they cannot know: see `Environment`.

    On a cluster each job has its own Snakemake, which exports its own values: the terminal belongs to another machine.
    """
    # without them a check reports the mistakes of its own row alone
    rows = recipes.rows_of_checks(config)
    Environment(
        snakemake=os.getpid(),
        terminal=terminal.name(),
        gpus=locks,
        jobs_per_gpu=config.resources.jobs_per_gpu,
        captured_steps=config.resources.captured_steps,
        checkpoints=config.resources.checkpoints.model_dump(mode="json"),
        rows=rows if len(json.dumps(rows)) <= LONGEST else {},
    ).export()


def _layers(raw: Mapping[str, Any], root: Path, given: ConfigSettings) -> list[Mapping[str, Any]]:
    """Return the layers of the configuration in the order of merging: the base, files, the command line.

    Snakemake has already merged them, but in its result an entry whose kind an overlay changed still has keys of the former
    kind, keys that an overlay mentions come first, which would reorder the rows of a table, and values of the command line
    are text. If this workflow is a module of another one, only the merged configuration is available.
    """
    path = root / "config" / "config.yaml"
    base = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    files = [load_configfile(file) for file in given.configfiles]
    if raw not in (_merged(base, *files, given.config), _merged(*files, given.config)):
        return [base, raw]
    return [base, *files, read_arguments(given.config_args or (), given.config)]


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return `layers` merged as Snakemake merges them."""
    whole: dict[str, Any] = {}
    for layer in layers:
        update_config(whole, copy.deepcopy(layer))
    return whole


def _put_first(variable: str, folder: str) -> None:
    others = [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry and entry != folder]
    os.environ[variable] = os.pathsep.join([folder, *others])


def gpus_of_jobs(config: Config, limit: int | None) -> tuple[int, int]:
    """Return the number of GPUs that a training or evaluation job requests, 0 or 1, and that of the timing job, which is all.

    `limit` is the number of places on GPUs that this run may use at once, from ``--resources gpu=N``. The GPUs found on this
    machine are passed to the jobs that run on it.

    Raises ConfigError if jobs are required to use a GPU but not allowed any.
    """
    found = _usable(config.resources.device, limit)
    _export(config, found or {})
    if found is None:
        return 0, 0
    places = len(found) * config.resources.jobs_per_gpu
    return 1, min(limit or 1, places or sys.maxsize)


def _usable(device: str, limit: int | None) -> Mapping[str, str] | None:
    """Return the locks of the GPUs that jobs on this machine may use; None if jobs run on the CPU."""
    if device == "cuda" and limit == 0:
        raise ConfigError(
            "resources.device is cuda, but with `gpu=0` no job may use a GPU. Use `--resources gpu=1`, or as many as there "
            "are (or `resources: gpu:` in a profile), or set resources.device to cpu."
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


def starts_jobs(workflow: Any) -> bool:
    """Return whether this is the Snakemake that the user started, not one that runs a single job."""
    return str(getattr(workflow.exec_mode, "name", "DEFAULT")) == "DEFAULT"
