"""Classifiers on frozen features compared with explicit searches and sums."""

import numpy as np
import pytest
import torch

from lgg.errors import DataError
from lgg.evaluation.classifiers import CLASSIFIERS, OWN, fit, fit_all, judge


def classes(count, seed):
    """Return points of three classes in three dimensions, each around its axis, so that the largest value is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return (2 * np.eye(3)[labels] + random.normal(size=(count, 3))).astype(np.float32), labels.astype(np.int64)


def largest(row):
    return max(range(3), key=lambda place: row[place])


def test_every_classifier_is_judged_by_the_share_that_it_gets_wrong():
    features, labels = classes(60, 0)
    others, truth = classes(40, 1)
    rows = judge(fit_all(features, labels, 0, outputs_are_classes=True), others, truth, severity=3)
    assert [row["classifier"] for row in rows] == [OWN, *CLASSIFIERS]
    assert {(row["severity"], row["images"]) for row in rows} == {(3, 40)}
    errors = {row["classifier"]: row["error"] for row in rows}
    assert errors[OWN] == 100 * np.mean([largest(row) != one for row, one in zip(others, truth, strict=True)])
    alone = fit("svm", features, labels, 0).predict(others)
    assert errors["svm"] == 100 * np.mean(alone != truth)
    assert 0 < errors["svm"] < 50


def test_embeddings_that_are_no_logits_have_no_choice_of_their_own():
    assert list(fit_all(*classes(30, 0), 0)) == list(CLASSIFIERS)


def clusters(count=120, classes=3, dimensions=4, spread=0.2, seed=0):
    """Points around the corners of a simplex, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    points = np.eye(classes, dimensions)[labels] + spread * random.standard_normal((count, dimensions))
    return points.astype(np.float32), labels


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_separate_clusters_are_classified_correctly(name):
    points, labels = clusters(spread=0.05)
    queries, truth = clusters(spread=0.05, seed=1)
    predicted = fit(name, points, labels, 0).predict(queries)
    assert predicted.shape == truth.shape
    assert np.issubdtype(predicted.dtype, np.integer)
    assert (predicted == truth).all()


def test_nearest_neighbours_are_ten_and_vote():
    points, labels = clusters(spread=0.6)
    queries, _ = clusters(40, spread=0.6, seed=1)
    expected = []
    for query in queries.astype(np.float64):
        nearest = sorted(range(len(points)), key=lambda i: float(np.linalg.norm(points[i] - query)))[:10]
        # the most frequent class, or the smallest of several
        expected.append(np.bincount(labels[nearest], minlength=3).argmax())
    predicted = fit("nearest_neighbours", points, labels, 0).predict(queries)
    assert (predicted == expected).all()
    assert len(set(predicted.tolist())) == 3


def test_fewer_than_ten_training_images_all_vote():
    points = np.array([[0.0], [1.0], [2.0], [10.0]], dtype=np.float32)
    # class 1 has three of four votes everywhere, even next to the only point of class 0
    predicted = fit("nearest_neighbours", points, np.array([1, 1, 1, 0]), 0).predict(np.array([[0.5], [10.0]]))
    assert predicted.tolist() == [1, 1]


