import numpy as np
import pandas as pd
import pytest

from lgg.reporting.figures import plt
from lgg.reporting.times_figure import draw_times


def test_bars_are_ratios_and_diamonds_the_paper_s():
    table = pd.DataFrame(
        {
            "name": ["r.base", "r.reg"],
            "label": ["Baseline", "Regularizer"],
            "network": ["small", "small"],
            "baseline": ["r.base", "r.base"],
            "ratio": [1.0, 1.5],
            "ratio_low": [1.0, 1.4],
            "ratio_high": [1.0, 1.7],
            "paper_ratio": [np.nan, 1.71],
            "rounds": [5, 5],
        }
    )
    figure = draw_times(table)
    (axis,) = figure.axes
    assert [bar.get_width() for bar in axis.patches] == [1.0, 1.5]
    diamonds = [points.get_offsets().tolist() for points in axis.collections if points.get_label() == "the paper"]
    assert diamonds == [[[pytest.approx(1.71), 1]]]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["Baseline\nsmall", "Regularizer ÷ Baseline\nsmall"]
    plt.close("all")
