"""Prints the label variation of a network's layers on your own images: 1 where every edge joins two classes, 0 where none.

    python examples/label_variation_of_layers.py FOLDER [--split train] [--network resnet18] [--weights FILE]

FOLDER has train/CLASS/*.png and test/CLASS/*.png (or .jpg), of which one is read. Without weights the network is untrained,
and little falls with depth.
"""

import argparse
from pathlib import Path

import torch
from pictures import at_least, batches, load_weights, read
from torchvision import models

import lgg

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--split", choices=["train", "test"], default="train", help="which images")
parser.add_argument("--network", default="resnet18", help="of torchvision.models")
parser.add_argument("--layers", nargs="+", default=["maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"])
parser.add_argument("--weights", type=Path, help="the network's state dict, as torch.save wrote it")
parser.add_argument("--outputs", type=at_least(1), default=1000, help="of the network, as it was trained")
parser.add_argument("--size", type=at_least(32), default=224, help="images become squares of so many pixels")
parser.add_argument("--batch", type=at_least(2), default=100, help="images in a graph")
parser.add_argument("--k", type=at_least(1), default=5, help="nearest neighbours of each image")
arguments = parser.parse_args()

(data,) = read(parser, arguments.folder, arguments.size, [arguments.split])
torch.manual_seed(0)
images, labels = next(iter(batches(data, arguments.batch)))
if arguments.k >= len(images):
    parser.error(f"--k {arguments.k}: each of {len(images)} images has {len(images) - 1} others; take fewer neighbours")
if len(labels.unique()) < 2:
    parser.error(f"--batch {arguments.batch}: the images drawn are of one class; take more")
try:
    model = models.get_model(arguments.network, weights=None, num_classes=arguments.outputs).eval()
    tapped = lgg.tap(model, arguments.layers)
except ValueError as error:  # with the nearest name of a layer
    parser.error(f"{arguments.network}: {error}")
if arguments.weights:
    load_weights(parser, model, arguments.weights)

with torch.no_grad(), tapped as representations:
    model(images)
    depths = {"images": images, **dict(zip(arguments.layers, representations, strict=True))}
    print(f"{len(images)} images of {len(labels.unique())} classes, {arguments.k} nearest neighbours")
    for name, x in depths.items():
        # cosines are for values that cannot be negative (Section 3.3)
        similarity = "cosine" if x.min() >= 0 else "rbf"
        graph = lgg.similarity_graph(x, similarity=similarity, k=arguments.k, relative_distances=True)
        share = lgg.normalized_label_variation(graph, labels).item()
        print(f"{name:12} {share:.3f}{' (negative values, so by distances)' if similarity == 'rbf' else ''}")
