"""Plans runs: `python -m snakemake --dry-run` in forks of one process that has imported Snakemake, since that takes longer.

Each line on its standard input is a JSON object of `folder`, `arguments` and `variables`. It prints a line for it: the exit
status, and what the plan said, both streams together. Each plan imports this package anew, from its folder.
"""

import gc
import json
import os
import runpy
import signal
import sys
import tempfile
from typing import Any

# all that a plan imports but this package, which each plan takes from its folder
import smart_open  # noqa: F401
import snakemake.cli
import snakemake.persistence
import snakemake.report.html_reporter

snakemake.cli.get_argument_parser()  # imports the plugins


def plan(folder: str, arguments: list[str], variables: dict[str, str]) -> None:
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
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            status = 1
            try:
                plan(**request)
                status = 0
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return [os.waitstatus_to_exitcode(status), said.read().decode("utf-8")]


if __name__ == "__main__":
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
