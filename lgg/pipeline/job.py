"""The command line that all stages share."""

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lgg.errors import Interrupted, LggError
from lgg.files import seconds_writing


def shared_options(**about: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every job has; the stage also reads its recipe and files."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, **about)  # type: ignore[arg-type]
    parser.add_argument("--code", default="", help="digest of the code; checkpoints of other code are ignored")
    parser.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    parser.add_argument("--gpus", type=int, default=0, help="number of GPUs; 0: run on the CPU")
    parser.add_argument(
        "--checkpoints", type=json.loads, default={}, help="minutes and epochs between checkpoints, as JSON"
    )
    parser.add_argument("--rows", type=json.loads, default={}, help="checks of all rows' networks, as JSON")
    parser.add_argument("--captured", action="store_true", help="on a GPU, replay training steps as CUDA graphs")
    return parser


def run(stage: Callable[[argparse.Namespace], None], **files: Sequence[str]) -> None:
    """Run a stage with the options of the command line.

    `files` are the names of the stage's inputs and outputs, as `_options` takes them. Every stage also takes ``--recipe``
    (its settings, a JSON object), ``--seeds`` (of the networks it trains, where the recipe has none), ``--start`` (the weights
    that they start from, where the recipe has their digest) and the options of `shared_options`.

    On an error that the user can fix, or an interruption, exits with a message and status 1, without a traceback. The last
    line on standard error states how long the stage worked and how long it wrote files; `lgg.reporting.job_times` reads it
    from the job's log.
    """
    began, written = time.perf_counter(), seconds_writing()
    arguments = _options(inspect.getdoc(inspect.getmodule(stage)), **files).parse_args()
    try:
        stage(arguments)
    except (KeyboardInterrupt, LggError, OSError, MemoryError, RuntimeError) as error:
        message = _message(error)
        if message is None:
            raise
        sys.exit(message)
    writing = seconds_writing() - written
    work = time.perf_counter() - began - writing
    sys.stdout.flush()  # both streams go to one log
    print(f"job: {work:.2f} s of work and {writing:.2f} s of writing", file=sys.stderr)


def _options(
    description: str | None,
    *,
    inputs: Sequence[str] = (),
    lists: Sequence[str] = (),
    optional: Sequence[str] = (),
    optional_lists: Sequence[str] = (),
    outputs: Sequence[str] = (),
    optional_outputs: Sequence[str] = (),
    output_lists: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """Return the parser of a stage's options.

    Args:
        inputs, lists, optional, optional_lists: names of files to read, given as ``--NAME``; a list takes one or more files,
            and optional names may be missing.
        outputs, optional_outputs, output_lists: the same for files to write, given as ``--out-NAME``.
    """
    parser = argparse.ArgumentParser(description=description, parents=[shared_options()], allow_abbrev=False)
    parser.add_argument("--recipe", type=json.loads, required=True, help="the settings, as JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="a network is trained from each")
    parser.add_argument("--start", type=Path, help="file of weights that training starts from")
    for prefix, required, one, several in (
        ("--", True, inputs, lists),
        ("--", False, optional, optional_lists),
        ("--out-", True, outputs, output_lists),
        ("--out-", False, optional_outputs, ()),
    ):
        for name in one:
            parser.add_argument(f"{prefix}{name}", type=Path, required=required)
        for name in several:
            parser.add_argument(f"{prefix}{name}", type=Path, nargs="+", required=required, default=[])
    return parser


def _message(error: BaseException) -> str | None:
    """Return the user's message for an error that ended a stage; None for a bug, which keeps its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, Interrupted):
        return str(error)
    if isinstance(error, LggError):
        return f"error: {error}"
    if isinstance(error, OSError):
        return f"error: a file could not be read or written: {error}. Check free space and permissions, then run again."
    if not _is_lack_of_memory(error):
        return None
    return (
        f"error: the job ran out of memory ({str(error).partition(chr(10))[0] or type(error).__name__}). Lower "
        "`batch_size` or the network's `base_width` or `width`, set `precision` to bfloat16, use fewer `images`, or train "
        "fewer networks at once (resources.networks_per_job); or give jobs more: a larger "
        "resources.train.mem_mb or resources.evaluate.mem_mb, or fewer --cores at once."
    )


def _is_lack_of_memory(error: BaseException) -> bool:
    # by its words: torch.OutOfMemoryError is only for GPUs, and not every stage imports torch
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
