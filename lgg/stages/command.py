"""The command line that all stages share."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lgg.errors import LggError
from lgg.files import seconds_writing


def run(
    stage: Callable[[argparse.Namespace], None],
    *,
    inputs: Sequence[str] = (),
    lists: Sequence[str] = (),
    optional: Sequence[str] = (),
    outputs: Sequence[str] = (),
    output_lists: Sequence[str] = (),
) -> None:
    """Parse the arguments of a stage and run it.

    Args:
        inputs, lists, optional: names of files to read; those in `lists` may be several, those in `optional` absent.
        outputs, output_lists: names of files to write, given as ``--out-NAME``; those in `output_lists` may be several.

    Every stage also takes ``--recipe`` (a JSON object), ``--threads`` and ``--gpus``. A mistake that a person can mend
    ends with its message and status 1, without a traceback. Otherwise the last line on standard error says how long the
    stage worked and how long it wrote files, which `lgg.reporting.job_times` reads from the job's log.
    """
    began, written = time.perf_counter(), seconds_writing()
    parser = argparse.ArgumentParser(description=stage.__module__)
    parser.add_argument("--recipe", type=json.loads, required=True, help="the settings, as JSON")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--gpus", type=int, default=0, help="number of GPUs this job was given; 0 works on the CPU")
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in optional:
        parser.add_argument(f"--{name}", type=Path)
    for name in lists:
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True)
    for name in outputs:
        parser.add_argument(f"--out-{name}", type=Path, required=True)
    for name in output_lists:
        parser.add_argument(f"--out-{name}", type=Path, nargs="+", required=True)
    try:
        stage(parser.parse_args())
    except LggError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(
            f"error: a file could not be read or written: {error}. Check free space and permissions, then run again."
        )
    writing = seconds_writing() - written
    work = time.perf_counter() - began - writing
    sys.stdout.flush()  # both streams go to one log
    print(f"job: {work:.2f} s of work and {writing:.2f} s of writing", file=sys.stderr)
