"""Runs a stage with its own GPUs: ``python -m lgg.pipeline STAGE ARGUMENTS…``.

``--gpus N`` among the arguments is how many it is to have. They are chosen before the stage, and with it torch, is loaded.
"""

import difflib
import pkgutil
import runpy
import sys

import lgg.pipeline.stages
from lgg.errors import LggError
from lgg.pipeline.gpus import claimed
from lgg.pipeline.streams import outlast
from lgg.training.signals import pass_over_warnings
from lgg.training.terminal import name_job


def main(arguments: list[str]) -> None:
    modules = {module.name for module in pkgutil.iter_modules(lgg.pipeline.stages.__path__)}
    stages = sorted(modules - {"networks"})  # what stages share
    name = arguments[0] if arguments else ""
    if name not in stages:
        near = difflib.get_close_matches(name, stages)
        sys.exit(
            f"error: there is no stage {name!r}. {'Near to it' if near else 'There'} are: {', '.join(near or stages)}"
        )
    sys.argv = [f"lgg.pipeline.stages.{name}", *arguments[1:]]
    name_job(arguments[1:])
    pass_over_warnings()
    outlast()
    try:
        with claimed(_gpus(arguments[1:])):
            runpy.run_module(f"lgg.pipeline.stages.{name}", run_name="__main__", alter_sys=True)
    except LggError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _gpus(arguments: list[str]) -> int:
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before == "--gpus" and argument.isdecimal():
            return int(argument)
        if argument.startswith("--gpus=") and argument.partition("=")[2].isdecimal():
            return int(argument.partition("=")[2])
    return 0  # what is no number is refused by the stage


if __name__ == "__main__":
    main(sys.argv[1:])
