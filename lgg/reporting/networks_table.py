"""The table of networks that are not the paper's: what they are built with, their size, and their representations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lgg.files import canonical_json
from lgg.reporting.notes import network_name
from lgg.reporting.tables import ABSENT, write_forms

#: what rows of the table have in common
SAME = ("architecture", "weights", "is_trained_here", "image_size", "parameters", "operations", "layers")


def networks_table(networks: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row for each layer of each network: `rows` (their keys in the configuration), `network`, and its size.

    Args:
        networks: in order, each as the stage check_networks writes it; equal ones are shown once.
    """
    keys: dict[str, list[str]] = {}
    first: dict[str, Mapping[str, Any]] = {}
    for network in networks:
        same = canonical_json({name: network[name] for name in SAME})
        keys.setdefault(same, []).append(network["row"])
        first.setdefault(same, network)
    return pd.DataFrame(
        [
            {
                "rows": ", ".join(keys[same]),
                "network": network_name(network["architecture"]),
                "weights": _weights(network),
                "image_size": network["image_size"],
                "parameters": network["parameters"],
                "operations": network["operations"],
                "layer": layer["name"],
                "shape": "×".join(map(str, layer["shape"])),
            }
            for same, network in first.items()
            for layer in network["layers"]
        ]
    )


def _weights(network: Mapping[str, Any]) -> str:
    """Return where the weights come from, with the first digits of the SHA-256 of their files."""
    files = ", ".join(digest[:12] for digest in network["weights"])
    if not network["is_trained_here"]:
        return f"trained elsewhere ({files})"
    return f"trained here, starting from {files}" if files else "trained here"


def write_networks(table: pd.DataFrame, files: Mapping[str, Path]) -> None:
    """Write the table to `files`, by form, each atomically."""
    networks = table.drop_duplicates(["rows", "network"])
    whole = pd.DataFrame(
        {
            "Rows": networks["rows"],
            "Network": networks["network"],
            "Weights": networks["weights"],
            "Images": [f"{size} × {size}" for size in networks["image_size"]],
            "Parameters": [f"{count:,}" for count in networks["parameters"]],
            "Operations": [f"{count:,}" if count else ABSENT for count in networks["operations"]],
        }
    )
    layers = table[["rows", "layer", "shape"]].set_axis(["Rows", "Layer", "Shape"], axis=1)
    legend = [
        "Networks of other libraries, of your own files, and with weights from elsewhere. Rows are named by their keys in the "
        "configuration.",
        "Operations: multiply-accumulate operations of convolutions and linear layers for one image. Weights from elsewhere: "
        "the first digits of the SHA-256 of their files.",
        "Representations: the layers that methods compare and that are recorded, in the order of a pass; shapes are those of "
        "one image.",
    ]
    shown = [(None, whole), ("Representations", layers)]
    write_forms(table, shown, legend, title="Networks", files=files)
