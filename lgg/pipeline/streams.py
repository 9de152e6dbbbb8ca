"""Standard output and error streams that a run can lose without failing. No result depends on this module."""

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Any, TextIO


class Lasting:
    """A stream that ignores failed writes: its terminal or pipe is closed, or the log's disk is full.

    Neither a job nor Snakemake may fail because a message could not be written.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 — open until the process ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.flush()


def outlast(logger: logging.Logger | None = None) -> None:
    """Replace standard output and error of this process, also for `logger`, by Lasting streams."""
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    lasting = {name: stream if isinstance(stream, Lasting) else Lasting(stream) for name, stream in streams.items()}
    for name, stream in lasting.items():
        setattr(sys, name, stream)
    for handler in logger.handlers if logger else []:
        for name, stream in streams.items():
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                handler.setStream(lasting[name])
