"""Networks: the two families of the paper, and your own."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lgg.pipeline import registry
from lgg.pipeline.config.methods import Registered
from lgg.pipeline.config.types import Count, Problem, Section


class _Architecture(Section):
    @property
    def built_with(self) -> dict[str, Any]:
        """Arguments of `lgg.models.build`."""
        return self.model_dump(mode="json")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of its representations; ValueError if its class does not list them."""
        return registry.network_layers(self.built_with["name"])


class WideResNet(_Architecture):
    """WideResNet-depth-width; its representations are stage1, stage2 and pool."""

    name: Literal["wide_resnet"]
    depth: Annotated[int, Field(ge=10)] = Field(description="number of layers, 6n + 4")
    width: Annotated[float, Field(gt=0, le=1000)] = Field(
        description="factor of the 16, 32 and 64 channels of the stages"
    )

    def problems(self) -> Iterator[Problem]:
        if (self.depth - 4) % 6:
            yield "depth", f"{self.depth} is not of the form 6n + 4 (10, 16, 22, 28 …)"
        if int(16 * self.width) < 1:
            yield "width", f"{self.width} leaves the first stage without channels; use at least 0.0625"


class PreActResNet18(_Architecture):
    """Pre-activation ResNet18; its representations are the outputs of its 17 ReLUs, block1.relu1 to final.relu."""

    name: Literal["preact_resnet18"]
    base_width: Count = Field(default=64, description="channels of the first two blocks; the paper's network has 64")


class OtherNetwork(_Architecture, Registered):
    """Your own network: a file in lgg/models/ and a line in its __init__.py."""

    folder: ClassVar[str] = "models"

    name: Literal["other"]

    @property
    def built_with(self) -> dict[str, Any]:
        return {"name": self.module, **self.arguments}

    def _registered(self) -> Mapping[str, str]:
        return {name: class_name for name, (_, class_name) in registry.networks().items()}

    def _checked(self) -> Mapping[str, bool] | None:
        taken = registry.network_arguments(self.module)
        registry.network_layers(self.module)
        return taken


Architecture = Annotated[WideResNet | PreActResNet18 | OtherNetwork, Field(discriminator="name")]
