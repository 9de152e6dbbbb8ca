"""Publishes finished runs, restores them, and writes the numbers and the picture that pages take from them.

    python tools/published.py results/cifar10-cpu              publishes that run: results/published/cifar10-cpu
    python tools/published.py results/full-width --without-models    the same for a run that no seed will be added to
    python tools/published.py results/cifar10-cpu --restore    the other way: Snakemake accepts its seeds as finished then
    python tools/published.py                                  writes the pages' numbers and docs/assets/results.png
                                                           again from results/published

A run may lack sections of its configuration (`--config embedding=null robustness=null`): the pages say so, and leave them
out. Run it from the repository's root.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from publishing.pages import write_pages
from publishing.picture import write_picture
from publishing.places import PUBLISHED
from publishing.published_run import Published
from publishing.restore import restore
from publishing.write import publish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run", nargs="?", type=Path, help="results/RUN; without it only the pages and their picture are written"
    )
    parser.add_argument("--without-models", action="store_true", help="publish no networks")
    parser.add_argument("--restore", action="store_true", help="restore the run from what is published of it")
    arguments = parser.parse_args()
    if arguments.restore:
        if arguments.run is None:
            parser.error("--restore needs the run to restore: results/RUN")
        restore(arguments.run.resolve(), PUBLISHED)
        return
    if arguments.run is not None:
        publish(arguments.run.resolve(), PUBLISHED, with_models=not arguments.without_models)
    published = Published(PUBLISHED)
    write_pages(published)
    write_picture(published)


if __name__ == "__main__":
    main()
