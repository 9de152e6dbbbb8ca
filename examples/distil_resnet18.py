"""Distils torchvision's ResNet-18 into a network of half its depth by graph knowledge distillation (GKD).

    python examples/distil_resnet18.py FOLDER [--epochs 20] [--teacher resnet18.pt]

FOLDER has train/CLASS/*.png and test/CLASS/*.png (or .jpg). Without weights for it the teacher is trained first.
"""

import argparse
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

import lgg
from lgg.losses import GraphDistillation

LAYERS = ["layer1", "layer2", "layer3", "layer4"]  # of the same names in both networks, of any size


def train(model, batches, epochs, device, teacher=None):
    """Train `model`, with a teacher to be like it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    gkd, model = GraphDistillation(), model.to(device).train()
    with lgg.tap(model, LAYERS) as ours, lgg.tap(teacher or model, LAYERS) as theirs:
        for epoch in range(epochs):
            for images, labels in batches:
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
def accuracy(model, batches, device):
    """Return the percentage of images that get their class."""
    right = [(model(images.to(device)).argmax(1).cpu() == labels).float() for images, labels in batches]
    return 100 * torch.cat(right).mean().item()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--size", type=int, default=64, help="images become squares of so many pixels")
parser.add_argument("--teacher", type=Path, help="its state dict, as torch.save wrote it")
arguments = parser.parse_args()
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
square = transforms.Compose([transforms.Resize((arguments.size, arguments.size)), transforms.ToTensor()])
data = [datasets.ImageFolder(arguments.folder / split, square) for split in ("train", "test")]
batches, test = DataLoader(data[0], min(64, len(data[0])), shuffle=True, drop_last=True), DataLoader(data[1], 256)
teacher = models.resnet18(num_classes=len(data[0].classes))
if arguments.teacher:
    teacher.load_state_dict(torch.load(arguments.teacher, weights_only=True))
    teacher = teacher.to(device).eval()
else:
    teacher = train(teacher, batches, arguments.epochs, device)
student = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=len(data[0].classes))
train(student, batches, arguments.epochs, device, teacher)
print(f"teacher: {accuracy(teacher, test, device):.1f} %, student: {accuracy(student, test, device):.1f} % right")
