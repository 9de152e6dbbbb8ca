"""Records a tensor per epoch during training; checkpoints include the recorded tensors."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor


class Recorder:
    """Observes a network before the first epoch and after each one, and saves the observations at the end.

    Args:
        observe: called with the network, returns the tensor to record. It may change the mode of the network, which is
            restored, but not its weights and buffers nor torch's generators.
        save: called after training with all recorded tensors, by the number of epochs trained, while the checkpoint still
            exists; None to write nothing.
        epochs: numbers of epochs, from 0, after which to observe the network; None for every epoch.

    Attributes:
        recorded: what `observe` returned, by the number of epochs trained.
    """

    def __init__(
        self,
        observe: Callable[[Any], Tensor],
        save: Callable[[dict[int, Tensor]], None] | None = None,
        epochs: Collection[int] | None = None,
    ) -> None:
        self.observe = observe
        self.save = save
        self.epochs = epochs
        self.recorded: dict[int, Tensor] = {}

    def record(self, model: Any, epoch: int) -> None:
        """Observe `model` after `epoch` epochs, if this is one of `epochs`."""
        if self.epochs is None or epoch in self.epochs:
            self.recorded[epoch] = self.observe(model)

    def write(self) -> None:
        """Save what was recorded."""
        if self.save is not None:
            self.save(self.recorded)

    def state(self) -> dict[str, Tensor]:
        """Return what was recorded, for a checkpoint."""
        return {str(epoch): value for epoch, value in self.recorded.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned, in the order of epochs."""
        self.recorded = {epoch: state[str(epoch)] for epoch in sorted(map(int, state))}
