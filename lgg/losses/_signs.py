"""Check that representations of cosine graphs have no negative values (Section 3.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lgg.errors import SignedRepresentations


def layer_name(representations: Sequence[Tensor], place: int) -> str:
    """Return a layer's name for messages if `representations` has `layers`, as a `lgg.tap` has, else its position from 0."""
    names = getattr(representations, "layers", None)
    return f"layer {place if names is None else repr(names[place])}"


class SignCheck:
    """Rejects representations with negative values, checking only the first batch of each layer.

    Whether outputs can be negative depends on the layer: one that ends in a ReLU never has negative outputs, and any other
    has some in its first batch. A single check is thus enough, and later steps do not wait for the device. Layers are
    identified by name and shape. The check reads values, so it is skipped while `torch.compile` traces or a CUDA graph is
    captured.
    """

    def __init__(self) -> None:
        self._passed: set[tuple[str, tuple[int, ...]]] = set()

    def __call__(self, x: Tensor, layer: str) -> None:
        """Raise SignedRepresentations if `x` (B, ...) has a negative value, unless `layer` was checked before."""
        if torch.compiler.is_compiling():
            return
        kind = (layer, tuple(x.shape[1:]))
        if kind in self._passed:
            return
        while torch._C._functorch.is_functorch_wrapped_tensor(x):
            x = torch._C._functorch.get_unwrapped(x)
        if x.is_meta or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
            return
        if x.numel() and x.detach().amin() < 0:
            raise SignedRepresentations(
                f"{layer} has negative values, so cosines and the degrees that graphs are normalised by can be negative or "
                "zero. Cosine graphs need non-negative representations, as after a ReLU (Section 3.3): use "
                "similarity='rbf', or use the output of the ReLU that follows"
            )
        self._passed.add(kind)
