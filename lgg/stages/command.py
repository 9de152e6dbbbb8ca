"""The command line that all stages share."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lgg.errors import LggError


def run(
    stage: Callable[[argparse.Namespace], None],
    *,
    inputs: Sequence[str] = (),
    lists: Sequence[str] = (),
    optional: Sequence[str] = (),
    outputs: Sequence[str],
) -> None:
    """Parse the arguments of a stage and run it.

    Args:
        inputs, lists, optional: names of files to read; those in `lists` may be several, those in `optional` absent.
        outputs: names of files to write, given as ``--out-NAME``.

    Every stage also takes ``--recipe`` (a JSON object), ``--threads`` and ``--gpus``. A mistake that a person can mend
    ends with its message and status 1, without a traceback.
    """
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
    try:
        stage(parser.parse_args())
    except LggError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(
            f"error: a file could not be read or written: {error}. Check free space and permissions, then run again."
        )
