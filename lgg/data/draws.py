"""Part of a data set, as evenly from all classes as its size allows."""

import numpy as np
from numpy.typing import NDArray

from lgg.errors import DataError


def draw_evenly(labels: NDArray[np.int64], count: int | None, seed: int, key: str) -> NDArray[np.int64]:
    """Return the positions (count,) of images drawn by `seed`, in their old order; all where `count` is None.

    Raises DataError, which names the configuration's `key`, where there are not as many as `count`, or fewer than
    classes.
    """
    if count is None or count == len(labels):
        return np.arange(len(labels))
    classes = int(labels.max()) + 1
    if count > len(labels):
        raise DataError(f"{key}: {count} images are asked for, but there are only {len(labels)}")
    if count < classes:
        raise DataError(f"{key}: {count} images cannot show all {classes} classes")
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    # rank of each image within its class: taking the lowest ranks takes from all classes in turn
    rank = np.empty(len(labels), dtype=np.int64)
    for label in range(classes):
        members = shuffled == label
        rank[members] = np.arange(members.sum())
    return np.sort(order[np.argsort(rank, kind="stable")[:count]])
