"""Places on this machine's GPUs for jobs: one on each device, or several. Imports no torch.

Snakemake counts how many jobs may hold a place at once, but says to none of them where its own is. Each job takes its
places by a lock on a file for each, which the kernel gives back when the job ends, however it does.
"""

import contextlib
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from lgg.errors import LggError

if sys.platform != "win32":
    import fcntl

SECONDS_BETWEEN_TRIES = 0.2
SAID_AFTER = 1.0  # seconds of waiting


@contextlib.contextmanager
def claimed(count: int) -> Iterator[list[str]]:
    """Hold `count` places, waiting until so many are free, and name their devices in CUDA_VISIBLE_DEVICES meanwhile.

    Devices are those that CUDA_VISIBLE_DEVICES names or, without it, all that this machine has; each has one place, or as
    many as the environment variable LGG_JOBS_PER_GPU says. Jobs of one user never get the same place, whichever run of
    Snakemake they belong to, and a device gets a second job when each has one. Below SLURM, which gives each job its own
    devices, and where `count` is 0, nothing is done.

    Raises LggError where there are fewer places than `count`, or the locks cannot be kept.
    """
    if count == 0 or "SLURM_JOB_ID" in os.environ:
        yield []
        return
    devices, each = present(), int(os.environ.get("LGG_JOBS_PER_GPU", "1"))
    if len(devices) * each < count:
        raise LggError(
            f"this job needs {count} GPU{'s' if count > 1 else ''}, but there {'is' if len(devices) == 1 else 'are'} "
            f"{len(devices)} to be had ({', '.join(devices) or 'none'}){f', for {each} jobs each' if each > 1 else ''}. Check "
            "the driver and CUDA_VISIBLE_DEVICES, or set resources.device to cpu."
        )
    lock = _locks_in(lock_folder())
    before = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")}
    with contextlib.ExitStack() as held:
        # whoever waits stands here alone: of two who want several devices, none keeps the other from its last one
        with _acquired(lock("queue"), _announce("its turn to take a GPU")):
            taken = _take(devices, each, count, lock, held)
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # numbers mean the same to all jobs
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
        try:
            yield taken
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def present() -> list[str]:
    """Return the devices that this process may use, as CUDA_VISIBLE_DEVICES names them: numbers, or names of GPUs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        numbers = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
        return [str(number) for number in sorted(int(match[1]) for match in numbers if match)]
    devices = [device.strip() for device in named.split(",")]
    # like CUDA itself: -1 and what follows it do not count
    valid = devices[: devices.index("-1")] if "-1" in devices else devices
    return list(dict.fromkeys(device for device in valid if device))


def lock_folder() -> Path:
    """Return this user's folder of locks, made where it is missing.

    Raises LggError where it belongs to somebody else.
    """
    user = os.getuid()
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    usable = runtime.is_absolute() and runtime.is_dir() and os.access(runtime, os.W_OK)
    folder = (runtime / "lgg-gpus") if usable else Path(tempfile.gettempdir()) / f"lgg-gpus-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise LggError(
            f"no folder for the locks of GPUs can be made: {error}. Set XDG_RUNTIME_DIR or TMPDIR."
        ) from None
    if found.st_uid != user or not stat.S_ISDIR(found.st_mode):
        raise LggError(
            f"{folder} should be this user's folder for the locks of GPUs, but belongs to somebody else. Remove it, or set "
            "XDG_RUNTIME_DIR to a folder of your own."
        )
    return folder


def _locks_in(folder: Path) -> Callable[[str], BaseFileLock]:
    """Return what makes a lock of a name in `folder`: the kernel's or, where the file system has none, a file's presence.

    Raises LggError where the folder cannot be written to.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return _kernel_locks(folder) if _can_lock(probe.fileno()) else _locks_by_presence(folder)
    except OSError as error:
        raise LggError(
            f"{folder}, the folder for the locks of GPUs, cannot be used: {error}. Set XDG_RUNTIME_DIR or TMPDIR to a folder "
            "on this machine's own disk."
        ) from None


def _can_lock(handle: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _kernel_locks(folder: Path) -> Callable[[str], BaseFileLock]:
    return lambda name: FileLock(folder / f"{name}.lock")


def _locks_by_presence(folder: Path) -> Callable[[str], BaseFileLock]:
    # another ending: the kernel's locks leave their files behind, which would be locks here
    return lambda name: SoftFileLock(folder / f"{name}.held")


def _take(
    devices: list[str], each: int, count: int, lock: Callable[[str], BaseFileLock], held: contextlib.ExitStack
) -> list[str]:
    """Lock `count` of the devices' places as they become free, and return the devices; `held` gives the places back."""
    names = _lock_names(devices)
    # the first place of all devices, then the second of all
    places = {f"{names[device]}{f'-{place}' if place else ''}": device for place in range(each) for device in devices}
    taken: dict[str, str] = {}
    say = _announce(f"{count} of the GPUs {', '.join(devices)}")
    while True:
        for place, device in places.items():
            if place in taken:
                continue
            with contextlib.suppress(Timeout):
                held.enter_context(lock(place).acquire(timeout=0))
                taken[place] = device
            if len(taken) == count:
                return sorted(set(taken.values()), key=devices.index)
        say()
        time.sleep(SECONDS_BETWEEN_TRIES)


@contextlib.contextmanager
def _acquired(lock: BaseFileLock, say: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; a signal ends the wait for it."""
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            say()
            time.sleep(SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        lock.release()


def _announce(what: str) -> Callable[[], None]:
    """Return a function that says once, after a while, what this job waits for."""
    began, said = time.monotonic(), False

    def say() -> None:
        nonlocal said
        if not said and time.monotonic() - began >= SAID_AFTER:
            said = True
            print(f"This job waits for {what}; others hold them.", file=sys.stderr, flush=True)

    return say


def _lock_names(devices: list[str]) -> Mapping[str, str]:
    """Return the name of each device's lock: its number, also where a run names it by its UUID."""
    if all(device.isdecimal() for device in devices):
        return {device: f"gpu-{device}" for device in devices}
    numbers = _numbers_by_uuid()
    # UUIDs may be cut short, as long as they are unique
    found = {
        d: next((n for uuid, n in numbers.items() if not d.isdecimal() and uuid.startswith(d)), d) for d in devices
    }
    return {device: f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', name)}" for device, name in found.items()}


def _numbers_by_uuid() -> dict[str, str]:
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.split(",") for line in lines if line.count(",") == 1)
    return {uuid.strip(): number.strip() for number, uuid in pairs}
