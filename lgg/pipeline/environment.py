"""Settings that a run passes to its jobs in environment variables.

On the command line Snakemake would compare these values, and changing one would rerun finished jobs. The Snakefile exports
them (`lgg.pipeline.workflow`); the launcher of a job reads them (`lgg.pipeline.__main__`) and passes them on. A job started
without them, for example from a command in a log, runs with the defaults.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lgg.errors import LggError


@dataclass(frozen=True)
class Environment:
    """One field per variable: ``LGG_`` and the field's name in capitals, its value as JSON."""

    #: LGG_SNAKEMAKE: the process id of the Snakemake that runs the job; the job stops when it exits
    snakemake: int | None = field(default=None, metadata={"type": int})
    #: LGG_TERMINAL: the terminal on which that Snakemake shows its messages, for messages of its jobs
    terminal: str | None = field(default=None, metadata={"type": str})
    #: LGG_GPUS: the GPUs that jobs may use, with the name of each one's lock; if empty, a job looks for GPUs itself
    gpus: Mapping[str, str] = field(default_factory=dict, metadata={"type": dict})
    #: LGG_JOBS_PER_GPU: how many jobs may share a GPU, the key `resources.jobs_per_gpu`
    jobs_per_gpu: int = field(default=1, metadata={"type": int})
    #: LGG_CAPTURED_STEPS: whether training steps are replayed as CUDA graphs, the key `resources.captured_steps`
    captured_steps: bool = field(default=False, metadata={"type": bool})
    #: LGG_CHECKPOINTS: how often training writes a checkpoint, the key `resources.checkpoints`
    checkpoints: Mapping[str, Any] = field(default_factory=lambda: {"minutes": 10.0}, metadata={"type": dict})

    #: LGG_ROWS: the recipe of the check of every row's networks, and its files of weights: what a check looks at that finds a
    #: mistake, to report all of them
    rows: Mapping[str, Any] = field(default_factory=dict, metadata={"type": dict})

    @classmethod
    def read(cls) -> "Environment":
        """Return the values that this process was started with; LggError if a variable is not in the form that a run writes."""
        found = {}
        for one in fields(cls):
            if text := os.environ.get(_variable(one.name)):
                found[one.name] = _value(_variable(one.name), text, one.metadata["type"])
        return cls(**found)

    def export(self) -> None:
        """Export these values to the jobs that this process starts, replacing inherited ones."""
        for one in fields(self):
            value = getattr(self, one.name)
            os.environ.pop(_variable(one.name), None)
            if value not in (None, {}):
                os.environ[_variable(one.name)] = json.dumps(value)


def _variable(name: str) -> str:
    return f"LGG_{name.upper()}"


def _value(variable: str, text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if type(value) is not kind:
        raise LggError(
            f"the environment variable {variable} is {text!r}, which is not valid. Unset it: the workflow sets it for its jobs."
        )
    return value
