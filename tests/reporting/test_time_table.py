import pandas as pd
import pytest

from lgg.reporting.tables import FORMS
from lgg.reporting.time_table import time_table, write_time_table

NETWORK = {"name": "preact_resnet18", "base_width": 8}
ROWS = [
    {"name": name, "label": label, "network": NETWORK, "baseline": "r.plain", "batch_size": 100, "epochs": 60}
    | {"paper": {"epoch_seconds": paper}}
    for name, label, paper in (("r.plain", "Baseline", 47.4), ("r.reg", "Regularizer", 81), ("r.new", "New", None))
]


@pytest.fixture
def times():
    # the second round is slow for all
    seconds = {"r.plain": [1.0, 3.0, 1.2], "r.reg": [1.5, 3.6, 1.5], "r.new": [0.5, 1.5, 0.6]}
    return pd.DataFrame(
        [
            {"name": name, "round": number, "seconds_per_step": value}
            for name, values in seconds.items()
            for number, value in enumerate(values)
        ]
    )


def test_an_epoch_is_as_many_steps_as_there_are_batches(times):
    table = time_table(ROWS, times, images=201).set_index("name")
    # medians 1.2, 1.5 and 0.6 of a step, three steps an epoch
    assert table["epoch_seconds"].tolist() == pytest.approx([3.6, 4.5, 1.8])
    assert table["epoch_seconds_low"].tolist() == pytest.approx([3.0, 4.5, 1.5])
    assert table["epoch_seconds_high"].tolist() == pytest.approx([9.0, 10.8, 4.5])
    assert table["total_seconds"].tolist() == pytest.approx([216, 270, 108])


def test_ratios_are_within_rounds(times):
    table = time_table(ROWS, times, images=200).set_index("name")
    # of the regularizer 1.5, 1.2 and 1.25: a slow round slows both
    assert table["ratio"].tolist() == pytest.approx([1.0, 1.25, 0.5])
    assert table.loc["r.reg", ["ratio_low", "ratio_high"]].tolist() == pytest.approx([1.2, 1.5])
    assert table.loc["r.plain", ["ratio_low", "ratio_high"]].tolist() == [1.0, 1.0]


def test_the_paper_s_ratio_is_that_of_its_seconds(times):
    table = time_table(ROWS, times, images=200).set_index("name")
    assert table["paper_ratio"]["r.plain"] == 1.0
    assert round(table["paper_ratio"]["r.reg"], 2) == 1.71
    assert pd.isna(table["paper_ratio"]["r.new"])


def test_what_was_not_measured_is_named(times):
    with pytest.raises(ValueError, match=r"no times of r\.plain"):
        time_table(ROWS, times[times["name"] != "r.plain"], images=200)


def test_the_table_is_written_with_its_notes(times, tmp_path):
    files = {form: tmp_path / form for form in FORMS}
    write_time_table(time_table(ROWS, times, images=200), ["Measured on a machine."], files)
    text = files["md"].read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| Regularizer"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        *("Regularizer", "preact_resnet18 (base_width 8)", "100", "3 [3, 7.2]", "81", "1.25 [1.20, 1.50]", "1.71"),
        *("Baseline", "60", "3.0 min"),
    ]
    assert "median of 3 rounds" in text
    assert "Measured on a machine." in text
    assert len(pd.read_csv(files["csv"])) == 3
