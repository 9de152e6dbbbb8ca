"""Generate all corrupted test images once and write them in the layout of the official archive."""

from argparse import Namespace

from lgg.data.corruption_archive import write_archive
from lgg.data.storage import read_images
from lgg.pipeline.job import run


def main(arguments: Namespace) -> None:
    data, recipe = read_images(arguments.test), arguments.recipe
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
