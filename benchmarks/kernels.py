"""How many kernels a training step of each method is, counted on the `meta` device, which computes nothing and needs no GPU.

    python benchmarks/kernels.py

On a GPU a step of these networks costs what its kernels cost to start, far more than their arithmetic, so the count stands
for the time, and is the same on every machine. Every training of config/cifar10.yaml is counted at the paper's sizes, in
float32 and in bfloat16 with autocast. Prints what each method adds to the plain step of its network (for distillation: to
the student's step with the teacher's pass) next to the goals, and writes benchmarks/results/kernels.csv.

A kernel is an operation that is neither a view nor an allocation; one over a list of tensors (`_foreach_…`, `_fused_…`)
counts once. A profiler counts more (a convolution's gradient is two kernels or more), but in proportion. Triplets, whose
number depends on the values, cannot be counted.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from _common import RESULTS, show
from spreading import CLASSES, paper, timing_recipe
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from training_cost import TeacherToo

from lgg.data.storage import ImageSet
from lgg.pipeline.stages import measure_times
from lgg.training.objectives import CrossEntropy, Distillation
from lgg.training.step import train_step
from lgg.training.timing import Trial

META = torch.device("meta")
PRECISIONS = ("float32", "bfloat16")
SIDE = 32  # pixels

#: the most kernels that a plain step of Section 4.3 may be in float32, and that an optimiser's update may be
PLAIN_GOAL, OPTIMIZER_GOAL = 150, 4

#: the most kernels that a method may add to its reference, in either precision
GOALS = {
    "robustness.parseval": 60,
    "robustness.regularizer": 100,
    "robustness.both": 160,
    "distillation.rkd_d": 45,
    "distillation.gkd": 50,
    "distillation.gkd_inter": 50,
    "embedding.label_variation": 35,
}

#: a student's step and the forward pass of its teacher, which no distillation can avoid
WITH_TEACHER = "distillation.student and teacher"
REFERENCES = {
    "robustness": "robustness.baseline",
    "distillation": WITH_TEACHER,
    "embedding": "embedding.cross_entropy",
}


# --- counting ---------------------------------------------------------------------------------------------------------

# these launch nothing, though they are no views by their signature; a scalar made for `torch.where` stays on the host
_NO_KERNELS = {
    "aten::empty", "aten::empty_like", "aten::empty_strided", "aten::empty_permuted", "aten::new_empty",
    "aten::new_empty_strided", "aten::lift_fresh", "aten::_unsafe_view", "aten::scalar_tensor",
}  # fmt: skip


class Kernels(TorchDispatchMode):
    """Counts, by operation, the kernels on the device `kind` that start inside it, gradients included.

    Operations that PyTorch lacks on `meta` are counted like others: updates in place of lists, and products whose sums are
    given a type.
    """

    def __init__(self, kind: str = "meta") -> None:
        super().__init__()
        self.kind = kind
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        try:
            result = operation(*args, **given)
        except NotImplementedError:
            result = _on_meta(operation, args, given)
        name = operation._schema.name
        devices = {one.device.type for one in tree_leaves((args, given, result)) if isinstance(one, Tensor)}
        if self.kind in devices and not operation.is_view and name not in _NO_KERNELS:
            self.counts[name] += 1
        return result


def _on_meta(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what `operation`, which has no implementation on `meta`, would return."""
    if not operation._schema.returns:
        return None
    if operation._overloadname == "dtype":
        *tensors, dtype = args
        plain = operation.overloadpacket(*tensors, **{name: one for name, one in kwargs.items() if name != "out_dtype"})
        return torch.empty_like(plain, dtype=kwargs.get("out_dtype", dtype))
    raise NotImplementedError(f"PyTorch has no {operation} on meta: add what it returns here")


# --- autocast, which `meta` does not have ------------------------------------------------------------------------------

# as on CUDA: https://docs.pytorch.org/docs/stable/amp.html#autocast-op-reference
_LOWER = {
    "__matmul__", "__rmatmul__", "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "einsum", "linear", "matmul", "mm", "multi_dot",
    "mv", "prelu",
}  # fmt: skip
_FLOAT32 = {
    "__pow__", "__rpow__", "acos", "asin", "binary_cross_entropy_with_logits", "cdist", "cosh", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "cumprod", "cumsum", "dist", "erfinv", "exp", "expm1", "group_norm",
    "hinge_embedding_loss", "kl_div", "l1_loss", "layer_norm", "log", "log10", "log1p", "log2", "log_softmax",
    "margin_ranking_loss", "mse_loss", "multi_margin_loss", "nll_loss", "norm", "normalize", "pdist", "poisson_nll_loss",
    "pow", "prod", "reciprocal", "renorm", "rsqrt", "sinh", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin",
    "softplus", "sum", "tan", "triplet_margin_loss",
}  # fmt: skip
_WIDEST = {
    "addcdiv",
    "addcmul",
    "atan2",
    "bilinear",
    "cat",
    "cross",
    "dot",
    "index_put",
    "scatter_add",
    "stack",
    "tensordot",
}


