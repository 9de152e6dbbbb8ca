"""GPUs of this machine, and the places on them that jobs take: one or several per GPU. Does not import torch.

The GPUs are determined once, when the Snakefile is read, and passed to jobs. Snakemake limits how many jobs hold a place at
once, but does not assign places: each job takes its places by locking one file per place. The kernel releases a lock when
the job ends, however it ends.
"""

import contextlib
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from lgg.errors import LggError
from lgg.pipeline import driver

if sys.platform != "win32":
    import fcntl

# Where the locks may be. No environment variable is read: all processes of a user must find the same folder, and the variables
# for such folders differ between a login, a scheduled job and a batch job.
PARENTS = ("/tmp", "/var/tmp", "/dev/shm")
SECONDS_BETWEEN_TRIES = 0.2
SAID_AFTER = 1.0  # seconds of waiting


class Usable(NamedTuple):
    """The GPUs that jobs can use: `locks` maps each name in CUDA_VISIBLE_DEVICES to the name of its lock.

    If there are none, `why` may give the reason. `asked` is false if there was no driver to ask.
    """

    locks: Mapping[str, str]
    why: str = ""
    asked: bool = True


def usable() -> Usable:
    """Return the GPUs that PyTorch would find in a job on this machine, out of those that CUDA_VISIBLE_DEVICES names."""
    answer = driver.ask()
    named = _named()
    names = [str(number) for number in range(len(answer.uuids))] if named is None else named
    if not any(name.startswith("MIG") for name in names):  # a process sees only one part of a divided GPU
        names = names[: len(answer.uuids)]
    if not answer.uuids or not names:
        return Usable({}, answer.why, answer.asked)
    # a UUID identifies a GPU whatever the order, the batch job's numbering, or the container
    whole = len(set(answer.uuids)) == len(answer.uuids) == len(names)
    return Usable(
        {name: f"gpu-{uuid}" for name, uuid in zip(names, answer.uuids, strict=True)} if whole else _by_name(names)
    )


def present(handed: Mapping[str, str]) -> Usable:
    """Return the GPUs that this job may use: those that were `handed` to it, or if it is empty, all usable ones.

    If there is no driver to ask, CUDA_VISIBLE_DEVICES is trusted.
    """
    found = Usable(handed) if handed else usable()
    return found if found.asked else Usable(_by_name(_named() or []), asked=False)


@contextlib.contextmanager
def claimed(count: int, handed: Mapping[str, str], each: int) -> Iterator[list[str]]:
    """Hold `count` places, waiting until enough are free, with CUDA_VISIBLE_DEVICES set to their devices.

    A device has `each` places. Jobs of one user never get the same place, whichever run of Snakemake or batch job they
    belong to, and a device gets a second job only when each has one. If `count` is 0, this does nothing.

    Args:
        handed: the GPUs of this run, as `present` takes them.

    Raises LggError if there are fewer places than `count`, or if the locks cannot be kept.
    """
    if count == 0:
        yield []
        return
    devices, why, _ = present(handed)
    if len(devices) * each < count:
        raise LggError(_too_few(count, list(devices), each, why))
    folder = lock_folder()
    with contextlib.ExitStack() as held:
        # otherwise two jobs that need several places could block each other
        alone = _acquired(folder / "queue.lock", _announce("its turn to take several GPUs"))
        with alone if count > 1 else contextlib.nullcontext():
            taken = _take(devices, each, count, folder, held)
        # this order gives numbers the same meaning in all jobs
        order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        held.enter_context(_variables({_variable(): ",".join(taken), "CUDA_DEVICE_ORDER": order}))
        yield taken


