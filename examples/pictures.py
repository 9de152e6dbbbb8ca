"""What the examples share: reading a folder of your own pictures, or reporting why it cannot be used."""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

SHAPE = "FOLDER has train/CLASS/*.png and test/CLASS/*.png (or .jpg), the same classes in both"


def at_least(least: int):
    """Return what reads a whole number of at least `least` from the command line."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"takes a whole number of at least {least}, not {text!r}")
        return int(text)

    return number


def read(parser: argparse.ArgumentParser, folder: Path, size: int, splits=("train", "test")):
    """Return the pictures of each split as squares of `size` pixels; ends with a usage error where they cannot be used."""
    square = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
    found = [_read_split(parser, folder / split, square) for split in splits]
    for data in found[1:]:
        if alone := sorted(set(data.classes) ^ set(found[0].classes)):
            parser.error(f"{folder}: in one of {' and '.join(splits)} alone there is {', '.join(alone)}. {SHAPE}")
    return found


def _read_split(parser, folder, transform):
    if not folder.is_dir():
        parser.error(f"there is no folder {folder}. {SHAPE}")
    try:
        data = datasets.ImageFolder(folder, transform)
    except OSError as error:  # no classes, or one without pictures
        parser.error(f"{folder}: {error}. {SHAPE}")
    if len(data.classes) < 2:
        parser.error(f"{folder} has the class {data.classes[0]!r} alone, and two or more are needed. {SHAPE}")
    for path, _ in data.samples:
        try:
            with Image.open(path) as picture:
                picture.load()
        except Exception as error:  # Pillow's decoders raise many
            parser.error(f"{path} is no picture that can be read ({error}): write it again, or take it away")
    return data


def load_weights(parser: argparse.ArgumentParser, model: nn.Module, path: Path) -> None:
    """Fill `model` from the state dict in `path`; ends with a usage error where it is another network's, or none."""
    try:
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch.load has many
        words = " ".join(str(error).split())
        parser.error(
            f"{path} is no state dict of this network, as torch.save(model.state_dict(), …) writes it: {words:.300}"
        )


def batches(data, size: int) -> DataLoader:
    """Return shuffled batches of `size` pictures, or of all where there are fewer; a smaller rest is left out."""
    return DataLoader(data, min(size, len(data)), shuffle=True, drop_last=True)
