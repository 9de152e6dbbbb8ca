"""The command line that all stages share."""

import argparse
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lgg.errors import Interrupted, LggError
from lgg.files import seconds_writing


def run(
    stage: Callable[[argparse.Namespace], None],
    *,
    inputs: Sequence[str] = (),
    lists: Sequence[str] = (),
    optional: Sequence[str] = (),
    optional_lists: Sequence[str] = (),
    outputs: Sequence[str] = (),
    optional_outputs: Sequence[str] = (),
    output_lists: Sequence[str] = (),
) -> None:
    """Parse the arguments of a stage and run it.

    Args:
        inputs, lists, optional, optional_lists: names of files to read; those in lists may be several, optional ones absent.
        outputs, optional_outputs, output_lists: names of files to write, given as ``--out-NAME``, likewise. What is optional
            may be named without a file.

    Every stage also takes ``--recipe`` (a JSON object), ``--code`` (the digest of its code), ``--threads`` and ``--gpus``.
    A mistake that a person can mend ends with its message and status 1, without a traceback; so does an interruption. The
    stage ends with the Snakemake that started it, even where that was killed. When all went well the last line on standard
    error says how long the stage worked and how long it wrote files, which `lgg.reporting.job_times` reads from the job's
    log.
    """
    began, written = time.perf_counter(), seconds_writing()
    parser = argparse.ArgumentParser(description=stage.__module__)
    parser.add_argument("--recipe", type=json.loads, required=True, help="the settings, as JSON")
    parser.add_argument("--code", default="", help="digest of the code; checkpoints of another are not used")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--gpus", type=int, default=0, help="number of GPUs this job was given; 0 works on the CPU")
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in optional:
        parser.add_argument(f"--{name}", type=Path, nargs="?")
    for name in lists:
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True)
    for name in optional_lists:
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[])
    for name in outputs:
        parser.add_argument(f"--out-{name}", type=Path, required=True)
    for name in optional_outputs:
        parser.add_argument(f"--out-{name}", type=Path, nargs="?")
    for name in output_lists:
        parser.add_argument(f"--out-{name}", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    _end_with_snakemake()
    try:
        stage(arguments)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Interrupted as interruption:
        sys.exit(str(interruption))
    except LggError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(
            f"error: a file could not be read or written: {error}. Check free space and permissions, then run again."
        )
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        sys.exit(
            f"error: the job ran out of memory ({str(error).partition(chr(10))[0] or type(error).__name__}). Turn down "
            "`batch_size` or the network's `base_width` or `width`, set `precision` to bfloat16, or take fewer `images`; or "
            "give jobs more: a larger resources.train.mem_mb or resources.evaluate.mem_mb, or fewer --cores at once."
        )
    writing = seconds_writing() - written
    work = time.perf_counter() - began - writing
    sys.stdout.flush()  # both streams go to one log
    print(f"job: {work:.2f} s of work and {writing:.2f} s of writing", file=sys.stderr)


def _end_with_snakemake() -> None:
    """Send this process SIGTERM when the Snakemake that started it is gone, so that no orphan keeps a GPU."""
    parent = os.environ.get("LGG_SNAKEMAKE")
    if parent is not None and int(parent) != os.getpid():
        threading.Thread(target=_wait_and_end, args=(int(parent),), daemon=True).start()


def _wait_and_end(process: int) -> None:
    try:
        descriptor = os.pidfd_open(process)
        select.select([descriptor], [], [])
    except ProcessLookupError:
        pass
    except (AttributeError, OSError):  # no Linux, or an old one
        while _exists(process):
            time.sleep(1)
    print("Snakemake is gone; this job ends too.", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def _is_lack_of_memory(error: Exception) -> bool:
    # by its words: torch.OutOfMemoryError is for GPUs alone, and not every stage imports torch
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
