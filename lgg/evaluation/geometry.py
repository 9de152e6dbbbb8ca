"""Latent geometry graphs of training images at several depths (Appendix C, Figure 2), and at every layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgg.data.batches import to_model_input
from lgg.errors import DataError
from lgg.graph import cosine_label_variations, laplacian_eigenmaps, normalized_label_variation, similarity_graph
from lgg.models.base import ImageClassifier

#: depths compared in Figure 2
DEPTHS = ("image", "block 4", "pooling")
# the output of a block is taken after the first ReLU of the next one
BLOCKS = {**{f"block {block}": f"block{block + 1}.relu1" for block in range(1, 8)}, "block 8": "final.relu"}


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
    """Return the images (n, H, W, 3) uint8, the outputs of the blocks and the pooled vector, by name, in order of depth."""
    images = to_model_input(pixels)
    with torch.inference_mode():
        _, representations = model(images, return_representations=True)
    by_layer = dict(zip(model.layers, representations, strict=True))
    blocks = {name: by_layer[layer] for name, layer in BLOCKS.items()}
    return {"image": images, **blocks, "pooling": representations[-1].mean(dim=(2, 3))}


def describe_graph(x: Tensor, labels: Tensor, k: int) -> dict[str, Any]:
    """Return a description of the k-nearest-neighbour cosine graph of `x` (n, ...) in plain numbers.

    It has the `dimensions` of a representation, `label_variation` between 0 (no edge joins two classes) and 1 (all do),
    `coordinates` (n, 2) by Laplacian eigenmaps, and the `edges` between classes as (i, j, weight) with i < j.
    """
    adjacency = similarity_graph(x, k=k)
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
    """Return σ with p = 2 and the share of weights between classes of the full cosine graph at every layer, shape (L, 2).

    `images` (n, H, W, 3) uint8 and `labels` (n,) are on the model's device. The model is left in evaluation mode.
    """
    with torch.inference_mode():
        _, representations = model.eval()(to_model_input(images), return_representations=True)
        squared = cosine_label_variations(representations, labels, power=2)
        shares = [normalized_label_variation(similarity_graph(x), labels) for x in representations]
        return torch.stack([squared, torch.stack(shares)], dim=1).cpu()