def _too_few(count: int, devices: list[str], each: int, why: str) -> str:
    found = f"{'is' if len(devices) == 1 else 'are'} {len(devices)} available ({', '.join(devices) or 'none'})"
    places = f", for {each} jobs each" if each > 1 else ""
    cause = f": {why}" if why else ". Check the driver and CUDA_VISIBLE_DEVICES"
    return (
        f"this job needs {count} GPU{'s' if count > 1 else ''}, but there {found}{places}{cause}, or set resources.device "
        "to cpu."
    )


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def lock_folder() -> Path:
    """Return this user's folder of locks, created if missing: the first safe one in PARENTS.

    Everybody can write to PARENTS. A folder is safe if it is not a link, belongs to this user, and nobody else can write to it.

    Raises LggError if none is safe.
    """
    reasons = []
    for parent in PARENTS:
        folder = Path(parent, f"lgg-gpus-{os.getuid()}")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return folder
        reasons.append(f"{folder}: belongs to another user, or others can write to it")
    raise LggError(
        f"there is no folder for the locks by which jobs share GPUs ({'; '.join(reasons)}). Remove one of these, make room, or "
        "set resources.device to cpu."
    )


def _variable() -> str:
    # HIP, for AMD GPUs, reads both, its own first
    return "HIP_VISIBLE_DEVICES" if "HIP_VISIBLE_DEVICES" in os.environ else "CUDA_VISIBLE_DEVICES"


def _named() -> list[str] | None:
    """Return the devices in CUDA_VISIBLE_DEVICES, as numbers or UUIDs, or None if it is not set."""
    named = os.environ.get(_variable())
    if named is None:
        return None
    devices = [device.strip() for device in named.split(",")]
    # like CUDA itself, ignore -1 and what follows it
    valid = devices[: devices.index("-1")] if "-1" in devices else devices
    return list(dict.fromkeys(device for device in valid if device))


def _by_name(names: list[str]) -> dict[str, str]:
    """Return lock names for GPUs of which only a name is known; in two batch jobs 0 may be different GPUs."""
    batch_job = os.environ.get("SLURM_JOB_ID")
    scope = f"slurm-{batch_job}-" if batch_job else ""

    def lock(name: str) -> str:
        if name.isdecimal():
            return f"gpu-{scope}{name}"
        uuid = re.fullmatch(r"(?:GPU|MIG)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", name)
        # the driver's name for it, if there is a driver to ask
        return f"gpu-{uuid[1].replace('-', '')}" if uuid else f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', name)}"

    return {name: lock(name) for name in names}


def _take(devices: Mapping[str, str], each: int, count: int, folder: Path, held: contextlib.ExitStack) -> list[str]:
    """Lock `count` of the devices' places as they become free, and return the devices; `held` releases the places."""
    # the first place on every device, then the second on every device
    files = {
        folder / f"{lock}{f'-{place}' if place else ''}.lock": device
        for place in range(each)
        for device, lock in devices.items()
    }
    taken: dict[Path, str] = {}
    say = _announce(f"{count} of the GPUs {', '.join(devices)}")
    while True:
        for file, device in files.items():
            if file not in taken and (lock := _lock(file)):
                held.callback(lock.release)
                taken[file] = device
            if len(taken) == count:
                return sorted(set(taken.values()), key=list(devices).index)
        say()
        time.sleep(SECONDS_BETWEEN_TRIES)


@contextlib.contextmanager
def _acquired(file: Path, say: Callable[[], None]) -> Iterator[None]:
    """Hold the lock `file`; a signal interrupts the wait."""
    while (lock := _lock(file)) is None:
        say()
        time.sleep(SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        lock.release()


def _lock(file: Path) -> BaseFileLock | None:
    """Return a lock held on `file`, or None if another process holds it."""
    try:
        # another suffix: the kernel's locks leave their files behind, which would look like locks here
        lock = FileLock(file) if _has_locks(file.parent) else SoftFileLock(file.with_suffix(".held"))
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        raise LggError(
            f"the lock {file}, by which jobs share GPUs, cannot be kept: {error}. Make room there, or set resources.device "
            "to cpu."
        ) from None
    return lock


@cache
def _has_locks(folder: Path) -> bool:
    """Return whether the kernel can lock files in `folder`; if not, the existence of a file is the lock."""
    if sys.platform == "win32":
        return True
    with tempfile.TemporaryFile(dir=folder) as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _announce(what: str) -> Callable[[], None]:
    """Return a function that, after a while, prints once what this job is waiting for."""
    began, said = time.monotonic(), False

    def say() -> None:
        nonlocal said
        if not said and time.monotonic() - began >= SAID_AFTER:
            said = True
            print(f"This job is waiting for {what}, held by other jobs.", file=sys.stderr, flush=True)

    return say
