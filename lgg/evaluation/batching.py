"""Results for many images, in batches as large as memory allows, without waiting for the device between them."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lgg.data.batches import deliver, in_order

#: images of 32 × 32 pixels per batch on a CPU, and where the host takes longer than the network
FIXED = 500
FIXED_PIXELS = FIXED * 32 * 32  # of a batch of larger images, about
#: images per batch of a GPU at most: they fill it, and where memory suffices batches do not depend on how much is free
LARGEST = 5000
#: share of a GPU's free memory that a batch may take; other jobs may use the same GPU
SHARE = 0.5
# images of up to 64 × 64 pixels in the smaller of the two batches by which the memory of one is measured; of larger ones fewer
PROBE, LEAST_PROBE, PROBE_PIXELS = 16, 4, 16 * 64 * 64

#: takes the tensors of a batch (B, ...) and returns results of the same length
Compute = Callable[..., tuple[Tensor, ...]]

_bytes_of: "WeakKeyDictionary[nn.Module, dict[tuple[object, ...], float]]" = WeakKeyDictionary()


def choose_batch_size(model: nn.Module, images: Tensor, device: torch.device | str, *, gradients: bool = False) -> int:
    """Return how many of the images (N, H, W, 3) to process together.

    On a CPU it is `fixed_batch_size`. On a GPU it is the number that fits into half of the free memory, at most 5,000, and
    all batches are about equal; the memory of an image is measured once per network.

    Args:
        model: the network, on `device`. It is put into evaluation mode.
        images: the images of which batches are made.
        device: where they are processed.
        gradients: whether gradients with respect to the images are needed.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return fixed_batch_size(images)
    known = _bytes_of.setdefault(model, {})
    case = (images.shape[1:], gradients)
    if case not in known:
        known[case] = _bytes_per_image(model, images.shape[1:], device, gradients)
    # what PyTorch holds without using it is free, too
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    most = max(1, min(LARGEST, int(SHARE * free / known[case])))
    return math.ceil(len(images) / max(1, math.ceil(len(images) / most)))


def fixed_batch_size(images: Tensor) -> int:
    """Return 500 for images (N, H, W, 3) of up to 32 × 32 pixels; of larger ones, as many as have as many pixels in all."""
    return max(1, min(FIXED, FIXED_PIXELS // math.prod(images.shape[1:3])))


def batches_of(
    images: Tensor, labels: Tensor, batch_size: int, device: torch.device | str, *more: Iterable[Tensor]
) -> Iterator[tuple[Tensor, ...]]:
    """Return an iterator over batches on `device`: of images (N, H, W, 3) uint8 for a model, labels (N,), and of `more`."""
    others = (deliver(parts, device) for parts in (torch.split(labels, batch_size), *more))
    return zip(in_order(images, batch_size, device), *others, strict=True)


def gather(
    compute: Compute,
    batches: Iterable[tuple[Tensor, ...]],
    count: int,
    *,
    generators: Sequence[torch.Generator] = (),
) -> tuple[Tensor, ...]:
    """Return the results of `compute` for all batches, each (count, ...) on the CPU, waiting for the device only at the end.

    A batch for which memory runs out is halved, as are those after it.

    Args:
        compute: called with the tensors of a batch.
        batches: tensors of equal length on the device, `count` rows in all.
        count: number of images, at least 1.
        generators: those that `compute` draws from; they are set back before it is called again for the same images.

    Raises ValueError without images, and torch.OutOfMemoryError if a single image is too much.
    """
    results: tuple[Tensor, ...] | None = None
    done, on_gpu = 0, False
    for rows, found in _halving(compute, batches, generators):
        if results is None:
            results = tuple(_on_host(one, count) for one in found)
            on_gpu = any(one.is_cuda for one in found)
        for whole, one in zip(results, found, strict=True):
            whole[done : done + rows].copy_(one, non_blocking=True)
        done += rows
    if results is None:
        raise ValueError("there are no images to evaluate")
    if on_gpu:
        torch.cuda.current_stream().synchronize()
    return results


def _halving(
    compute: Compute, batches: Iterable[tuple[Tensor, ...]], generators: Sequence[torch.Generator]
) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """Yield what `compute` returns for the batches, in order, and for how many rows; cut up from where memory runs out."""
    most = None
    for batch in batches:
        waiting = _cut(batch, most)
        while waiting:
            part = waiting.popleft()
            found = _attempt(compute, part, generators)
            if found is not None:
                yield len(part[0]), found
                continue
            most = math.ceil(len(part[0]) / 2)
            rest, waiting = waiting, _cut(part, most)
            for other in rest:
                waiting += _cut(other, most)


def _attempt(
    compute: Compute, part: tuple[Tensor, ...], generators: Sequence[torch.Generator]
) -> tuple[Tensor, ...] | None:
    """Return the results for `part`, or None if memory runs out and there are fewer images to try."""
    states = [generator.get_state() for generator in generators]
    try:
        return compute(*part)
    except RuntimeError as error:
        if not _is_out_of_memory(error) or len(part[0]) == 1:
            raise
    # after the error is gone, and with it what its frames hold
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    if part[0].is_cuda:
        torch.cuda.empty_cache()
    return None


def _is_out_of_memory(error: RuntimeError) -> bool:
    # in the words of PyTorch on a GPU and on a CPU, of cuDNN and cuBLAS, and of PyTorch where no workspace of cuDNN fits
    words = (
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "STATUS_ALLOC_FAILED",
        "unable to find an engine",
    )
    return isinstance(error, torch.OutOfMemoryError) or any(one in str(error) for one in words)


def _cut(batch: tuple[Tensor, ...], most: int | None) -> deque[tuple[Tensor, ...]]:
    """Return the batch in parts of at most `most` rows."""
    return deque(zip(*(torch.split(tensor, most or len(tensor)) for tensor in batch), strict=True))


def _on_host(result: Tensor, count: int) -> Tensor:
    """Return memory for `count` rows like those of `result`, into which a GPU can copy without the host's waiting."""
    return torch.empty((count, *result.shape[1:]), dtype=result.dtype, pin_memory=result.is_cuda)


def _bytes_per_image(model: nn.Module, shape: Sequence[int], device: torch.device, gradients: bool) -> float:
    """Return the memory that one more image of `shape` (H, W, 3) in a batch takes on a GPU."""
    model.eval()
    height, width, channels = shape
    count = max(LEAST_PROBE, min(PROBE, PROBE_PIXELS // (height * width)))
    small, large = (_peak(model, images, shape, device, gradients) for images in (count, 2 * count))
    # next to the network's own, a dozen tensors of the size of the images: noise, limits of a ball, what is made of them
    return max(0, large - small) / count + 12 * 4 * height * width * channels


def _peak(model: nn.Module, count: int, shape: Sequence[int], device: torch.device, gradients: bool) -> int:
    """Return the largest amount of memory in use while the network processes `count` images of `shape` (H, W, 3)."""
    height, width, channels = shape
    with torch.enable_grad() if gradients else torch.inference_mode():
        images = torch.zeros((count, channels, height, width), device=device, requires_grad=gradients)
        torch.cuda.reset_peak_memory_stats(device)
        outputs = model(images.contiguous(memory_format=torch.channels_last))
        if gradients:
            torch.autograd.grad(outputs.sum(), images)
        return torch.cuda.max_memory_allocated(device)
