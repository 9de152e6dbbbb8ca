import numpy as np
import pandas as pd
import pytest

from lgg.reporting.distillation_figure import draw_agreement
from lgg.reporting.figures import plt

ROWS = [{"name": name, "label": name.upper()} for name in ("large", "baseline", "gkd")]


def evaluation(errors, agreements):
    return pd.DataFrame({"seed": range(len(errors)), "images": 1000, "error": errors, "agreement": agreements})


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def points(axis):
    return [collection.get_offsets().tolist() for collection in axis.collections]


def test_each_seed_and_their_mean_are_at_agreement_and_error():
    evaluations = {
        "large": evaluation([7.0], [np.nan]),
        "baseline": evaluation([10.0, 12.0], [80.0, 84.0]),
        "gkd": evaluation([9.0, 9.0], [90.0, 92.0]),
    }
    figure = draw_agreement(ROWS, evaluations, "large")
    (axis,) = figure.axes
    assert points(axis) == [[[80, 10], [84, 12]], [[82, 11]], [[90, 9], [92, 9]], [[91, 9]]]
    (teacher,) = axis.lines
    assert list(teacher.get_ydata()) == [7.0, 7.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["BASELINE", "GKD", "LARGE, its error"]
    assert "2 seeds (small), 1,000 test images" in figure.legends[0].get_title().get_text()


def test_without_a_teacher_errors_are_side_by_side():
    figure = draw_agreement(ROWS[1:2], {"baseline": evaluation([10.0, 12.0], [np.nan, np.nan])}, None)
    (axis,) = figure.axes
    assert points(axis) == [[[0, 10], [0, 12]], [[0, 11]]]
    assert axis.get_xlabel() == ""
