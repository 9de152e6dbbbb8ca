import itertools

import matplotlib.pyplot as plt
import pytest

LEAST_POINTS = 6


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def check_legible():
    """Return a check that all words of a figure are large enough on paper, within it, and do not overlap."""

    def check(figure):
        figure.draw_without_rendering()
        words = [text for text in texts_of(figure) if text.get_text().strip()]
        assert words
        width, height = figure.canvas.get_width_height()
        boxes = []
        for text in words:
            assert text.get_fontsize() >= LEAST_POINTS, text
            box = text.get_window_extent()
            assert box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1, text
            if text.get_rotation() in (0, 90):  # the box around others is mostly empty
                boxes.append((text, box.shrunk(0.96, 0.9)))
        for (one, box), (other, other_box) in itertools.combinations(boxes, 2):
            assert not box.overlaps(other_box), (one, other)

    return check


def texts_of(figure):
    for axis in figure.axes:
        yield from (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)
        for one in (axis.xaxis, axis.yaxis):
            low, high = sorted(one.get_view_interval())
            for tick in one.get_major_ticks():
                if low <= tick.get_loc() <= high and tick.label1.get_visible():
                    yield tick.label1
    yield from figure.texts
    for text in (figure._suptitle, figure._supxlabel, figure._supylabel):
        if text is not None and text not in figure.texts:
            yield text
    for legend in figure.legends:
        yield from (legend.get_title(), *legend.get_texts())
