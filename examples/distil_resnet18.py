"""Distil torchvision's ResNet-18 into a network of half its depth by graph knowledge distillation (GKD).

    python examples/distil_resnet18.py FOLDER [--epochs 20] [--teacher resnet18.pt]

FOLDER has train/CLASS/*.png and test/CLASS/*.png (or .jpg). The teacher is trained first unless its weights are given.
"""

import argparse
from pathlib import Path

import torch
from pictures import at_least, batches, load_weights, read
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import models

import lgg
from lgg.losses import GraphDistillation

LAYERS = ["layer1", "layer2", "layer3", "layer4"]  # in both networks; their sizes may differ


def train(model, data, epochs, device, teacher=None):
    """Train `model`, by distillation if a teacher is given, and return it in evaluation mode."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    gkd, model = GraphDistillation(), model.to(device).train()
    with lgg.tap(model, LAYERS) as ours, lgg.tap(teacher or model, LAYERS) as theirs:
        for epoch in range(epochs):
            for images, labels in batches(data, 64):
                images, labels = images.to(device), labels.to(device)
                loss = cross_entropy(model(images), labels)
                if teacher is not None:
                    with torch.no_grad():
                        teacher(images)
                    loss = loss + 25 * gkd(ours, theirs, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
            print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.3f}")
    return model.eval()


@torch.no_grad()
def accuracy(model, data, device):
    """Return the percentage of images that are classified correctly."""
    right = [(model(images.to(device)).argmax(1).cpu() == labels).float() for images, labels in DataLoader(data, 256)]
    return 100 * torch.cat(right).mean().item()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=at_least(1), default=20)
parser.add_argument("--size", type=at_least(32), default=64, help="side in pixels to which images are resized")
parser.add_argument("--teacher", type=Path, help="the teacher's state dict, saved by torch.save")
arguments = parser.parse_args()
training, test = read(parser, arguments.folder, arguments.size)
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
teacher = models.resnet18(num_classes=len(training.classes))
if arguments.teacher:
    load_weights(parser, teacher, arguments.teacher)
    teacher = teacher.to(device).eval()
else:
    teacher = train(teacher, training, arguments.epochs, device)
student = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=len(training.classes))
train(student, training, arguments.epochs, device, teacher)
print(f"accuracy: teacher {accuracy(teacher, test, device):.1f} %, student {accuracy(student, test, device):.1f} %")
