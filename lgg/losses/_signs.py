"""The check that cosine graphs are made of representations without negative values (Section 3.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lgg.errors import SignedRepresentations
from lgg.products import is_wrapped


def layer_name(representations: Sequence[Tensor], place: int) -> str:
    """Return how to call a layer: by its name where `lgg.tap` collected it, else by its place from 0."""
    names = getattr(representations, "layers", None)
    return f"layer {place if names is None else repr(names[place])}"


class SignCheck:
    """Refuses representations with negative values, at the first batch of each layer alone.

    Whether a layer's outputs can be negative is a matter of the layer: one that ends in a ReLU has none in any batch, and
    any other has some in its first. So one look is enough, and no later step waits for the device. A layer is known by
    its name and by the shape of its representations; looking needs values, so it is left out while `torch.compile` traces
    and while a CUDA graph is captured.
    """

    def __init__(self) -> None:
        self._passed: set[tuple[str, tuple[int, ...]]] = set()

    def __call__(self, x: Tensor, layer: str) -> None:
        """Raise SignedRepresentations where `x` (B, ...) has a negative value, unless `layer` was seen before."""
        if torch.compiler.is_compiling():
            return
        kind = (layer, tuple(x.shape[1:]))
        if kind in self._passed:
            return
        while is_wrapped(x):
            x = torch._C._functorch.get_unwrapped(x)
        if x.is_meta or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
            return
        if x.numel() and x.detach().amin() < 0:
            raise SignedRepresentations(
                f"{layer} has negative values: cosines can then be negative, and degrees, which graphs are normalised by, "
                "pass through zero. Cosine graphs are for representations that cannot be negative, as after a ReLU "
                "(Section 3.3): take similarity='rbf', or compare the output of the ReLU that follows"
            )
        self._passed.add(kind)
