"""Graphs of small draws of training images at several depths of the reference network, and their label variation."""

from argparse import Namespace
from typing import TYPE_CHECKING

import torch

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.geometry import (
    depth_graph,
    describe_graph,
    draw_images,
    list_edges,
    main_depths,
    representations_at_depths,
)
from lgg.files import write_json
from lgg.graph import normalized_label_variation
from lgg.pipeline.job import run
from lgg.training.checkpoint import load_model

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import EvaluateGeometry


def main(arguments: Namespace) -> None:
    recipe: EvaluateGeometry = arguments.recipe
    # twenty images at a time do not need a GPU
    prepare(0, arguments.threads)
    data = read_images(arguments.train)
    model = load_model(arguments.model, expected={"num_classes": len(data.classes)})
    images = torch.from_numpy(data.images)
    settings = {key: recipe[key] for key in ("classes", "images_per_class", "draws")}
    variations: dict[str, list[float]] = {}
    shown = None
    for draw in draw_images(data.labels, seed=recipe["draw_seed"], **settings):
        labels = torch.from_numpy(draw.labels)
        representations = representations_at_depths(model, images[torch.from_numpy(draw.images)])
        depths = main_depths(list(representations))
        needed = depths if shown else list(representations)
        graphs = {
            depth: depth_graph(representations[depth], depth, k=recipe["k"], similarity=recipe["similarity"])
            for depth in needed
        }
        for depth in depths:
            variations.setdefault(depth, []).append(normalized_label_variation(graphs[depth], labels).item())
        if shown is None:
            shown = {
                "images": draw.images.tolist(),
                "classes": [data.classes[label] for label in draw.labels],
                "graphs": {depth: describe_graph(representations[depth], graphs[depth], labels) for depth in depths},
                "depths": {
                    depth: {
                        "label_variation": normalized_label_variation(graph, labels).item(),
                        "edges": list_edges(graph),
                    }
                    for depth, graph in graphs.items()
                },
            }
    write_json(
        arguments.out_geometry,
        {"shown": shown, "label_variation": variations, "notes": data.notes, "recipe": recipe},
    )


if __name__ == "__main__":
    run(main, inputs=("train", "model"), outputs=("geometry",))
