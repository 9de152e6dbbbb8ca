"""Adversarial training: the network is trained on adversarial images found by PGD (Madry et al. 2018)."""

from typing import TYPE_CHECKING

from lgg.defences.base import Defence

if TYPE_CHECKING:
    from torch import Tensor, nn


class Adversarial(Defence):
    """Trains on the adversarial images of PGD with one start; the arguments are those of `lgg.attacks.pgd`."""

    def __init__(
        self, epsilon: float = 8 / 255, step_size: float = 2 / 255, steps: int = 7, random_start: bool = True
    ) -> None:
        self.epsilon = epsilon
        self.step_size = step_size
        self.steps = steps
        self.random_start = random_start

    def inputs(self, model: "nn.Module", images: "Tensor", labels: "Tensor") -> "Tensor":
        from lgg.attacks import pgd

        return pgd(
            model,
            images,
            labels,
            epsilon=self.epsilon,
            step_size=self.step_size,
            steps=self.steps,
            random_start=self.random_start,
            generator=self.generator,
        )

    @property
    def sentence(self) -> str:
        start = "a random start" if self.random_start else "the image"
        return f"PGD within ε = {self.epsilon:.3g} from {start}, {self.steps} step(s) of {self.step_size:.3g}"
