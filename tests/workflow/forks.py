"""Runs `python -m snakemake` in forks of one process that has imported Snakemake: the import takes longer than most plans.

Each line on its standard input is a JSON object of `folder`, `arguments` and `variables`. It prints a line for it: the exit
status, and what the run said, both streams together. Each run imports this package again, from its own folder.
"""

import gc
import json
import os
import runpy
import signal
import sys
import tempfile
from typing import Any

# all that a run imports but this package, which each takes from its folder
import smart_open  # noqa: F401
import snakemake.cli
import snakemake.persistence
import snakemake.report.html_reporter

snakemake.cli.get_argument_parser()  # imports the plugins


def run(folder: str, arguments: list[str], variables: dict[str, str]) -> None:
    """Be `python -m snakemake` with `arguments`, started in `folder`."""
    signal.alarm(1200)  # as long as a run may take
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[0] = folder
    sys.argv = ["-m", *arguments]
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)


def answer(request: dict[str, Any]) -> list[Any]:
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the requests are not for its jobs
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            run(**request)
            sys.exit()
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return [os.waitstatus_to_exitcode(status), said.read().decode("utf-8")]


if __name__ == "__main__":
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
