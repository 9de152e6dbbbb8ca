"""The data sets that are read through torchvision: those with class labels, and separate images for training and testing.

Imports neither torch nor numpy, so that a configuration can be checked without them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Name = Literal[
    "MNIST",
    "FashionMNIST",
    "KMNIST",
    "EMNIST",
    "USPS",
    "SVHN",
    "STL10",
    "GTSRB",
    "Flowers102",
    "OxfordIIITPet",
    "DTD",
    "Food101",
    "FGVCAircraft",
    "Country211",
    "Imagenette",
    "RenderedSST2",
]


@dataclass(frozen=True)
class Published:
    """A data set of torchvision.

    Attributes:
        reference: who published it.
        classes: how many there are.
        images: how many, for training and for testing.
        splits: arguments of torchvision's class for both.
        names: names of the classes, where torchvision has none.
        has_digest: whether torchvision compares the downloaded files with a digest.
    """

    reference: str
    classes: int
    images: tuple[int, int]
    splits: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"split": "train"}, {"split": "test"})
    names: tuple[str, ...] = ()
    has_digest: bool = True


_BY_TRAIN = ({"train": True}, {"train": False})
_DIGITS = tuple("0123456789")

DATASETS: dict[Name, Published] = {
    "MNIST": Published("LeCun et al. 1998", 10, (60_000, 10_000), _BY_TRAIN, _DIGITS),
    "FashionMNIST": Published("Xiao et al. 2017", 10, (60_000, 10_000), _BY_TRAIN),
    "KMNIST": Published("Clanuwat et al. 2018", 10, (60_000, 10_000), _BY_TRAIN),
    "EMNIST": Published(
        "Cohen et al. 2017, balanced",
        47,
        (112_800, 18_800),
        ({"split": "balanced", "train": True}, {"split": "balanced", "train": False}),
    ),
    "USPS": Published("Hull 1994", 10, (7291, 2007), _BY_TRAIN, _DIGITS),
    "SVHN": Published("Netzer et al. 2011", 10, (73_257, 26_032), names=_DIGITS),
    "STL10": Published("Coates et al. 2011", 10, (5000, 8000)),
    "GTSRB": Published("Stallkamp et al. 2012", 43, (26_640, 12_630)),
    "Flowers102": Published("Nilsback and Zisserman 2008", 102, (1020, 6149)),
    "OxfordIIITPet": Published("Parkhi et al. 2012", 37, (3680, 3669), ({"split": "trainval"}, {"split": "test"})),
    "DTD": Published("Cimpoi et al. 2014, the first partition", 47, (1880, 1880)),
    "Food101": Published("Bossard et al. 2014", 101, (75_750, 25_250)),
    "FGVCAircraft": Published(
        "Maji et al. 2013, variants", 100, (6667, 3333), ({"split": "trainval"}, {"split": "test"}), has_digest=False
    ),
    "Country211": Published("Radford et al. 2021", 211, (31_650, 21_100)),
    "Imagenette": Published("Howard 2019", 10, (9469, 3925), ({"split": "train"}, {"split": "val"})),
    "RenderedSST2": Published("Radford et al. 2021", 2, (6920, 1821)),
}
