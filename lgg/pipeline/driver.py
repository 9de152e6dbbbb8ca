"""Ask the driver which GPUs a PyTorch process would find, without importing PyTorch, which takes seconds.

The files in /dev do not answer this: WSL and some boards have no /dev/nvidia0, AMD's integrated graphics have /dev/kfd, and
containers and batch systems show files of GPUs that belong to other jobs. The driver's library is loaded in a separate
process that runs only this file, because after the first call a process can no longer change its CUDA_VISIBLE_DEVICES.
"""

import ctypes
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 120  # a machine with many GPUs and no persistence daemon takes a while to wake them


class Answer(NamedTuple):
    """`uuids` of the visible GPUs in CUDA's order, or `why` there are none; `asked` is false if there was no driver."""

    uuids: list[str]
    why: str = ""
    asked: bool = True


def ask() -> Answer:
    """Return which GPUs this environment's PyTorch would find in a new process, given CUDA_VISIBLE_DEVICES.

    GPUs are numbered as in CUDA_DEVICE_ORDER=PCI_BUS_ID, unless that variable says otherwise.
    """
    build = _build()
    if build["hip"]:
        # PyTorch's own wheels contain it; elsewhere the loader finds the system's
        own = Path(build["folder"], "lib", "libamdhip64.so")
        library, prefix = str(own) if own.is_file() else own.name, "hip"
    else:
        library, prefix = "libcuda.so.1", "cu"
    found = _ask_elsewhere(library, prefix)
    if found is None:
        return Answer([], asked=False)
    if not found["uuids"]:
        return Answer([])
    # without PyTorch here, jobs have their own environment
    if build["version"] and not build["hip"] and not build["cuda"]:
        return Answer([], f"this environment's PyTorch ({build['version']}) was built for the CPU only")
    # a driver runs programs built for its major version, whatever the minor one, and for earlier major versions
    if build["cuda"] and not build["hip"] and found["version"] // 1000 < int(build["cuda"].partition(".")[0]):
        has = f"{found['version'] // 1000}.{found['version'] % 1000 // 10}"
        return Answer(
            [], f"the driver is for CUDA {has}, and this environment's PyTorch needs {build['cuda']}: update one"
        )
    return Answer(found["uuids"])


def _build() -> dict[str, str]:
    """Return PyTorch's `version` and `folder`, and the `cuda` and `hip` versions it was built for; empty if not installed."""
    spec = importlib.util.find_spec("torch")
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    try:
        text = (folder / "version.py").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = {"version": "__version__", "cuda": "cuda", "hip": "hip"}
    values = {key: re.search(rf"^{name}\b[^=\n]*= *['\"]([^'\"]+)", text, re.MULTILINE) for key, name in names.items()}
    return {"folder": str(folder)} | {key: match[1] if match else "" for key, match in values.items()}


def _ask_elsewhere(library: str, prefix: str) -> dict[str, Any] | None:
    """Return what `_answer` returns, run in a separate process; None if there is no such library or no answer."""
    command = [sys.executable, "-I", "-S", __file__, library, prefix]
    variables = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | dict(os.environ)
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=SECONDS, check=True)
        answer: dict[str, Any] | None = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return answer


def _answer(library: str, prefix: str) -> dict[str, Any] | None:
    """Return the `version` of the driver and the `uuids` of its visible GPUs; None if there is no driver.

    `library` has the driver API of CUDA, or HIP's, which is the same; its functions begin with `prefix`.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None
    version, count, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver[f"{prefix}Init"](0) != 0:
        return {"version": 0, "uuids": []}
    driver[f"{prefix}DriverGetVersion"](ctypes.byref(version))
    driver["cuDeviceGetCount" if prefix == "cu" else "hipGetDeviceCount"](ctypes.byref(count))
    uuids = []
    for number in range(count.value):
        uuid = ctypes.create_string_buffer(16)
        driver[f"{prefix}DeviceGet"](ctypes.byref(device), number)
        # the second form distinguishes parts of one GPU
        names = [f"{prefix}DeviceGetUuid{form}" for form in ("_v2", "")]
        get = next(getattr(driver, name) for name in names if hasattr(driver, name))
        get(uuid, device)
        uuids.append(uuid.raw.hex())
    return {"version": version.value, "uuids": uuids}


if __name__ == "__main__":
    print(json.dumps(_answer(*sys.argv[1:])))
