"""Prints the label variation of a network's layers on one's own images: 1 where every edge joins two classes, 0 where none.

    python examples/label_variation_of_layers.py FOLDER [--network resnet18] [--weights FILE]

FOLDER has a folder of images for each class. Without weights the network is untrained, and little falls with depth.
"""

import argparse
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

import lgg

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--network", default="resnet18", help="of torchvision.models")
parser.add_argument("--layers", nargs="+", default=["maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"])
parser.add_argument("--weights", type=Path, help="the network's state dict, as torch.save wrote it")
parser.add_argument("--size", type=int, default=224, help="images become squares of so many pixels")
parser.add_argument("--batch", type=int, default=100, help="images in a graph")
parser.add_argument("--k", type=int, default=5, help="nearest neighbours of each image")
arguments = parser.parse_args()

square = transforms.Compose([transforms.Resize((arguments.size, arguments.size)), transforms.ToTensor()])
data = datasets.ImageFolder(arguments.folder, square)
torch.manual_seed(0)
images, labels = next(iter(DataLoader(data, arguments.batch, shuffle=True)))
model = models.get_model(arguments.network, weights=None)
if arguments.weights:
    model.load_state_dict(torch.load(arguments.weights, weights_only=True))
model.eval()

with torch.no_grad(), lgg.tap(model, arguments.layers) as representations:
    model(images)
    depths = {"images": images, **dict(zip(arguments.layers, representations, strict=True))}
    print(f"{len(images)} images of {len(data.classes)} classes, {arguments.k} nearest neighbours")
    for name, x in depths.items():
        graph = lgg.similarity_graph(x, similarity="cosine", k=arguments.k)
        print(f"{name:12} {lgg.normalized_label_variation(graph, labels).item():.3f}")
