"""Networks: the two families of the paper, and networks of your own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from lgg.pipeline import registry
from lgg.pipeline.config.methods import argument_problems, unregistered
from lgg.pipeline.config.types import Count, Problem, Section

WIDE_RESNET_LAYERS = ("stage1", "stage2", "pool")
PREACT_RESNET18_LAYERS = (*(f"block{block}.relu{relu}" for block in range(1, 9) for relu in (1, 2)), "final.relu")


class _Architecture(Section):
    @property
    def built_with(self) -> dict[str, Any]:
        """What `lgg.models.build` is given."""
        return self.model_dump(mode="json")


class WideResNet(_Architecture):
    """WideResNet-depth-width; its representations are stage1, stage2 and pool."""

    name: Literal["wide_resnet"]
    depth: Annotated[int, Field(ge=10)] = Field(description="number of layers, 6n + 4")
    width: Annotated[float, Field(gt=0, le=1000)] = Field(description="stages have 16, 32 and 64 channels times this")

    def problems(self) -> Iterator[Problem]:
        if (self.depth - 4) % 6:
            yield "depth", f"{self.depth} is not of the form 6n + 4 (10, 16, 22, 28 …)"
        if int(16 * self.width) < 1:
            yield "width", f"{self.width} leaves the first stage without channels; take at least 0.0625"

    @property
    def layers(self) -> tuple[str, ...]:
        return WIDE_RESNET_LAYERS


class PreActResNet18(_Architecture):
    """Pre-activation ResNet18; its representations are the outputs of its 17 ReLUs, block1.relu1 to final.relu."""

    name: Literal["preact_resnet18"]
    base_width: Count = Field(default=64, description="channels of the first two blocks; the paper's network has 64")

    @property
    def layers(self) -> tuple[str, ...]:
        return PREACT_RESNET18_LAYERS


class OtherNetwork(_Architecture):
    """A network of your own: a file of lgg/models/ and a line in its __init__.py."""

    name: Literal["other"]
    module: str = Field(description="its name in the table _EXPORTS of lgg/models/__init__.py")
    arguments: dict[str, bool | int | float | str | None] = Field(
        default={}, description="what the network is made with: arguments of its class"
    )

    def problems(self) -> Iterator[Problem]:
        try:
            if self.module not in registry.networks():
                raise ValueError(unregistered(self.module, registry.networks(), "lgg/models/__init__.py"))
            taken = registry.network_arguments(self.module)
            registry.network_layers(self.module)
        except ValueError as error:
            yield "module", str(error)
            return
        yield from argument_problems(registry.networks()[self.module][1], self.arguments, taken)

    @property
    def layers(self) -> tuple[str, ...]:
        return registry.network_layers(self.module)

    @property
    def built_with(self) -> dict[str, Any]:
        return {"name": self.module, **self.arguments}


Architecture = Annotated[WideResNet | PreActResNet18 | OtherNetwork, Field(discriminator="name")]
