"""Checkpoints, from which training resumes with bitwise identical results, and the signals that request them."""

import hashlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from lgg.errors import Interrupted
from lgg.files import atomic_path, canonical_json, naming, read_tensors_metadata
from lgg.training.signals import ENDING, WRITING, not_ignored

FORMAT = "lgg-checkpoint-3"

Progress = dict[str, Any]


class _Unusable(Exception):
    """Why training cannot resume from a file."""


class Checkpoints:
    """The checkpoints of one training run: the newest at `path`, and the previous one in the same folder.

    Args:
        path: path of the newest, ending in .safetensors.
        identity: what the results depend on (settings, code, data), as JSON can hold it. A checkpoint with another identity
            is refused.
        minutes, epochs: time, and number of epochs, between checkpoints; None for none.
    """

    def __init__(self, path: Path, identity: Any, *, minutes: float | None = None, epochs: int | None = None) -> None:
        self.path = path
        self.before = path.with_name(f"{path.stem}-before{path.suffix}")
        self.identity = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        self.minutes = minutes
        self.epochs = epochs
        self.written = time.monotonic()

    def due(self, epochs_done: int | None) -> bool:
        """Return whether a checkpoint is due; `epochs_done` is the number of epochs at the end of one, None within one."""
        late = self.minutes is not None and time.monotonic() - self.written >= 60 * self.minutes
        whole = self.epochs is not None and epochs_done is not None and epochs_done % self.epochs == 0
        return late or whole

    def write(self, tensors: Mapping[str, Tensor], progress: Progress) -> None:
        """Write a checkpoint, and keep the previous one."""
        # copies, since a file cannot hold tensors that share memory
        held = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
        about = {"format": FORMAT, "identity": self.identity, "progress": progress}
        header = json.dumps(about | {"sha256": _digest(held, about)})
        with atomic_path(self.path) as temporary:
            save_file(held, temporary, metadata={"lgg": header})
            if self.path.exists():
                self.path.replace(self.before)
        self.written = time.monotonic()

    def read(self) -> tuple[dict[str, Tensor], Progress] | None:
        """Return the content of the newest usable checkpoint, or None; reports on standard error which ones are used or not.

        Raises OSError if one cannot be read: it may be intact, and training from scratch would replace it.
        """
        for path in (self.path, self.before):
            if not path.exists():
                continue
            try:
                tensors, progress = self._read(path)
            except _Unusable as reason:
                print(f"The checkpoint {path} is not used: {reason}.", file=sys.stderr, flush=True)
                continue
            print(f"Resuming {where(progress)}, from the checkpoint {path}.", file=sys.stderr, flush=True)
            return tensors, progress
        return None

    def _read(self, path: Path) -> tuple[dict[str, Tensor], Progress]:
        try:
            header = json.loads(read_tensors_metadata(path)["lgg"])
            if header.get("format") != FORMAT:
                raise _Unusable("it is of another version of lgg")
            if header["identity"] != self.identity:
                raise _Unusable("it belongs to other settings, code or data, so training starts from scratch")
            with naming(path):
                tensors = load(path.read_bytes())
            if _digest(tensors, header) != header["sha256"]:
                raise _Unusable("it is damaged (its content does not have the SHA-256 that it states)")
            progress: Progress = header["progress"]
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Unusable(f"it is damaged ({error or type(error).__name__})") from None
        return tensors, progress

    def remove(self) -> None:
        """Remove all checkpoints, once the results are written."""
        for path in (self.path, self.before):
            path.unlink(missing_ok=True)


class Requests:
    """Signals that request the checkpoints of all training runs of this process, noted inside a ``with`` block.

    SIGTERM, SIGINT, SIGHUP and SIGXCPU, except those that the process inherited as ignored, also end training; after SIGUSR1
    and SIGUSR2 it continues.

    Args:
        checkpoints: of the training runs; if there are none, signals keep their meaning.
    """

    def __init__(self, checkpoints: Sequence[Checkpoints]) -> None:
        self.checkpoints = checkpoints
        self.pending = False
        self.ending: signal.Signals | None = None
        self.handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Requests":
        # only the main thread can set signal handlers; other threads leave them unchanged
        if self.checkpoints and threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self._note) for number in (*not_ignored(ENDING), *WRITING)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        self.pending = True
        if number in ENDING:
            self.ending = signal.Signals(number)

    def answer(self, writes: Mapping[Path, Callable[[], None]], how_far: str) -> None:
        """Call all `writes`, by the checkpoint that each writes; Interrupted if training is to end, `how_far` it got.

        Raises the error of the first that could not be written, once the others are.
        """
        self.pending = False
        failed: OSError | None = None
        for write in writes.values():
            try:
                write()
            except OSError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        if self.ending is not None:
            raise Interrupted(f"{self.ending.name} ended training {how_far}. {_consequence(list(writes))}")


def _consequence(written: Sequence[Path]) -> str:
    if not written:
        return "There is no checkpoint of it, so the next run trains from scratch."
    what = "its checkpoint is" if len(written) == 1 else "the checkpoints are"
    return f"Nothing is lost: {what} {', '.join(map(str, written))}, and the next run resumes from there."


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(canonical_json([header["identity"], header["progress"]]).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def where(progress: Progress) -> str:
    """Return how far training is, for a message."""
    if progress["step"] == 0:
        return f"after epoch {progress['epoch']}" if progress["epoch"] else "before the first step"
    return f"after {progress['step']} steps of epoch {progress['epoch'] + 1}"
