"""Runs the stage of a job: ``python -m lgg.pipeline STAGE OPTIONS…``.

The stage, and with it torch, is imported only once the job holds its GPUs; ``--gpus`` is their number.
"""

import difflib
import json
import os
import pkgutil
import runpy
import select
import signal
import sys
import threading
import time
from itertools import takewhile
from pathlib import Path

import lgg.pipeline.stages
from lgg.errors import LggError
from lgg.pipeline.environment import Environment
from lgg.pipeline.gpus import claimed
from lgg.pipeline.job import shared_options
from lgg.pipeline.streams import outlast
from lgg.training import terminal
from lgg.training.signals import ignore_warnings


def main(words: list[str]) -> None:
    """Run the stage named by the first of `words`, with the options that follow."""
    stage, options = _stage(words[0] if words else ""), words[1:]
    given, _ = shared_options(prog=f"python -m lgg.pipeline {stage}").parse_known_args(options)
    ignore_warnings()
    outlast()
    try:
        environment = Environment.read()
        _end_with(environment.snakemake)
        terminal.connect(environment.terminal, _name(options))
        captured = ["--captured"] if environment.captured_steps else []
        rows = ["--rows", json.dumps(environment.rows)] if environment.rows else []
        sys.argv = [stage, *options, "--checkpoints", json.dumps(environment.checkpoints), *captured, *rows]
        with claimed(given.gpus, environment.gpus, environment.jobs_per_gpu):
            runpy.run_module(f"lgg.pipeline.stages.{stage}", run_name="__main__", alter_sys=True)
    except LggError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _stage(name: str) -> str:
    """Return `name`; if there is no such stage, exit with a list of similar names."""
    modules = {module.name for module in pkgutil.iter_modules(lgg.pipeline.stages.__path__)}
    stages = sorted(modules - {"networks"})  # shared by stages
    if name in stages:
        return name
    near = difflib.get_close_matches(name, stages)
    sys.exit(f"error: there is no stage {name!r}. {'Similar names' if near else 'Stages'}: {', '.join(near or stages)}")


def _name(options: list[str]) -> str:
    """Return the folders of a job's first output, which identify it in messages: distillation/gkd/seed0, seed1."""
    first = next((place for place, option in enumerate(options) if option.startswith("--out-")), len(options))
    folders = [Path(path).parent for path in takewhile(lambda word: not word.startswith("--"), options[first + 1 :])]
    return "/".join([*folders[0].parts[-3:-1], ", ".join(folder.name for folder in folders)]) if folders else "job"


def _end_with(snakemake: int | None) -> None:
    """Send this process SIGTERM when the Snakemake that started it is gone, so that no orphan keeps a GPU."""
    if snakemake is not None:
        threading.Thread(target=_wait_and_end, args=(snakemake,), daemon=True).start()


def _wait_and_end(process: int) -> None:
    try:
        descriptor = os.pidfd_open(process)
        select.select([descriptor], [], [])
    except ProcessLookupError:
        pass
    except (AttributeError, OSError):  # not Linux, or an old one
        while _exists(process):
            time.sleep(1)
    print("Snakemake has exited; this job stops too.", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
