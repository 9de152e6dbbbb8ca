"""Classifiers fitted on frozen features, and their errors (Section 4.2, Table 2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgg.errors import DataError

CLASSIFIERS = ("nearest_neighbours", "svm", "logistic_regression", "nearest_centroid")
NEIGHBOURS = 10
OWN = "own"  # a network's largest output
# cache for kernel rows of the support vector machine, in MB
KERNEL_CACHE = 1000

#: takes features (N, d) and returns classes (N,)
Predict = Callable[[NDArray[np.float32]], NDArray[Any]]


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


def fit_all(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    seed: int,
    *,
    outputs_are_classes: bool = False,
    workers: int = 1,
) -> dict[str, Predict]:
    """Return every classifier by name, fitted as `fit` does.

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
    return [
        {
            "classifier": name,
            **columns,
            "images": len(labels),
            "error": 100.0 * float(np.mean(predict(features) != labels)),
        }
        for name, predict in classifiers.items()
    ]
