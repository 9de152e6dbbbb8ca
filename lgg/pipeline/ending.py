"""The message at the end of a successful run, with the command that makes its report."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lgg.pipeline.interrupt import is_snakemake


def message(workflow: Any, results: str, targets: Sequence[str]) -> str:
    """Return the message at the end of a successful run.

    It includes the command for the report if all `targets`, the tables and figures of the run, exist.
    """
    missing = sum(not Path(target).exists() for target in targets)
    if missing and not workflow.storage_settings.default_storage_provider:  # other storage has no local files
        return (
            f"The requested targets are done. {len(targets) - missing} of the run's {len(targets)} tables and figures exist; "
            "run the same command without target names to make the others and to see how to make the report."
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
    # as written: Snakemake's parsed values have other types
    settings = workflow.config_settings.config_args
    if settings:
        command += ["--config", *([settings] if isinstance(settings, str) else settings)]
    return command


def _profiles(given: Sequence[str]) -> list[str]:
    """Return the options of a command line that name profiles, which may set where results are stored."""
    if not given or not is_snakemake(Path(given[0])):
        return []
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--profile", "--workflow-profile"):
        options.add_argument(name)
    found, _ = options.parse_known_args(given[1:])
    return [part for name, value in vars(found).items() if value for part in (f"--{name.replace('_', '-')}", value)]
