"""Tables and figures for your own images have none of the paper's figures, no heading for them, and no source."""

import pandas as pd
import pytest

from lgg.reporting.comparison_table import comparison_table, shows_paper
from lgg.reporting.distillation_table import table1, write_table1
from lgg.reporting.figures import plt
from lgg.reporting.measures import Measure
from lgg.reporting.tables import FORMS
from lgg.reporting.time_table import time_table, write_time_table
from lgg.reporting.times_figure import draw_times

NAMES = ("baseline", "other")


def rows(**paper):
    network = {"name": "n", "width": 1}
    more = {"network": network, "baseline": "baseline", "batch_size": 2, "epochs": 1}
    return [{"name": name, "label": name.title(), **more, "paper": paper} for name in NAMES]


def distillation(given, files):
    columns = {"images": 10, "error": [1.0, 2.0], "agreement": 90.0, "parameters": 5, "operations": 7}
    one = pd.DataFrame({"seed": [0, 1]} | columns)
    table = table1(rows(error=given), dict.fromkeys(NAMES, one), "baseline", None)
    write_table1(table, [], files)


def times(given):
    seconds = pd.DataFrame({"name": name, "round": 0, "seconds_per_step": 1.0} for name in NAMES)
    return time_table(rows(epoch_seconds=given), seconds, 10)


@pytest.mark.parametrize("write", [distillation, lambda given, files: write_time_table(times(given), [], files)])
@pytest.mark.parametrize("figure", [47.4, None])
def test_tables_say_paper_only_where_there_is_a_figure_of_it(write, figure, tmp_path):
    files = {form: tmp_path / form for form in FORMS}
    write(figure, files)
    for form in ("md", "tex", "html"):
        text = files[form].read_text(encoding="utf-8")
        assert ("Paper" in text) == ("CIFAR-10" in text) == ("47.4" in text) == (figure is not None)
    # the columns of the CSV are the same for all
    assert any(name.startswith("paper_") for name in pd.read_csv(files["csv"]))


@pytest.mark.parametrize(("paper", "is_shown"), [({"error": 47.4}, True), ({"error": None}, False), ({}, False)])
def test_a_comparison_knows_whether_it_shows_the_paper(paper, is_shown):
    values = {name: {"error": {0: 1.0}} for name in NAMES}
    table = comparison_table(rows(**paper), values, [Measure("error", "E")], "baseline", images={"error": 10})
    assert shows_paper(table) == is_shown


@pytest.mark.parametrize("figure", [47.4, None])
def test_bars_of_time_name_the_paper_only_with_its_marks(figure):
    drawn = draw_times(times(figure))
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels == (["the paper", "here"] if figure else ["here"])
    plt.close("all")
