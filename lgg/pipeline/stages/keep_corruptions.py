"""Generate all corrupted test images once and write them in the layout of the official archive."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.data.corruption_archive import write_archive
from lgg.data.storage import read_images
from lgg.pipeline.job import run

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import KeepCorruptions


def main(arguments: Namespace) -> None:
    recipe: KeepCorruptions = arguments.recipe
    data = read_images(arguments.test)
    write_archive(
        arguments.out_archive,
        data.images,
        data.labels,
        recipe["names"],
        seed=recipe["seed"],
        workers=arguments.threads,
    )


if __name__ == "__main__":
    run(main, inputs=("test",), outputs=("archive",))
