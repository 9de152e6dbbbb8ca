"""Train an embedding of your own images by label variation alone, and report the accuracy of nearest neighbours.

    python examples/train_embedding.py FOLDER [--epochs 20]

FOLDER has train/CLASS/*.png and test/CLASS/*.png (or .jpg).
"""

import argparse
from pathlib import Path

import torch
from pictures import at_least, batches, read
from torch.utils.data import DataLoader

import lgg
from lgg.losses import LabelVariation

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=at_least(1), default=20)
parser.add_argument("--size", type=at_least(8), default=32, help="side in pixels to which images are resized")
parser.add_argument("--dimensions", type=at_least(1), default=16, help="dimensions of the embedding")
parser.add_argument("--width", type=at_least(1), default=16, help="channels of the network's first blocks")
arguments = parser.parse_args()
train, test = read(parser, arguments.folder, arguments.size)

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
model = lgg.models.build("preact_resnet18", num_classes=arguments.dimensions, base_width=arguments.width).to(device)
objective = LabelVariation(normalize_embeddings=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
for epoch in range(arguments.epochs):
    for images, labels in batches(train, 100):
        loss = objective(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}/{arguments.epochs}: label variation {loss.item():.4f}")


@torch.no_grad()
def embedded(data):
    """Return the embeddings of all images, scaled to unit length, and their labels."""
    model.eval()
    parts = [
        (torch.nn.functional.normalize(model(images.to(device))).cpu(), labels)
        for images, labels in DataLoader(data, 256)
    ]
    return tuple(map(torch.cat, zip(*parts, strict=True)))


known, labels = embedded(train)
asked, truth = embedded(test)
neighbours = (asked @ known.T).topk(min(10, len(known))).indices
accuracy = (labels[neighbours].mode(dim=1).values == truth).float().mean().item()
print(f"accuracy: {100 * accuracy:.1f} % by 10 nearest neighbours")
