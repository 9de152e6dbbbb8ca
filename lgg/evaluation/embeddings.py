"""Classifiers fitted on the frozen features of a network (Section 4.2, Table 2)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgg.data.batches import in_order
from lgg.errors import DataError
from lgg.evaluation.batching import choose_batch_size, gather
from lgg.graph import unit_rows
from lgg.models.base import ImageClassifier

CLASSIFIERS = ("nearest_neighbours", "svm", "logistic_regression", "nearest_centroid")
NEIGHBOURS = 10
# cache for kernel rows of the support vector machine, in MB
KERNEL_CACHE = 1000


def features(
    model: ImageClassifier,
    images: Tensor,
    *,
    layer: str | None = None,
    unit_length: bool = False,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Return the network's output for each image, or its flattened representation `layer`, (N, d) on the CPU.

    With `unit_length` each row is scaled to unit length. `images` are (N, H, W, 3) uint8; `model` is on `device` and is put
    into evaluation mode. A `batch_size` of None is as much as memory allows (`choose_batch_size`). Raises ValueError for a
    layer that the model does not have.
    """
    if layer is not None and layer not in model.layers:
        raise ValueError(f"the network has no layer {layer!r}; it has {', '.join(model.layers)}")
    model.eval()

    def chosen(batch: Tensor) -> Tensor:
        if layer is not None:
            found: Tensor = model(batch, return_representations=True)[1][model.layers.index(layer)]
            return found
        output: Tensor = model(batch)  # without holding representations, of which a deep network has many
        return output

    def shown(batch: Tensor) -> tuple[Tensor]:
        with torch.inference_mode():
            x = chosen(batch)
            return (unit_rows(x) if unit_length else x.flatten(1).float(),)

    size = batch_size or choose_batch_size(model, images, device)
    (found,) = gather(shown, zip(in_order(images, size, device)), len(images))
    return found.numpy()


@dataclass(frozen=True)
class EmbeddingClassifier:
    """A classifier with the mean (d,) and the spread of its training features, by which it centres and scales its inputs."""

    mean: NDArray[np.float64]
    spread: float
    estimator: Any

    def predict(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Return the predicted class of each row of `features` (N, d), shape (N,)."""
        predicted: NDArray[np.int64] = self.estimator.predict((features - self.mean) / self.spread)
        return predicted


def fit(
    name: str,
    features: NDArray[Any],
    labels: NDArray[np.int64],
    seed: int,
    *,
    num_classes: int | None = None,
    workers: int = 1,
) -> EmbeddingClassifier:
    """Return the classifier `name`, fitted to the features (N, d) of training images and their labels (N,).

    The features are centred and divided by a single scale, the root of the mean of their variances. They are not
    standardised separately: that would distort the distances which label variation shapes, and a feature that hardly
    varies on training images would be amplified and dominate on corrupted ones. A common scale preserves neighbourhoods,
    and gives the constants of the support vector machine (C = 1, kernel exp(−‖xi − xj‖²/d)) and of logistic regression
    (C = 1) the same meaning for embeddings of any scale. If all features are equal, the classifier predicts the most
    frequent class.

    Args:
        name: "nearest_neighbours", the most frequent class among the 10 nearest images (or all, if there are fewer);
            "svm", a support vector machine with an RBF kernel; "logistic_regression"; or "nearest_centroid".
        features: (N, d).
        labels: (N,) integers from 0.
        seed: random seed of the classifier. The same seed gives the same predictions.
        num_classes: number of classes; None is the largest label plus one.
        workers: threads of the nearest-neighbour search, without effect on the predictions.

    Raises:
        ValueError: for an unknown name, or if the shapes of features and labels do not match.
        DataError: if a class has no training images, there are fewer than two classes, or features are not finite.
    """
    from sklearn.dummy import DummyClassifier

    if name not in CLASSIFIERS:
        raise ValueError(f"there is no classifier {name!r}; there are {', '.join(CLASSIFIERS)}")
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"features must be (N, d) and labels (N,), not {features.shape} and {labels.shape}")
    _check_training_set(features, labels, num_classes)
    mean = features.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(features.var(axis=0, dtype=np.float64).mean()))
    # a network that has collapsed in training maps all images to one embedding, for which one class is predicted
    collapsed = spread <= np.finfo(np.float32).eps * np.abs(features).max()
    scale = 1.0 if collapsed else spread
    estimator = (
        DummyClassifier(strategy="most_frequent") if collapsed else _estimator(name, len(features), seed, workers)
    )
    return EmbeddingClassifier(mean, scale, estimator.fit((features - mean) / scale, labels))


def _check_training_set(features: NDArray[Any], labels: NDArray[np.int64], num_classes: int | None) -> None:
    present = np.unique(labels)
    classes = num_classes if num_classes is not None else int(present.max(initial=-1)) + 1
    if classes < 2:
        raise DataError("embedding: a classifier needs training images of at least two classes")
    missing = sorted(set(range(classes)) - set(present.tolist()))
    if missing:
        raise DataError(
            f"embedding: there are no training images of class {', '.join(map(str, missing))}; add training images of every "
            "class"
        )
    if not np.isfinite(features).all():
        raise DataError(
            "embedding: the network's features of the training images are not all finite; train it again with a lower "
            "learning rate"
        )


def _estimator(name: str, count: int, seed: int, workers: int) -> Any:
    """Return the unfitted scikit-learn classifier; imports are local, so that only the one used is loaded."""
    if name == "nearest_neighbours":
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(n_neighbors=min(NEIGHBOURS, count), n_jobs=workers)
    if name == "svm":
        from sklearn.svm import SVC

        return SVC(kernel="rbf", C=1.0, gamma="scale", cache_size=KERNEL_CACHE, random_state=seed)
    if name == "logistic_regression":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1.0, max_iter=1000, random_state=seed)
    from sklearn.neighbors import NearestCentroid

    return NearestCentroid()