def test_nearest_centroid_is_the_class_of_the_nearest_mean():
    points, labels = clusters(spread=0.6)
    queries, _ = clusters(50, spread=0.6, seed=1)
    means = np.stack([points[labels == label].mean(axis=0, dtype=np.float64) for label in range(3)])
    expected = ((queries[:, None, :] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (fit("nearest_centroid", points, labels, 0).predict(queries) == expected).all()


def test_logistic_regression_is_at_the_optimum_of_its_penalised_likelihood():
    points, labels = clusters(60, spread=0.6)
    classifier = fit("logistic_regression", points, labels, 0)
    centred = points - points.mean(axis=0, dtype=np.float64)
    scaled = torch.from_numpy(centred / np.sqrt((centred**2).sum() / centred.size))
    weights = torch.from_numpy(classifier.estimator.coef_).requires_grad_()
    bias = torch.from_numpy(classifier.estimator.intercept_).requires_grad_()
    loss = torch.nn.functional.cross_entropy(scaled @ weights.T + bias, torch.from_numpy(labels), reduction="sum")
    (loss + weights.square().sum() / 2).backward()
    # its solver stops where the mean gradient is below 1e-4
    assert max(weights.grad.abs().max(), bias.grad.abs().max()) < 1e-4 * len(points)


def test_support_vector_machine_separates_what_no_line_does():
    random = np.random.default_rng(0)
    angle, radius = random.uniform(0, 2 * np.pi, 200), np.repeat([1.0, 3.0], 100)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    labels = np.repeat([0, 1], 100)
    assert (fit("svm", points, labels, 0).predict(points) == labels).all()
    assert (fit("logistic_regression", points, labels, 0).predict(points) == labels).mean() < 0.8


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_shift_and_scale_of_the_embedding_do_not_matter(name):
    points, labels = clusters(spread=0.5)
    queries, _ = clusters(80, spread=0.5, seed=1)
    expected = fit(name, points, labels, 0).predict(queries)
    for factor, shift in ((1024.0, 0.0), (2.0**-10, 0.0), (1.0, 8.0)):
        moved = fit(name, factor * points.astype(np.float64) + shift, labels, 0)
        assert (moved.predict(factor * queries.astype(np.float64) + shift) == expected).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_feature_that_hardly_varies_in_training_does_not_outweigh_the_others(name):
    points, labels = clusters(spread=0.05)
    points[:, 3] = 1e-6 * np.random.default_rng(2).standard_normal(len(points))
    queries, truth = clusters(spread=0.05, seed=1)
    queries[:, 3] = 0.01
    assert (fit(name, points, labels, 0).predict(queries) == truth).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_predictions_are_the_same_every_time(name):
    points, labels = clusters(spread=0.7)
    queries, _ = clusters(80, spread=0.7, seed=1)
    first, again = (fit(name, points, labels, 3).predict(queries) for _ in range(2))
    assert (first == again).all()
    assert (fit(name, points, labels, 3, workers=2).predict(queries) == first).all()


# Errors


def test_unknown_classifier_is_refused():
    with pytest.raises(ValueError, match="no classifier 'knn'; there are nearest_neighbours, svm"):
        fit("knn", *clusters(), 0)


@pytest.mark.parametrize(("features_shape", "labels_shape"), [((4,), (4,)), ((4, 2), (3,)), ((4, 2), (4, 1))])
def test_features_and_labels_of_different_lengths_are_refused(features_shape, labels_shape):
    with pytest.raises(ValueError, match=r"features must be \(N, d\)"):
        fit("svm", np.zeros(features_shape), np.zeros(labels_shape, dtype=np.int64), 0)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_class_without_a_training_image_is_refused(name):
    points, labels = clusters(classes=3)
    with pytest.raises(DataError, match="there are no training images of class 1;"):
        fit(name, points[labels != 1], labels[labels != 1], 0)
    with pytest.raises(DataError, match="there are no training images of class 3, 4;"):
        fit(name, points, labels, 0, num_classes=5)


@pytest.mark.parametrize("count", [0, 5])
def test_fewer_than_two_classes_are_refused(count):
    with pytest.raises(DataError, match="at least two classes"):
        fit("svm", np.zeros((count, 2)), np.zeros(count, dtype=np.int64), 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    points, labels = clusters()
    points[3, 1] = value
    with pytest.raises(DataError, match="not all finite"):
        fit("nearest_centroid", points, labels, 0)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_embeddings_that_all_coincide_give_the_most_frequent_class(name, value):
    points = np.full((30, 2), value, dtype=np.float32)
    # differences in the last digit of a float do not count
    points[::2] = np.nextafter(points[::2], 2 * points[::2])
    labels = np.array([0] * 9 + [1] * 12 + [2] * 9)
    assert (fit(name, points, labels, 0).predict(points) == 1).all()
