"""What is kept of a network while it is trained: a tensor per epoch, which checkpoints hold too."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor


class Recorder:
    """Observes a network before the first epoch and after each, and writes what it saw at the end.

    Args:
        observe: called with the network, returns what to keep of it. It may change the mode of the network, which is set
            again, but neither its weights and buffers nor torch's generators.
        save: called after training with all that was kept, by the number of epochs trained, while the checkpoint is still
            there; None to write nothing.
        epochs: after how many epochs, from 0, the network is observed; None for after each.

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
        """Observe `model` after `epoch` epochs, where that is asked for."""
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
        """Bring back what `state` returned, in the order of epochs."""
        self.recorded = {epoch: state[str(epoch)] for epoch in sorted(map(int, state))}
