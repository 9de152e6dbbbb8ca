"""Predictions under PGD (Section 4.3): many images in full batches, whose starts do not depend on the batches."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from lgg.attacks import Loss, ascend, check_search, losses_of
from lgg.evaluation.accuracy import classes
from lgg.evaluation.batching import Compute, batches_of, choose_batch_size, gather
from lgg.graph import at_least_float32
from lgg.models.base import ImageClassifier

#: images whose starts are drawn together; another number gives other starts
GROUP = 500


def predict_under_pgd(
    model: ImageClassifier,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    restarts: int = 1,
    random_start: bool = False,
    seed: int = 0,
    loss: Loss = "cross_entropy",
    stop_at_success: bool = False,
    target: ImageClassifier | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the predictions for images after `lgg.attacks.pgd` on `model`, (N,) int64 on the CPU.

    The random starts of an image depend only on the seed and the image's position, not on the batch size or the device.
    Each further start processes the images that `model` still classifies correctly, in full batches.

    Args:
        model: the network attacked; it is put into evaluation mode.
        images, labels: (N, H, W, 3) uint8, and (N,) the true classes.
        epsilon, step_size, steps, restarts, random_start, loss, stop_at_success: as in `lgg.attacks.pgd`.
        seed: seed of the random starts.
        target: the network that predicts (transfer attack); None is `model`.
        batch_size: images attacked together; None is as many as memory allows (`choose_batch_size`).
        device: device of the networks.

    Raises ValueError as `pgd` does.
    """
    check_search(epsilon, step_size, steps, restarts)
    search = partial(
        ascend, epsilon=epsilon, step_size=step_size, steps=steps, loss=loss, stop_at_success=stop_at_success
    )
    model.eval()
    judge = model if target is None else target.eval()

    def attacked(batch: Tensor, truth: Tensor, *noise: Tensor) -> Tensor:
        with torch.enable_grad():
            return search(model, batch, batch + epsilon * noise[0] if noise else batch, truth)

    def predictions(*batch: Tensor) -> tuple[Tensor]:
        return (classes(judge, attacked(*batch)),)

    def attempts(batch: Tensor, truth: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = attacked(batch, truth, *noise)
        with torch.inference_mode():
            logits = at_least_float32(model(found))
            own = logits.argmax(dim=1)
            return own if judge is model else classes(judge, found), losses_of(logits, truth, loss), own != truth

    size = batch_size or choose_batch_size(model, images, device, gradients=True)
    starts = Starts(seed, len(images), images.shape[1:], restarts - (not random_start))
    everything = torch.arange(len(images))

    def run(compute: Compute, positions: Tensor, start: int) -> tuple[Tensor, ...]:
        pixels, truth = images, labels
        if positions is not everything:
            pixels, truth = images[positions.to(images.device)], labels[positions.to(labels.device)]
        # without random_start the first start is the image itself
        number = start - (not random_start)
        noise = () if number < 0 else (starts.batches(number, positions, size),)
        return gather(compute, batches_of(pixels, truth, size, device, *noise), len(positions))

    if restarts == 1:
        return run(predictions, everything, 0)[0]
    predicted, losses, wrong = run(attempts, everything, 0)
    for start in range(1, restarts):
        left = (~wrong).nonzero()[:, 0]
        if not len(left):
            break
        now_predicted, now_losses, now_wrong = run(attempts, left, start)
        better = now_wrong | (now_losses > losses[left])
        taken = left[better]
        predicted[taken], losses[taken], wrong[taken] = now_predicted[better], now_losses[better], now_wrong[better]
    return predicted


class Starts:
    """Random numbers in [−1, 1) for the starts of PGD, which depend on the seed and the position of an image.

    They are those of one generator on the CPU, drawn for groups of 500 images: all starts of the first group, then those of
    the next. Only the generator's state before each draw is kept, since all numbers may not fit into memory.

    Args:
        seed: seed of the generator.
        count: number of images.
        shape: of an image, (H, W, 3).
        starts: number of random starts of an image.
    """

    def __init__(self, seed: int, count: int, shape: Sequence[int], starts: int) -> None:
        self.count, self.starts = count, starts
        self.shape = (shape[2], shape[0], shape[1])
        self.generator = torch.Generator().manual_seed(seed)
        self.states = [self.generator.get_state()]
        self.last: tuple[int, Tensor] | None = None

    def batches(self, start: int, positions: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Yield the numbers of a start, from 0, for the images at `positions` (n,), ascending, in batches (B, 3, H, W)."""
        for part in torch.split(positions, batch_size):
            groups = part // GROUP
            rows = [
                self._drawn(group * self.starts + start)[part[groups == group] % GROUP]
                for group in sorted(set(groups.tolist()))
            ]
            yield 2 * torch.cat(rows) - 1

    def _drawn(self, number: int) -> Tensor:
        """Return the draw of that number, in [0, 1); the last one is kept, since a group may be in several batches."""
        if self.last is None or self.last[0] != number:
            while len(self.states) <= number:
                self._draw(len(self.states) - 1)
            self.last = number, self._draw(number)
        return self.last[1]

    def _draw(self, number: int) -> Tensor:
        self.generator.set_state(self.states[number])
        images = min(GROUP, self.count - number // self.starts * GROUP)
        drawn = torch.rand((images, *self.shape), generator=self.generator)
        if number == len(self.states) - 1:
            self.states.append(self.generator.get_state())
        return drawn
