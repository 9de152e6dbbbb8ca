"""Shared by the examples: reading a folder of your own pictures, or reporting why it is not usable."""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

SHAPE = "FOLDER has train/CLASS/*.png and test/CLASS/*.png (or .jpg), the same classes in both"


def at_least(least: int):
    """Return a parser of command-line integers that are at least `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, not {text!r}")
        return int(text)

    return number


def read(parser: argparse.ArgumentParser, folder: Path, size: int, splits=("train", "test")):
    """Return the pictures of each split, resized to `size` × `size` pixels; exits with a usage error if they are invalid."""
    square = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
    found = [_read_split(parser, folder / split, square) for split in splits]
    for data in found[1:]:
        if alone := sorted(set(data.classes) ^ set(found[0].classes)):
            parser.error(f"{folder}: {' and '.join(splits)} differ in the classes {', '.join(alone)}. {SHAPE}")
    return found


def _read_split(parser, folder, transform):
    if not folder.is_dir():
        parser.error(f"there is no folder {folder}. {SHAPE}")
    try:
        data = datasets.ImageFolder(folder, transform)
    except OSError as error:  # no classes, or a class without pictures
        parser.error(f"{folder}: {error}. {SHAPE}")
    if len(data.classes) < 2:
        parser.error(f"{folder} has only the class {data.classes[0]!r}, but at least two are needed. {SHAPE}")
    for path, _ in data.samples:
        try:
            with Image.open(path) as picture:
                picture.load()
        except Exception as error:  # Pillow's decoders raise many kinds
            parser.error(f"{path} is not a readable picture ({error}): save it again, or remove it")
    return data


def load_weights(parser: argparse.ArgumentParser, model: nn.Module, path: Path) -> None:
    """Load the state dict in `path` into `model`; exits with a usage error if it is not one of this network."""
    try:
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch.load raises many kinds
        words = " ".join(str(error).split())
        parser.error(
            f"{path} is not a state dict of this network, saved by torch.save(model.state_dict(), …): {words:.300}"
        )


def batches(data, size: int) -> DataLoader:
    """Return shuffled batches of `size` pictures, or of all if there are fewer; a smaller last batch is dropped."""
    return DataLoader(data, min(size, len(data)), shuffle=True, drop_last=True)