class Casts(TorchFunctionMode):
    """Casts arguments as autocast to bfloat16 does on CUDA, each trained weight once; operations in place as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.cast: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        wanted = self._type_for(name, [*tree_leaves((args, given))]) if "out" not in given else None
        if wanted is not None:
            args, given = tree_map(lambda one: self._as(one, wanted), (args, given))
        return function(*args, **given)

    def _type_for(self, name: str, values: Sequence[Any]) -> torch.dtype | None:
        if not self.enabled:
            return None
        if name in _WIDEST:
            found = {one.dtype for one in values if _is_cast(one)}
            return torch.float32 if len(found) > 1 else None
        return torch.bfloat16 if name in _LOWER else torch.float32 if name in _FLOAT32 else None

    def _as(self, value: Any, dtype: torch.dtype) -> Any:
        if not _is_cast(value) or value.dtype == dtype:
            return value
        trained = value.is_leaf and value.requires_grad and not value._is_view()
        if dtype != torch.bfloat16 or not trained:
            return value.to(dtype)
        if id(value) not in self.cast:
            # with the weight itself, so that no other tensor gets its number meanwhile
            self.cast[id(value)] = (value, value.to(dtype))
        return self.cast[id(value)][1]


def _is_cast(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.float32, torch.bfloat16)


_casting: list[Casts] = []


@contextlib.contextmanager
def autocast(*_: object, enabled: bool = True, **__: object) -> Iterator[None]:
    """In place of `torch.autocast`, on every device: the outermost enabled region casts, and those within can disable it."""
    if not _casting and enabled:
        with Casts() as casts:
            _casting.append(casts)
            try:
                yield
            finally:
                _casting.pop()
        return
    before = [casts.enabled for casts in _casting]
    for casts in _casting:
        casts.enabled = enabled
    try:
        yield
    finally:
        for casts, was in zip(_casting, before, strict=True):
            casts.enabled = was


def is_casting(_: str) -> bool:
    """In place of `torch.is_autocast_enabled`."""
    return bool(_casting) and _casting[-1].enabled


@contextlib.contextmanager
def autocast_everywhere() -> Iterator[None]:
    """Let PyTorch's functions for autocast be those above, inside."""
    ours = {"autocast": autocast, "is_autocast_enabled": is_casting, "get_autocast_dtype": lambda _: torch.bfloat16}
    with mock.patch.multiple(torch, **ours), mock.patch.object(torch.amp, "is_autocast_available", lambda _: True):
        yield


# --- training steps ---------------------------------------------------------------------------------------------------


def take_step(trial: Trial, precision: str) -> None:
    """Take one training step in `precision`, on `meta`, with a full batch that is on the device."""
    trial.model.train()
    size = trial.batches.batch_size
    images = torch.empty(size, 3, SIDE, SIDE, device=META).contiguous(memory_format=torch.channels_last)
    labels = torch.empty(size, dtype=torch.int64, device=META)
    rate = torch.empty((), device=META)
    with autocast_everywhere():
        train_step(trial.model, trial.objective, images, labels, trial.updates, rate, precision, trial.after_step)


def trials() -> dict[str, Trial]:
    """Return every training of config/cifar10.yaml by SECTION.METHOD, on `meta`, and the reference of distillation."""
    found: dict[str, Trial] = {}
    images = np.zeros((128, SIDE, SIDE, 3), dtype=np.uint8)
    data = ImageSet(images, np.arange(128) % CLASSES, tuple(map(str, range(CLASSES))))
    with META:
        for row in timing_recipe(paper(), rounds=2)["rows"]:
            found[row["name"]] = measure_times.make_trial(
                row, data, {"mean": [0.5] * 3, "std": [0.25] * 3}, META, False
            )
    return found | student_and_teacher(found)


def student_and_teacher(trials: Mapping[str, Trial]) -> dict[str, Trial]:
    """Return the reference of distillation, made of one of the `trials`."""
    distilled = next(trial for trial in trials.values() if isinstance(trial.objective, Distillation))
    return {WITH_TEACHER: replace(distilled, objective=TeacherToo(distilled.objective.teacher))}


def kernels_of_step(trial: Trial, precision: str) -> Counter[str]:
    """Return the kernels of one training step in `precision`, by operation."""
    with Kernels() as kernels:
        take_step(trial, precision)
    return kernels.counts


def kernels_of_optimizer(trial: Trial) -> int:
    """Return the kernels of one update of the weights."""
    for parameter in trial.model.parameters():
        parameter.grad = torch.empty_like(parameter)
    with Kernels() as kernels:
        trial.updates.step(torch.empty((), device=META))
    return kernels.counts.total()


def count(trials: Mapping[str, Trial], precision: str) -> pd.DataFrame:
    """Return the kernels of each training's step, what it adds to which reference, and the most that it may add.

    A loss whose kernels depend on the values (triplets are chosen by them) is left out.
    """
    kernels: dict[str, int] = {}
    for name, trial in trials.items():
        with contextlib.suppress(NotImplementedError):
            kernels[name] = kernels_of_step(trial, precision).total()
    rows = []
    for name, number in kernels.items():
        reference = REFERENCES.get(name.split(".")[0], name)
        plain = name == reference or isinstance(trials[name].objective, CrossEntropy)
        compared = {} if plain else {"reference": reference, "added": number - kernels[reference]}
        goal = PLAIN_GOAL if name == "robustness.baseline" and precision == "float32" else GOALS.get(name)
        rows.append({"training": name, "precision": precision, "kernels": number, **compared, "goal": goal})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table of each precision and write both."""
    found = trials()
    tables = [count(found, precision) for precision in PRECISIONS]
    for table, precision in zip(tables, PRECISIONS, strict=True):
        show(table.drop(columns="precision"), f"kernels of a training step, {precision}")
    update = kernels_of_optimizer(found["robustness.baseline"])
    print(f"\nof these the optimiser's update: {update} (goal {OPTIMIZER_GOAL})")
    RESULTS.mkdir(exist_ok=True)
    pd.concat(tables, ignore_index=True).to_csv(RESULTS / "kernels.csv", index=False)


if __name__ == "__main__":
    main()
