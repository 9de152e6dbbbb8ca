"""Subsets of a data set with classes as balanced as possible."""

import numpy as np
from numpy.typing import NDArray

from lgg.errors import DataError


def draw_evenly(labels: NDArray[np.int64], count: int | None, seed: int, key: str) -> NDArray[np.int64]:
    """Return the positions (count,) of randomly drawn images, sorted; all positions if `count` is None.

    Raises DataError, naming the configuration's `key`, if `count` exceeds the number of images or is smaller than the
    number of classes.
    """
    if count is None or count == len(labels):
        return np.arange(len(labels))
    classes = int(labels.max()) + 1
    if count > len(labels):
        raise DataError(f"{key}: {count} images are requested, but there are only {len(labels)}")
    if count < classes:
        raise DataError(f"{key}: {count} images cannot cover all {classes} classes")
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    # rank of each image within its class: the lowest ranks are spread evenly over the classes
    rank = np.empty(len(labels), dtype=np.int64)
    for label in range(classes):
        members = shuffled == label
        rank[members] = np.arange(members.sum())
    return np.sort(order[np.argsort(rank, kind="stable")[:count]])
