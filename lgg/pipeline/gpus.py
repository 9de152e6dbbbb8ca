"""GPUs of this machine, and places on them for jobs: one on each, or several. Imports no torch.

Which there are is decided once, when the Snakefile is read, and handed to jobs. Snakemake counts how many jobs may hold a
place at once, but tells none of them which: each takes its places by locking a file per place. The kernel releases the
lock when the job ends, however it ends.
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

# Where the locks may be. No variable decides: two sessions of one user must find the same folder, and the variables for such
# folders differ between a login, a scheduled job and a batch job.
PARENTS = ("/tmp", "/var/tmp", "/dev/shm")
SECONDS_BETWEEN_TRIES = 0.2
SAID_AFTER = 1.0  # seconds of waiting


class Usable(NamedTuple):
    """The GPUs that jobs can use: `locks` has the name of each one's lock by its name in CUDA_VISIBLE_DEVICES.

    Where there is none, `why` may say what else is in the way. `asked` is false where there was no driver to ask.
    """

    locks: Mapping[str, str]
    why: str = ""
    asked: bool = True


def usable() -> Usable:
    """Return the GPUs that PyTorch would find in a job on this machine, out of those that CUDA_VISIBLE_DEVICES names."""
    answer = driver.ask()
    named = _named()
    names = [str(number) for number in range(len(answer.uuids))] if named is None else named
    if not any(name.startswith("MIG") for name in names):  # of parts of a GPU, a process sees only one
        names = names[: len(answer.uuids)]
    if not answer.uuids or not names:
        return Usable({}, answer.why, answer.asked)
    # by its UUID a GPU is the same in another order, in another batch job's numbers, and in a container
    whole = len(set(answer.uuids)) == len(answer.uuids) == len(names)
    return Usable(
        {name: f"gpu-{uuid}" for name, uuid in zip(names, answer.uuids, strict=True)} if whole else _by_name(names)
    )


def present(handed: Mapping[str, str]) -> Usable:
    """Return the GPUs that this job may take: those that were `handed` to it, or with none, those that are usable.

    Where no driver can be asked, what CUDA_VISIBLE_DEVICES names is believed.
    """
    found = Usable(handed) if handed else usable()
    return found if found.asked else Usable(_by_name(_named() or []), asked=False)


@contextlib.contextmanager
def claimed(count: int, handed: Mapping[str, str], each: int) -> Iterator[list[str]]:
    """Hold `count` places, waiting until so many are free, and name their devices in CUDA_VISIBLE_DEVICES meanwhile.

    A device has `each` places. Jobs of one user never get the same place, whichever run of Snakemake or batch job they
    belong to, and a device gets a second job only when each has one. Where `count` is 0, nothing is done.

    Args:
        handed: the GPUs of this run, as `present` takes them.

    Raises LggError where there are fewer places than `count`, or the locks cannot be kept.
    """
    if count == 0:
        yield []
        return
    devices, why, _ = present(handed)
    if len(devices) * each < count:
        raise LggError(_too_few(count, list(devices), each, why))
    folder = lock_folder()
    with contextlib.ExitStack() as held:
        # of two jobs that want several places, neither may keep the other from its last one
        alone = _acquired(folder / "queue.lock", _announce("its turn to take several GPUs"))
        with alone if count > 1 else contextlib.nullcontext():
            taken = _take(devices, each, count, folder, held)
        # in this order numbers mean the same to all jobs
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
    """Set environment variables, and restore them in the end."""
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
    """Return this user's folder of locks, made where it is missing: the first below PARENTS that is safe.

    Everybody can write to PARENTS. A folder is safe if it is no link, belongs to this user, and nobody else can write to it.

    Raises LggError where none is.
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
    # HIP, for AMD's GPUs, reads both, its own first
    return "HIP_VISIBLE_DEVICES" if "HIP_VISIBLE_DEVICES" in os.environ else "CUDA_VISIBLE_DEVICES"


def _named() -> list[str] | None:
    """Return the devices that CUDA_VISIBLE_DEVICES names, by numbers or UUIDs, or None where it is not set."""
    named = os.environ.get(_variable())
    if named is None:
        return None
    devices = [device.strip() for device in named.split(",")]
    # like CUDA itself: -1 and what follows it do not count
    valid = devices[: devices.index("-1")] if "-1" in devices else devices
    return list(dict.fromkeys(device for device in valid if device))


def _by_name(names: list[str]) -> dict[str, str]:
    """Return names of locks for GPUs of which only a name is known: two batch jobs may call different ones 0."""
    batch_job = os.environ.get("SLURM_JOB_ID")
    scope = f"slurm-{batch_job}-" if batch_job else ""

    def lock(name: str) -> str:
        if name.isdecimal():
            return f"gpu-{scope}{name}"
        uuid = re.fullmatch(r"(?:GPU|MIG)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", name)
        # as the driver names it, where it can be asked
        return f"gpu-{uuid[1].replace('-', '')}" if uuid else f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', name)}"

    return {name: lock(name) for name in names}


def _take(devices: Mapping[str, str], each: int, count: int, folder: Path, held: contextlib.ExitStack) -> list[str]:
    """Lock `count` of the devices' places as they become free, and return the devices; `held` gives the places back."""
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
    """Hold the lock `file`; a signal ends the wait for it."""
    while (lock := _lock(file)) is None:
        say()
        time.sleep(SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        lock.release()


def _lock(file: Path) -> BaseFileLock | None:
    """Return a lock held on `file`, None where another process holds it."""
    try:
        # with another suffix: the kernel's locks leave their files behind, which would count as locks here
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
    """Return whether the kernel can lock files in `folder`; where it cannot, the presence of a file is the lock."""
    if sys.platform == "win32":
        return True
    with tempfile.TemporaryFile(dir=folder) as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _announce(what: str) -> Callable[[], None]:
    """Return a function that prints once, after a while, what this job waits for."""
    began, said = time.monotonic(), False

    def say() -> None:
        nonlocal said
        if not said and time.monotonic() - began >= SAID_AFTER:
            said = True
            print(f"This job waits for {what}; other jobs hold them.", file=sys.stderr, flush=True)

    return say
