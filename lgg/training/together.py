"""Several networks of one architecture trained at the same time, since a small one does not fill a GPU.

They share only kernel launches: each has its own weights, batches and loss. The gradient of the sum of their losses with
respect to one network's weights is that of its own loss, so each is trained as it would be alone, up to rounding.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from lgg.data.batches import Batches
from lgg.models.base import ImageClassifier
from lgg.models.normalization import BatchNorm
from lgg.training.objectives import Distillation, Step, cross_entropy_step


class Together(nn.Module):
    """n networks in one module, vectorised over the networks.

    ``model(x)`` takes images (n, B, 3, H, W), those of one network each, and gives logits (n, B, C); with
    `return_representations` also the representations, each (n, B, ...).

    Args:
        members: networks of one architecture on one device. Their weights are copied; `separate` writes them back.

    Raises ValueError if there are none, or if their architectures differ.
    """

    def __init__(self, members: Sequence[ImageClassifier]) -> None:
        super().__init__()
        shapes = [{name: value.shape for name, value in member.state_dict().items()} for member in members]
        if not members or any(one != shapes[0] for one in shapes):
            raise ValueError("training together needs at least one network, and networks of one architecture")
        self.layers = members[0].layers
        weights, buffers = stack_module_state(list(members))
        # module attributes cannot have dots in their names, so the names are kept separately
        self.weight_names, self.buffer_names = list(weights), list(buffers)
        self.weights = nn.ParameterList(nn.Parameter(value.detach()) for value in weights.values())
        for number, value in enumerate(buffers.values()):
            self.register_buffer(f"buffer{number}", value)
        # the computation without weights; in a list, so that PyTorch does not register it as a submodule
        template = copy.deepcopy(members[0]).to("meta")
        for module in template.modules():
            if isinstance(module, BatchNorm):
                module.__class__ = _VectorizedBatchNorm
        self._template = [template]

    def __len__(self) -> int:
        """Return n."""
        return len(self.weights[0])

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        buffers = {name: self.get_buffer(f"buffer{number}") for number, name in enumerate(self.buffer_names)}
        return dict(zip(self.weight_names, self.weights, strict=True)), buffers

    def train(self, mode: bool = True) -> "Together":
        """Set the mode of all networks."""
        self._template[0].train(mode)
        return super().train(mode)

    def forward(self, x: Tensor, return_representations: bool = False) -> Any:
        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Any:
            return functional_call(self._template[0], (weights, buffers), (images, return_representations))

        return torch.vmap(one)(*self._state(), x)

    @torch.no_grad()
    def separate(self, members: Sequence[ImageClassifier]) -> None:
        """Copy the weights and buffers of each network into one of `members`."""
        weights, buffers = self._state()
        for number, member in enumerate(members):
            member.load_state_dict({name: value[number] for name, value in {**weights, **buffers}.items()})
            member.train(self.training)


class _VectorizedBatchNorm(BatchNorm):
    """Batch normalisation by PyTorch's native kernels on every device, the only ones that can be vectorised over networks.

    On GPUs in float32 `nn.BatchNorm2d` may choose cuDNN depending on the memory format, which ``torch.vmap`` does not support.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        assert self.momentum is not None
        state = (self.weight, self.bias, self.running_mean, self.running_var)
        normalized: Tensor = torch.native_batch_norm(x, *state, self.training, self.momentum, self.eps)[0]
        return normalized


class BatchesTogether:
    """Batches of several networks at once: images (n, B, 3, H, W), labels (n, B); each has its own order and crops.

    Args:
        batches: of the same images, with different seeds.
    """

    def __init__(self, batches: Sequence[Batches]) -> None:
        self.batches = batches
        self.device = batches[0].device

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.batches[0])

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, from batch `first` on."""
        for parts in zip(*(batches.epoch(number, first) for batches in self.batches), strict=True):
            images, labels = zip(*parts, strict=True)
            yield torch.stack(images), torch.stack(labels)


class CrossEntropyTogether:
    """The sum of the cross-entropies of networks trained together."""

    def __call__(self, model: Together, images: Tensor, labels: Tensor) -> Step:
        logits = model(images)
        return _added([cross_entropy_step(*one) for one in zip(logits, labels, strict=True)])


class DistillationTogether:
    """The sum of the losses of students trained together with one teacher, which processes all their images at once.

    Args:
        distillation: the objective of one student.
    """

    def __init__(self, distillation: Distillation) -> None:
        self.distillation = distillation

    def __call__(self, model: Together, images: Tensor, labels: Tensor) -> Step:
        taught_logits, taught = self.distillation.teach(images.flatten(0, 1))
        logits, representations = model(images, return_representations=True)
        size = images.shape[:2]
        taught = [layer.unflatten(0, size) for layer in taught]  # type: ignore[no-untyped-call]
        taught_logits = taught_logits.unflatten(0, size)  # type: ignore[no-untyped-call]
        return _added(
            [
                self.distillation.compare(
                    model,
                    (logits[one], [layer[one] for layer in representations]),
                    (taught_logits[one], [layer[one] for layer in taught]),
                    labels[one],
                )
                for one in range(len(model))
            ]
        )


def _added(steps: Sequence[Step]) -> Step:
    """Return the sum of the losses; the parts hold one value per network, including its loss."""
    parts = {name: torch.stack([step.parts[name] for step in steps]) for name in steps[0].parts}
    losses = torch.stack([step.loss for step in steps])
    logits = [step.logits for step in steps if step.logits is not None]
    return Step(losses.sum(), {"loss": losses, **parts}, torch.stack(logits) if logits else None)
