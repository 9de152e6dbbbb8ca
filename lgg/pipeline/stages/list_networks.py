"""The networks that are not the paper's, from the checks of all their rows: layers with shapes, parameters, operations."""

from argparse import Namespace

from lgg.files import read_json, write_json
from lgg.pipeline.job import run
from lgg.reporting.networks_table import networks_table, write_networks
from lgg.reporting.tables import FORMS, files_of


def main(arguments: Namespace) -> None:
    networks = [read_json(path) for path in arguments.networks]
    write_json(arguments.out_json, networks)
    write_networks(networks_table(networks), files_of(arguments))


if __name__ == "__main__":
    run(main, lists=("networks",), outputs=("json", *FORMS))
