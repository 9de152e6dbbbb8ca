"""Print the label variation of a network's layers on your own images: 1 if every edge joins two classes, 0 if none does.

    python examples/label_variation_of_layers.py FOLDER [--split train] [--network resnet18] [--weights FILE]

FOLDER has train/CLASS/*.png and test/CLASS/*.png (or .jpg), of which one split is read. Without weights the network is
untrained, and label variation hardly decreases with depth.
"""

import argparse
from pathlib import Path

import torch
from pictures import at_least, batches, load_weights, read
from torchvision import models

import lgg

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--split", choices=["train", "test"], default="train", help="which images to use")
parser.add_argument("--network", default="resnet18", help="name of a network in torchvision.models")
parser.add_argument("--layers", nargs="+", default=["maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"])
parser.add_argument("--weights", type=Path, help="the network's state dict, saved by torch.save")
parser.add_argument("--outputs", type=at_least(1), default=1000, help="number of outputs of the network")
parser.add_argument("--size", type=at_least(32), default=224, help="side in pixels to which images are resized")
parser.add_argument("--batch", type=at_least(2), default=100, help="number of images in the graph")
parser.add_argument("--k", type=at_least(1), default=5, help="number of nearest neighbours of each image")
arguments = parser.parse_args()

(data,) = read(parser, arguments.folder, arguments.size, [arguments.split])
torch.manual_seed(0)
images, labels = next(iter(batches(data, arguments.batch)))
if arguments.k >= len(images):
    parser.error(f"--k {arguments.k}: an image has at most {len(images) - 1} neighbours among {len(images)} images")
if len(labels.unique()) < 2:
    parser.error(f"--batch {arguments.batch}: all images drawn are of the same class; increase the batch")
try:
    model = models.get_model(arguments.network, weights=None, num_classes=arguments.outputs).eval()
    tapped = lgg.tap(model, arguments.layers)
except ValueError as error:  # lists the closest names of layers
    parser.error(f"{arguments.network}: {error}")
if arguments.weights:
    load_weights(parser, model, arguments.weights)

with torch.no_grad(), tapped as representations:
    model(images)
    depths = {"images": images, **dict(zip(arguments.layers, representations, strict=True))}
    print(f"{len(images)} images of {len(labels.unique())} classes, {arguments.k} nearest neighbours")
    for name, x in depths.items():
        # cosine graphs need non-negative values (Section 3.3)
        similarity = "cosine" if x.min() >= 0 else "rbf"
        graph = lgg.similarity_graph(x, similarity=similarity, k=arguments.k, relative_distances=True)
        share = lgg.normalized_label_variation(graph, labels).item()
        print(f"{name:12} {share:.3f}{' (RBF similarity, since values are negative)' if similarity == 'rbf' else ''}")
