"""The section `resources`: what jobs request."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from lgg.pipeline.config.types import Count, Section


class JobResources(Section):
    """What one job of a kind requests; changing it reruns nothing."""

    threads: Count = Field(description="CPU threads")
    mem_mb: Count = Field(description="memory, in MB")
    runtime: Count = Field(description="time limit on a cluster, in minutes")


class Checkpoints(Section):
    """How often a training run writes a checkpoint to resume from if it is killed. Results do not depend on it."""

    minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=10.0, description="minutes between checkpoints, the most that a crash loses; null: none by time"
    )
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="epochs between checkpoints; null: none by epoch"
    )


def _device(value: Any) -> Any:
    """Refuse device names of other programs, and suggest the valid one."""
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
    """What jobs request: `train` and `evaluate` with a GPU, `light` (tables, figures; data, on `train`'s threads) without."""

    device: Annotated[Device, BeforeValidator(_device)] = Field(
        default="auto",
        description="cuda: each job of `train` and `evaluate` requests one GPU; cpu: none does; auto: cuda if this machine "
        "has a GPU that PyTorch can use (on a cluster's login node without one, write cuda)",
    )
    jobs_per_gpu: Count = Field(
        default=1,
        description="jobs that share one GPU of this machine, for networks too small to fill it; `--resources gpu=N` then "
        "counts places, not GPUs",
    )
    networks_per_job: Count = Field(
        default=1,
        description="networks of one method, from as many seeds, that a training job trains side by side on its GPU, each as "
        "it would be alone; the job asks for as many times the memory and time of `train`. Another number changes no result "
        "and reruns nothing, but where one of a group of networks is missing, such as a new seed's, all of them are trained",
    )
    captured_steps: bool = Field(
        default=False,
        description="on a GPU, replay training steps as CUDA graphs, which saves the time of starting each of their kernels; "
        "not measured yet",
    )
    train: JobResources
    evaluate: JobResources
    light: JobResources
    checkpoints: Checkpoints = Checkpoints()
