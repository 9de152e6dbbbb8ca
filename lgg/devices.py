"""The device a job runs on, and settings for reproducible results."""

import ctypes
import os
import platform
import sys
from typing import Literal

import torch

from lgg.errors import LggError

Precision = Literal["float32", "bfloat16", "auto"]

# parameters of glibc's malloc, from its malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def prepare(gpus: int, threads: int) -> torch.device:
    """Return the device of this process: the first visible GPU, or the CPU with `threads` threads if `gpus` is 0.

    Also enables deterministic algorithms and reuse of freed memory. Raises LggError if a GPU was assigned but none can be
    used.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    # cuBLAS is deterministic only with a fixed workspace, which must be set before its first use
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # as use_deterministic_algorithms, but without importing the compiler, which takes each job two seconds
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow, and nothing here reads such memory
    if gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise LggError(
            f"this job was assigned a GPU, but PyTorch {torch.__version__} finds none that it can use. Check the driver, "
            "CUDA_VISIBLE_DEVICES and whether this is a CPU-only build of PyTorch, or set resources.device to cpu."
        )
    return torch.device("cuda")


def precision_on(device: torch.device, asked: Precision) -> Literal["float32", "bfloat16"]:
    """Return the precision to train in on `device`: "auto" is bfloat16 if the hardware supports it, else float32.

    PyTorch emulates bfloat16 on other hardware, on CPUs many times slower than float32. If PyTorch cannot detect what the
    CPU supports, "auto" is float32.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        has = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return "bfloat16" if has else "float32"


def name_of(device: torch.device) -> str:
    """Return what the device is called: the GPU's name, or the kind of the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


def _keep_freed_memory() -> None:
    """Let this process keep up to 2 GB of freed memory for its next allocations.

    Every training step frees and allocates the same large tensors. By default glibc returns them to the kernel, and getting
    them back, zeroed page by page, took an eighth of a step on CPUs. Does nothing with other C libraries.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 2**26)
