"""What jobs ask for."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from lgg.pipeline.config.types import Count, Section


class JobResources(Section):
    """What one job of a kind asks for; changing it reruns nothing."""

    threads: Count = Field(description="CPU threads")
    mem_mb: Count = Field(description="memory, in MB")
    runtime: Count = Field(description="time limit on a cluster, in minutes")


class Checkpoints(Section):
    """How often a training run writes a checkpoint, from which it resumes after it was killed. No result depends on it."""

    minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=10.0, description="the most that is lost when a machine dies; null: no checkpoints by time"
    )
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="number of epochs between checkpoints; null: none by epochs"
    )


def _device(value: Any) -> Any:
    """Refuse names of devices that other programs use, with the name here."""
    word = str(value).lower()
    refused = f"{value!r} is not a valid choice"
    if value not in get_args(Device) and re.fullmatch(r"(cuda|gpu|nvidia|hip|rocm|amd)s?", word):
        raise ValueError(f"{refused}; did you mean 'cuda'? Valid: auto, cpu, cuda")
    if re.fullmatch(r"(cuda|gpu)?:?[0-9]+", word):
        raise ValueError(f"{refused}; write 'cuda', and choose GPUs with the environment variable CUDA_VISIBLE_DEVICES")
    if re.fullmatch(r"(mps|metal|xpu|tpu|npu|hpu|xla|mlx)(:[0-9]+)?", word):
        raise ValueError(
            f"{refused}: jobs run on CPUs, or on GPUs through PyTorch's device cuda. Valid: auto, cpu, cuda"
        )
    return value


Device = Literal["auto", "cpu", "cuda"]


class Resources(Section):
    """What jobs ask for: `train` with a GPU, `evaluate` with a GPU, `light` (data, tables, figures) without."""

    device: Annotated[Device, BeforeValidator(_device)] = Field(
        default="auto",
        description="cuda: jobs of `train` and `evaluate` ask for one GPU each; cpu: none does; auto: cuda where this "
        "machine has a GPU that PyTorch can use (on a cluster's login node without one, write cuda)",
    )
    jobs_per_gpu: Count = Field(
        default=1,
        description="how many jobs share a GPU of this machine, for networks that do not fill one; `--resources gpu=N` then "
        "counts these places",
    )
    train: JobResources
    evaluate: JobResources
    light: JobResources
    checkpoints: Checkpoints = Checkpoints()
