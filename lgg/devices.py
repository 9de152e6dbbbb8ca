"""The device a job works on, and settings under which the same work gives the same bits."""

import os

import torch

from lgg.errors import LggError


def prepare(gpus: int, threads: int) -> torch.device:
    """Return the device of this process: the first visible GPU, or the CPU with `threads` threads where `gpus` is 0.

    Also asks for deterministic algorithms. Raises LggError where a GPU was promised but none can be used.
    """
    torch.set_num_threads(threads)
    # cuBLAS gives the same bits only with a fixed workspace, which must be set before its first use
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time, and nothing here reads such memory
    if gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise LggError(
            "this job was given a GPU, but PyTorch finds none that it can use. Check the driver and CUDA_VISIBLE_DEVICES, "
            "or set resources.device to cpu."
        )
    return torch.device("cuda")
