"""The section `data`: where the images come from, and how many are used."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from lgg.data import own_files
from lgg.data.torchvision_names import DATASETS, Name, Published
from lgg.pipeline.config.types import Count, FilePath, Label, Positive, Problem, Section, Seed, Share, repeated_words

CLASSES_OF_SOURCE = {"photo_patches": 10, "digits": 10, "cifar10": 10, "cifar100": 100}
IMAGES_OF_SOURCE = {"digits": (1438, 359), "cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000)}


def _dataset(value: Any) -> Any:
    """Refuse other spellings of a data set's name, and suggest the right one."""
    plain = re.sub("[^a-z0-9]", "", str(value).lower())
    if plain in ("cifar10", "cifar100"):
        raise ValueError(f"{value!r} is not a data set of source torchvision: write it as the 'source' {plain}")
    meant = {name.lower(): name for name in DATASETS}.get(plain)
    if meant is not None and meant != value:
        raise ValueError(f"{value!r} is not a valid choice; did you mean {meant!r}?")
    return value


class Data(Section):
    """The images. All sources deliver square RGB images of `image_size` with 8 bits per channel."""

    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "photo_patches": ("path", "cifar10", "class_names", "dataset"),
        "digits": ("path", "cifar10", "class_names", "dataset"),
        "cifar10": ("class_names", "dataset"),
        "cifar100": ("cifar10", "class_names", "dataset"),
        "torchvision": ("cifar10",),
        "arrays": ("dataset",),
        "image_folder": ("dataset",),
    }

    source: Literal["photo_patches", "digits", "cifar10", "cifar100", "torchvision", "arrays", "image_folder"] = Field(
        description="photo_patches: crops of ten photographs that ship with Python packages; digits: scikit-learn's digits; "
        "cifar10, cifar100: downloaded; torchvision: another data set that torchvision downloads (`dataset`); arrays: your "
        ".npz files; image_folder: your images in train/CLASS/ and test/CLASS/"
    )
    dataset: Annotated[Name | None, BeforeValidator(_dataset)] = Field(
        default=None,
        description="torchvision: the data set, by the name of torchvision's class (EMNIST: its split `balanced`); null for "
        "other sources",
    )
    path: FilePath | None = Field(
        default=None,
        description="arrays: folder with one *train*.npz and one *test*.npz; image_folder: folder with train/ and test/ (or "
        "val/, valid/, validation/ if there is no test/); "
        "cifar10, cifar100, torchvision: folder of the archives, downloaded if missing; null: `downloads`. Not for other "
        "sources",
    )
    image_size: Annotated[int, Field(ge=8, le=1024)] = Field(
        default=32,
        description="height and width of all images, in pixels; the central square of others is resized, smaller ones are "
        "enlarged (photo_patches: crops of this size from 32 to 56 pixels)",
    )
    train_images: Count | None = Field(
        default=None,
        description="number of training images, drawn evenly from all classes; null: all (photo_patches: 2,000)",
    )
    test_images: Count | None = Field(
        default=None,
        description="number of test images, drawn evenly from all classes; null: all (photo_patches: 1,000)",
    )
    validation_images: Count | None = Field(
        default=None,
        description="number of training images to hold out, drawn evenly from all classes, and use in place of the test "
        "images; for choosing settings without looking at the test set. null: none",
    )
    cifar10: bool = Field(
        default=False,
        description="arrays, image_folder: set to true if the files hold CIFAR-10; only then are the paper's figures, which "
        "were measured on CIFAR-10, shown next to your results",
    )
    seed: Seed = Field(default=0, description="seed for drawing images, and for the crops of photo_patches")
    class_names: list[Label] | None = Field(
        default=None,
        description="class names in the order of the labels, e.g. for arrays without names; null: the names that the source "
        "provides",
    )
    mean: list[Share] | None = Field(
        default=None,
        description="per-channel mean in [0, 1] that networks subtract; null: measured on the training images",
    )
    std: list[Positive] | None = Field(
        default=None,
        description="per-channel standard deviation that networks divide by; null: measured on the training images",
    )

    def problems(self) -> Iterator[Problem]:
        if self.source in ("arrays", "image_folder") and self.path is None:
            yield "path", f"source {self.source} reads your own files: set `path` to their folder"
        if self.path is not None and "path" in self.not_of.get(self.source, ()):
            yield "path", f"source {self.source} comes with Python packages: set `path` to null"
        if self.source == "torchvision" and self.dataset is None:
            yield "dataset", f"source torchvision has many: set this to one of {', '.join(DATASETS)}"
        if self.dataset is not None and self.source != "torchvision":
            yield "dataset", f"only for source torchvision; set it to null for {self.source}"
        if self.cifar10 and "cifar10" in self.not_of.get(self.source, ()):
            yield "cifar10", f"only for your own files that hold CIFAR-10; source {self.source} does not read any"
        if (self.mean is None) != (self.std is None):
            missing = "mean" if self.mean is None else "std"
            yield missing, "`mean` and `std` go together: set both, or neither to have them measured"
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != 3:
                yield key, f"expected three numbers, for red, green and blue, found {len(values)}"
        for key, count in (("train_images", self.train_images), ("test_images", self.test_images)):
            if count is not None:
                yield from self._count_problems(key, count)
        if self.validation_images is not None:
            yield from self._validation_problems(self.validation_images)
        if self.class_names is not None:
            yield from self._name_problems(self.class_names)

    def _count_problems(self, key: str, count: int) -> Iterator[Problem]:
        most = self.available(key)
        if count < self.classes_at_least:
            yield key, f"{count} is fewer than the {self.classes_at_least} classes"
        if most is not None and count > most:
            yield key, f"{count} is more than the {most:,} images of {self.name}"
        if self.source == "photo_patches" and count % 10:
            yield key, f"{count} is not a multiple of 10; photo_patches has 10 classes of equal size"

    def _validation_problems(self, count: int) -> Iterator[Problem]:
        key = "validation_images"
        if self.test_images is not None:
            yield key, "they replace the test images: set `test_images` to null"
        if count < self.classes_at_least:
            yield key, f"{count} is fewer than the {self.classes_at_least} classes"
        if self.training_images is not None and self.training_images < self.classes_at_least:
            most = self.training_images + count - self.classes_at_least
            yield key, f"{count} is too many: at most {most:,} training images can be held out"

    def _name_problems(self, names: Sequence[str]) -> Iterator[Problem]:
        if repeated := repeated_words(names):
            yield "class_names", f"{', '.join(map(repr, repeated))} is listed twice"
        if self.known_classes is not None and len(names) != self.known_classes:
            yield "class_names", f"{len(names)} names, but {self.name} has {self.known_classes} classes"

    @property
    def name(self) -> str:
        """What the data are called: the source, or the data set of torchvision."""
        return self.dataset if self._published and self.dataset else self.source

    @property
    def _published(self) -> Published | None:
        return DATASETS[self.dataset] if self.source == "torchvision" and self.dataset else None

    @property
    def beside_the_paper(self) -> bool:
        """Whether the paper's figures are shown next to ours: on CIFAR-10 at its size, and in the demonstration."""
        return self.image_size == 32 and (self.cifar10 or self.source in ("cifar10", "photo_patches", "digits"))

    #: numbers of the user's own images, after a survey
    _counted: dict[str, int] = PrivateAttr(default_factory=dict)
    _notices: list[str] = PrivateAttr(default_factory=list)

    @property
    def notices(self) -> list[str]:
        """Notices for the user: which files in image folders are not read."""
        return self._notices

    @property
    def known_classes(self) -> int | None:
        """Number of classes; None if only the files show it."""
        if self._published:
            return self._published.classes
        return self._counted.get("classes") or CLASSES_OF_SOURCE.get(self.source)

    @property
    def classes_at_least(self) -> int:
        """Number of classes if known, otherwise two, the least that any task has."""
        return self.known_classes or 2

    def available(self, split: str) -> int | None:
        """Number of images of ``train_images`` or ``test_images`` in the source; None if only its files show it."""
        if self.source == "photo_patches":
            return {"train_images": 20_000, "test_images": 5_000}[split]
        counts = self._published.images if self._published else IMAGES_OF_SOURCE.get(self.source)
        return self._counted.get(split) if counts is None else counts[0 if split == "train_images" else 1]

    def take_survey(self, found: own_files.Survey) -> None:
        """Store the number of images per class, for the checks that need it, and the notices for the user."""
        self._notices = found.notices
        if found.counts is None:
            return
        train, test = found.counts
        self._counted = {
            "train_images": sum(train),
            "test_images": sum(test),
            "classes": len(train),
            "smallest_class": min(train),
        }

    @property
    def images_of_smallest_class(self) -> int | None:
        """Upper bound on the training images of the smallest class; None if only the files show it."""
        if self.training_images is None or self.known_classes is None:
            return None
        even = self.training_images // self.known_classes
        held_out = -(-(self.validation_images or 0) // self.known_classes)
        return min(even, self._counted.get("smallest_class", even + held_out) - held_out)

    @property
    def training_images(self) -> int | None:
        """Number of training images; None if only the files show it."""
        photo_patches = 2000 if self.source == "photo_patches" else None
        images = self.train_images or photo_patches or self.available("train_images")
        return images and images - (self.validation_images or 0)

    @property
    def testing_images(self) -> int | None:
        """Number of test images; None if only the files show it."""
        photo_patches = 1000 if self.source == "photo_patches" else None
        return self.validation_images or self.test_images or photo_patches or self.available("test_images")
