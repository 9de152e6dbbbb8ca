"""Download the official archive of CIFAR-10's corrupted test images."""

from argparse import Namespace

from lgg.data.corruption_archive import download
from lgg.pipeline.job import run


def main(arguments: Namespace) -> None:
    download(arguments.out_archive)


if __name__ == "__main__":
    run(main, outputs=("archive",))
