"""The images."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr

from lgg.data import own_files
from lgg.pipeline.config.types import Count, FilePath, Label, Positive, Problem, Section, Seed, Share, repeated_words

CLASSES_OF_SOURCE = {"photo_patches": 10, "digits": 10, "cifar10": 10, "cifar100": 100}
IMAGES_OF_SOURCE = {"digits": (1438, 359), "cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000)}


class Data(Section):
    """The images. All sources give RGB images of 32 × 32 pixels, 8 bits a channel."""

    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "photo_patches": ("path", "cifar10", "class_names"),
        "digits": ("path", "cifar10", "class_names"),
        "cifar10": ("class_names",),
        "cifar100": ("cifar10", "class_names"),
    }

    source: Literal["photo_patches", "digits", "cifar10", "cifar100", "arrays", "image_folder"] = Field(
        description="photo_patches: crops of ten photographs that ship with Python packages; digits: scikit-learn's; "
        "cifar10, cifar100: downloaded; arrays: your .npz files; image_folder: your pictures in train/CLASS/ and test/CLASS/"
    )
    path: FilePath | None = Field(
        default=None,
        description="arrays: folder with one *train*.npz and one *test*.npz; image_folder: folder with train/ and test/ (or "
        "val/, valid/, validation/ if there is no test/); "
        "cifar10, cifar100: where the archive is or will be downloaded, `downloads` by default; no other source has one",
    )
    train_images: Count | None = Field(
        default=None,
        description="number of training images, drawn evenly from all classes; null: all there are (photo_patches: 2,000)",
    )
    test_images: Count | None = Field(
        default=None,
        description="number of test images, drawn evenly from all classes; null: all there are (photo_patches: 1,000)",
    )
    validation_images: Count | None = Field(
        default=None,
        description="number of training images, drawn evenly from all classes, that are held out and replace the "
        "test images: to choose settings without looking at the test images; null: none",
    )
    cifar10: bool = Field(
        default=False,
        description="arrays, image_folder: whether the files hold CIFAR-10's images; the paper's figures, which are of "
        "CIFAR-10, are shown next to your results only then",
    )
    seed: Seed = Field(default=0, description="decides which images are drawn, and which crops photo_patches cuts")
    class_names: list[Label] | None = Field(
        default=None,
        description="names of the classes in the order of their labels, for instance of arrays that give none; null: those "
        "that the source gives",
    )
    mean: list[Share] | None = Field(
        default=None,
        description="per-channel mean in [0, 1] that networks subtract; null: that of the training images",
    )
    std: list[Positive] | None = Field(
        default=None,
        description="per-channel standard deviation that networks divide by; null: that of the training images",
    )

    def problems(self) -> Iterator[Problem]:
        if self.source in ("arrays", "image_folder") and self.path is None:
            yield "path", f"source {self.source} reads files of yours: set `path` to their folder"
        if self.path is not None and "path" in self.not_of.get(self.source, ()):
            yield "path", f"source {self.source} comes with Python packages: leave `path` at null"
        if self.cifar10 and "cifar10" in self.not_of.get(self.source, ()):
            yield "cifar10", f"it is for files of yours that hold CIFAR-10, but source {self.source} reads others"
        if (self.mean is None) != (self.std is None):
            missing = "mean" if self.mean is None else "std"
            yield missing, "`mean` and `std` go together: give both, or neither to have them measured"
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != 3:
                yield key, f"three numbers are needed, for red, green and blue, not {len(values)}"
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
            yield key, f"{count} is more than {self.source} has, {most:,}"
        if self.source == "photo_patches" and count % 10:
            yield key, f"{count}: photo_patches has 10 classes of equal size, take a multiple of 10"

    def _validation_problems(self, count: int) -> Iterator[Problem]:
        key = "validation_images"
        if self.test_images is not None:
            yield key, "they take the place of the test images: leave `test_images` at null"
        if count < self.classes_at_least:
            yield key, f"{count} is fewer than the {self.classes_at_least} classes"
        if self.training_images is not None and self.training_images < self.classes_at_least:
            most = self.training_images + count - self.classes_at_least
            yield key, f"{count} is too many: at most {most:,} training images can be spared"

    def _name_problems(self, names: Sequence[str]) -> Iterator[Problem]:
        if repeated := repeated_words(names):
            yield "class_names", f"{', '.join(map(repr, repeated))} is there twice"
        if self.known_classes is not None and len(names) != self.known_classes:
            yield "class_names", f"{len(names)} names are given, {self.source} has {self.known_classes} classes"

    @property
    def beside_the_paper(self) -> bool:
        """Whether the paper's figures are shown next to ours: on its data set, and in the demonstration."""
        return self.cifar10 or self.source in ("cifar10", "photo_patches", "digits")

    #: numbers of your own images, after a survey
    _counted: dict[str, int] = PrivateAttr(default_factory=dict)
    _notices: list[str] = PrivateAttr(default_factory=list)

    @property
    def notices(self) -> list[str]:
        """Notices for the user: which files in the folders of pictures are not read."""
        return self._notices

    @property
    def known_classes(self) -> int | None:
        """Number of classes; None where only the files show it."""
        return self._counted.get("classes") or CLASSES_OF_SOURCE.get(self.source)

    @property
    def classes_at_least(self) -> int:
        """Number of classes where it is known, otherwise two, the least that any task has."""
        return self.known_classes or 2

    def available(self, split: str) -> int | None:
        """Number of images of ``train_images`` or ``test_images`` that the source has; None where only its files show it."""
        if self.source == "photo_patches":
            return {"train_images": 20_000, "test_images": 5_000}[split]
        counts = IMAGES_OF_SOURCE.get(self.source)
        return self._counted.get(split) if counts is None else counts[0 if split == "train_images" else 1]

    def take_survey(self, found: own_files.Survey) -> None:
        """Keep the number of images of each class, for the checks that need it, and the notices for the user."""
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
        """Most training images that the smallest class can have; None where only the files show it."""
        if self.training_images is None or self.known_classes is None:
            return None
        even = self.training_images // self.known_classes
        held_out = -(-(self.validation_images or 0) // self.known_classes)
        return min(even, self._counted.get("smallest_class", even + held_out) - held_out)

    @property
    def training_images(self) -> int | None:
        """Number of training images; None where only the files show it."""
        photo_patches = 2000 if self.source == "photo_patches" else None
        images = self.train_images or photo_patches or self.available("train_images")
        return images and images - (self.validation_images or 0)

    @property
    def testing_images(self) -> int | None:
        """Number of test images; None where only the files show it."""
        photo_patches = 1000 if self.source == "photo_patches" else None
        return self.validation_images or self.test_images or photo_patches or self.available("test_images")
