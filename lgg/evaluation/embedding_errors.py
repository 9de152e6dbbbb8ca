"""Errors of all classifiers on a network's embeddings (Section 4.2, Table 2)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lgg.evaluation.accuracy import error_percent
from lgg.evaluation.embeddings import CLASSIFIERS, fit

#: takes features (N, d) and returns classes (N,)
Predict = Callable[[NDArray[np.float32]], NDArray[Any]]
OWN = "own"  # a network's largest output


def fit_all(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    seed: int,
    *,
    outputs_are_classes: bool = False,
    workers: int = 1,
) -> dict[str, Predict]:
    """Return every classifier by name, fitted as `lgg.evaluation.embeddings.fit` does.

    With `outputs_are_classes` the features are a network's logits, and its own choice comes first, under the name `OWN`.
    """
    own: dict[str, Predict] = {OWN: lambda logits: logits.argmax(axis=1)} if outputs_are_classes else {}
    return own | {name: fit(name, features, labels, seed, workers=workers).predict for name in CLASSIFIERS}


def judge(
    classifiers: Mapping[str, Predict], features: NDArray[np.float32], labels: NDArray[np.int64], **columns: Any
) -> list[dict[str, Any]]:
    """Return one row per classifier: its name, `columns`, the number of images and the error in percent.

    Args:
        classifiers: by name.
        features: (N, d).
        labels: (N,) the true classes.
        columns: the same in every row.
    """
    truth = torch.from_numpy(labels)
    return [
        {
            "classifier": name,
            **columns,
            "images": len(labels),
            "error": error_percent(torch.from_numpy(predict(features)), truth),
        }
        for name, predict in classifiers.items()
    ]
