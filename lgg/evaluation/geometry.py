"""Latent geometry graphs of training images at several depths (Appendix C, Figure 2), and at every layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgg.data.batches import to_model_input
from lgg.errors import DataError, SignedRepresentations
from lgg.graph import (
    Similarity,
    cosine_label_variations,
    graphs_of_layers,
    label_variations,
    laplacian_eigenmaps,
    normalized_label_variation,
    similarity_graph,
)
from lgg.models.base import ImageClassifier

#: the depths of the pre-activation ResNet18: the output of a block is taken after the first ReLU of the next one
BLOCKS = {**{f"block {block}": f"block{block + 1}.relu1" for block in range(1, 8)}, "block 8": "final.relu"}
MOST_DEPTHS = 20  # of deep networks whose every ReLU is a representation


@dataclass(frozen=True)
class Draw:
    """Images of a few classes: `images` are their positions in the training set, `labels` their classes, (n,) each."""

    images: NDArray[np.int64]
    labels: NDArray[np.int64]


def draw_images(
    labels: NDArray[np.int64], *, classes: int, images_per_class: int, draws: int, seed: int
) -> Iterator[Draw]:
    """Yield `draws` independent random choices of `classes` classes and `images_per_class` images of each.

    Raises DataError if the labels (N,) have too few classes, or a class has too few images.
    """
    random = np.random.default_rng(seed)
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < classes or counts.min() < images_per_class:
        raise DataError(
            f"geometry: a draw needs {images_per_class} images of each of {classes} classes, but the training images have "
            f"{len(present)} classes, the smallest with {counts.min()} images; reduce geometry.classes or images_per_class"
        )
    for _ in range(draws):
        chosen = np.sort(random.choice(present, classes, replace=False))
        images = [random.choice(np.flatnonzero(labels == label), images_per_class, replace=False) for label in chosen]
        yield Draw(np.concatenate(images), np.repeat(chosen, images_per_class))


def representations_at_depths(model: ImageClassifier, pixels: Tensor) -> dict[str, Tensor]:
    """Return the images (n, H, W, 3) uint8 and representations of the network, by name, in order of depth.

    Of the pre-activation ResNet18 these are the outputs of its blocks, "block 1" to "block 8", of other networks those that
    it lists, by their names; of more than 20, some at equal steps. If the last is of pixels, (n, C, h, h) or (n, h, h, C),
    its mean over pixels follows as "pooling".
    """
    images = to_model_input(pixels)
    with torch.inference_mode():
        _, representations = model(images, return_representations=True)
    by_layer = dict(zip(model.layers, representations, strict=True))
    if by_layer.keys() >= set(BLOCKS.values()):
        by_layer = {name: by_layer[layer] for name, layer in BLOCKS.items()}
    names = list(by_layer)
    kept = np.linspace(0, len(names) - 1, min(len(names), MOST_DEPTHS)).round().astype(int)
    depths = {"image": images, **{names[place]: by_layer[names[place]] for place in kept}}
    last = by_layer[names[-1]]
    if last.dim() == 4:
        depths["pooling"] = last.mean(dim=(2, 3) if last.shape[2] == last.shape[3] else (1, 2))
    return depths


def main_depths(names: Sequence[str]) -> list[str]:
    """Return the depths that Figure 2 compares, of all that `representations_at_depths` gives: first, middle and last."""
    return list(dict.fromkeys([names[0], names[(len(names) - 1) // 2], names[-1]]))


def depth_graph(x: Tensor, name: str, *, k: int, similarity: Similarity = "cosine") -> Tensor:
    """Return the k-nearest-neighbour graph (n, n) of the representation `x` (n, ...) at the depth `name`.

    The kernels are of distances relative to their mean. Raises SignedRepresentations for a cosine graph if `x` has negative
    values.
    """
    if similarity == "cosine" and x.amin() < 0:
        raise SignedRepresentations(
            f"geometry: the representation {name!r} has negative values, of which there is no cosine graph (Section 3.3); "
            "set geometry.similarity to rbf, or let geometry.architecture.layers name layers that end in a ReLU"
        )
    return similarity_graph(x, k=k, similarity=similarity, relative_distances=similarity != "cosine")


def describe_graph(x: Tensor, adjacency: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return a description of the graph (n, n) of `x` (n, ...) in plain numbers.

    It has the `dimensions` of a representation, `label_variation` between 0 (no edge joins two classes) and 1 (all do),
    `coordinates` (n, 2) by Laplacian eigenmaps, and the `edges` between classes as (i, j, weight) with i < j.
    """
    return {
        "dimensions": x[0].numel(),
        "label_variation": normalized_label_variation(adjacency, labels).item(),
        "coordinates": laplacian_eigenmaps(adjacency).tolist(),
        "edges": list_edges(adjacency * (labels[:, None] != labels[None, :])),
    }


def list_edges(adjacency: Tensor) -> list[tuple[int, int, float]]:
    """Return the edges of an undirected graph (n, n) as (i, j, weight) with i < j."""
    rows, columns = torch.triu(adjacency, diagonal=1).nonzero(as_tuple=True)
    return [(i, j, adjacency[i, j].item()) for i, j in zip(rows.tolist(), columns.tolist(), strict=True)]


def label_variation_of_layers(model: ImageClassifier, images: Tensor, labels: Tensor) -> Tensor:
    """Return σ with p = 2 and the share of weights between classes of the full graph at every layer, shape (L, 2).

    Graphs are of cosines, or if any layer has negative values, all by the kernel exp(−2‖xi − xj‖/m), m the mean distance.
    `images` (n, H, W, 3) uint8 and `labels` (n,) are on the model's device. The model is left in evaluation mode.
    """
    with torch.inference_mode():
        _, representations = model.eval()(to_model_input(images), return_representations=True)
        if torch.stack([x.amin() for x in representations]).amin() < 0:
            graphs = graphs_of_layers(representations, similarity="rbf", relative_distances=True)
            squared = label_variations(graphs, labels, power=2)
            shares = [normalized_label_variation(graph, labels) for graph in graphs]
        else:
            squared = cosine_label_variations(representations, labels, power=2)
            shares = [normalized_label_variation(similarity_graph(x), labels) for x in representations]
        return torch.stack([squared, torch.stack(shares)], dim=1).cpu()
