import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from lgg.reporting.embedding_figures import draw_embeddings
from lgg.reporting.figures import CLASS_COLORS

EPOCHS = (0, 5, 20)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def rows(random):
    """Each row has its own scale, which grows during training."""
    return {
        name: {epoch: scale * (1 + epoch) * random.normal(size=(60, 2)) for epoch in EPOCHS}
        for name, scale in (("label variation", 1.0), ("cross-entropy", 10.0))
    }


@pytest.fixture
def labels():
    return np.arange(60) % 3


def points_of(axis):
    """Return the coordinates drawn and their colours, whatever their marker."""
    points = np.concatenate([collection.get_offsets() for collection in axis.collections])
    colors = [to_hex(color) for collection in axis.collections for color in collection.get_facecolors()]
    return points, colors


def in_order(points):
    return points[np.lexsort(points.T)]


def test_panels_are_rows_by_epochs(rows, labels):
    figure = draw_embeddings(rows, labels, ["cat", "dog", "ship"])
    assert [axis.get_title() for axis in figure.axes] == ["initialisation", "epoch 5", "end (epoch 20)"] * 2
    assert [axis.get_ylabel() for axis in figure.axes] == ["label variation", "", "", "cross-entropy", "", ""]
    assert {axis.get_xlabel() for axis in figure.axes} == {""}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog", "ship"]
    assert figure.legends[0].get_title().get_text() in ("", "None")
    panels = [coordinates for panels in rows.values() for coordinates in panels.values()]
    for axis, coordinates in zip(figure.axes, panels, strict=True):
        np.testing.assert_allclose(in_order(points_of(axis)[0]), in_order(coordinates))


def test_axes_are_alike_within_a_row_and_hold_nearly_every_point(rows, labels):
    axes = np.reshape(draw_embeddings(rows, labels, ["cat", "dog", "ship"]).axes, (2, 3))
    for row in axes:
        assert len({(axis.get_xlim(), axis.get_ylim()) for axis in row}) == 1
        (left, right), (bottom, top) = row[0].get_xlim(), row[0].get_ylim()
        assert right - left == pytest.approx(top - bottom)
        assert all(axis.get_aspect() == 1.0 for axis in row)
        points = np.concatenate([points_of(axis)[0] for axis in row])
        inside = ((points > [left, bottom]) & (points < [right, top])).all(axis=1)
        # of one axis one point in a hundred at either end may be left out
        assert inside.mean() >= 0.96
    assert axes[0, 0].get_xlim() != axes[1, 0].get_xlim()


def test_a_class_has_its_colour_in_every_panel_and_in_the_legend(rows, labels):
    figure = draw_embeddings(rows, labels, ["cat", "dog", "ship"])
    handles = figure.legends[0].legend_handles
    assert [to_hex(handle.get_color()) for handle in handles] == list(CLASS_COLORS[:3])
    for axis, coordinates in zip(figure.axes, (c for panels in rows.values() for c in panels.values()), strict=True):
        points, colors = points_of(axis)
        for point, color in zip(points, colors, strict=True):
            number = np.abs(coordinates - point).sum(axis=1).argmin()
            assert color == CLASS_COLORS[labels[number]]
        assert all(collection.get_rasterized() for collection in axis.collections)


def test_more_than_ten_classes_have_other_markers(random):
    labels = np.arange(50) % 25
    panels = {"label variation": {0: random.normal(size=(50, 2))}}
    figure = draw_embeddings(panels, labels, [f"class {number}" for number in range(25)])
    handles = figure.legends[0].legend_handles
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == 25
    assert [len(collection.get_offsets()) for collection in figure.axes[0].collections] in (
        [20, 20, 10],
        [20, 10, 20],
        [10, 20, 20],
    )


def test_few_points_of_many_are_the_same_in_every_panel(random):
    # the coordinates tell which points were drawn
    coordinates = np.stack([np.arange(1000.0), np.arange(1000.0)], axis=1)
    rows = {name: dict.fromkeys(EPOCHS, coordinates) for name in ("label variation", "cross-entropy")}
    labels = np.arange(1000) // 100
    figure = draw_embeddings(rows, labels, [str(number) for number in range(10)], most_points=200)
    drawn = [in_order(points_of(axis)[0]) for axis in figure.axes]
    assert len(drawn[0]) == len(np.unique(drawn[0], axis=0)) == 200
    assert all(np.array_equal(drawn[0], other) for other in drawn)
    assert figure.legends[0].get_title().get_text() == "200 of 1,000 images, drawn at random"
    # data in order of classes must not leave one out: each within four standard deviations of 20 of 200
    counts = np.bincount(labels[drawn[0][:, 0].astype(int)], minlength=10)
    assert (np.abs(counts - 20) < 4 * np.sqrt(200 * 0.1 * 0.9)).all()


def test_the_error_is_below_each_panel(rows, labels):
    values = {name: {0: 90.04, 5: 50.0, 20: 7.25} for name in rows}
    figure = draw_embeddings(rows, labels, ["cat", "dog", "ship"], errors=values)
    expected = ["10-NN error 90.0 %", "10-NN error 50.0 %", "10-NN error 7.2 %"]
    assert [axis.get_xlabel() for axis in figure.axes] == expected * 2


def test_points_that_coincide_can_be_drawn(labels):
    draw_embeddings(
        {"label variation": {0: np.zeros((60, 2))}}, labels, ["cat", "dog", "ship"]
    ).draw_without_rendering()


def test_what_does_not_fit_together_is_refused(rows, labels):
    with pytest.raises(ValueError, match=r"label variation, epoch 0: 59 labels, but points \(60, 2\)"):
        draw_embeddings(rows, labels[:59], ["cat", "dog", "ship"])
    del rows["cross-entropy"][5]
    with pytest.raises(ValueError, match="every row needs the same number of epochs"):
        draw_embeddings(rows, labels, ["cat", "dog", "ship"])


def test_the_origin_is_marked_where_directions_count(rows, labels):
    name, *others = rows
    figure = draw_embeddings(rows, labels, ["cat", "dog", "ship"], directional=[name])
    columns = len(rows[name])
    for place, axis in enumerate(figure.axes):
        marks = [line for line in axis.get_lines() if line.get_marker() == "+"]
        assert [(*line.get_xdata(), *line.get_ydata()) for line in marks] == ([(0, 0)] if place < columns else [])
    labelled = [axis.get_ylabel() for axis in figure.axes[::columns]]
    assert labelled == [f"{name}\n(directions only)", *others]


def test_of_directions_lengths_are_not_drawn(rows, labels):
    name = next(iter(rows))
    figure = draw_embeddings(rows, labels, ["cat", "dog", "ship"], directional=[name])
    columns = len(rows[name])
    for axis, coordinates in zip(figure.axes[:columns], rows[name].values(), strict=True):
        drawn = np.concatenate([np.asarray(collection.get_offsets()) for collection in axis.collections])
        lengths = np.linalg.norm(drawn, axis=1)
        assert len(drawn) == len(labels) and lengths.min() >= 0.75 and lengths.max() <= 1
        angles, given_angles = (np.sort(np.arctan2(rows_[:, 1], rows_[:, 0])) for rows_ in (drawn, coordinates))
        np.testing.assert_allclose(angles, given_angles, atol=1e-5)
