import numpy as np

from lgg.evaluation.embedding_errors import OWN, fit_all, judge
from lgg.evaluation.embeddings import CLASSIFIERS, fit


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
