import math

import pandas as pd
import pytest

from lgg.reporting.distillation_table import table1, write_table1
from lgg.reporting.tables import FORMS

ROWS = [
    {"name": "large", "label": "Teacher", "paper": {"error": 7.27}},
    {"name": "baseline", "label": "Baseline", "paper": {"error": 10.34, "gain": None}},
    {"name": "gkd", "label": "GKD & more_100%", "paper": {"error": 9.71, "gain": 0.63}},
]


def evaluation(errors, agreements=None, parameters=25, operations=27):
    return pd.DataFrame(
        {
            "seed": range(len(errors)),
            "images": 1000,
            "error": errors,
            "agreement": agreements if agreements else [float("nan")] * len(errors),
            "parameters": parameters,
            "operations": operations,
        }
    )


@pytest.fixture
def evaluations():
    return {
        "large": evaluation([7.0], parameters=100, operations=100),
        "baseline": evaluation([10.0, 12.0, 11.0], [90.0, 91.0, 92.0]),
        # other order of seeds: pairing must go by seed
        "gkd": evaluation([10.5, 9.0, 11.5], [93.0, 94.0, 95.0]).assign(seed=[2, 0, 1]),
    }


def test_table_1(evaluations):
    table = table1(ROWS, evaluations, "baseline", "large").set_index("name")
    assert table["error_mean"].to_dict() == pytest.approx({"large": 7.0, "baseline": 11.0, "gkd": 31 / 3})
    assert table["seeds"].to_dict() == {"large": 1, "baseline": 3, "gkd": 3}
    # seed by seed 1.0, 0.5, 0.5
    assert table.loc["gkd", "gain_mean"] == pytest.approx(2 / 3)
    assert table.loc["gkd", "gain_std"] == pytest.approx(math.sqrt(1 / 12))
    assert table.loc["gkd", "gain_ci95_low"] < 2 / 3 < table.loc["gkd", "gain_ci95_high"]
    assert table.loc["gkd", "agreement_mean"] == 94.0
    assert table.loc[["large", "baseline"], "gain_mean"].isna().all()
    assert math.isnan(table.loc["large", "agreement_mean"])
    assert table.loc["gkd", "operations_percent"] == 27.0
    assert table.loc["gkd", "parameters_percent"] == 25.0
    assert table.loc["gkd", ["paper_error", "paper_gain"]].tolist() == [9.71, 0.63]
    assert table.loc[["large", "baseline"], "paper_gain"].isna().all()


def test_without_a_teacher_sizes_are_those_of_the_baseline(evaluations):
    del evaluations["large"]
    for name in evaluations:
        evaluations[name]["agreement"] = float("nan")
    table = table1(ROWS[1:], evaluations, "baseline", None).set_index("name")
    assert table.loc["baseline", "operations_percent"] == 100.0
    assert table["agreement_mean"].isna().all()


def test_the_three_files_say_the_same(evaluations, tmp_path):
    table = table1(ROWS, evaluations, "baseline", "large")
    paths = {kind: tmp_path / "tables" / f"table1.{kind}" for kind in FORMS}
    write_table1(table, ["98 of 60,000 images are copies"], paths)
    again = pd.read_csv(paths["csv"])
    pd.testing.assert_frame_equal(again, table, check_dtype=False, rtol=1e-5)
    markdown = paths["md"].read_text(encoding="utf-8")
    lines = {line.split("|")[1].strip(): line for line in markdown.splitlines() if line.startswith("|")}
    assert "10.33 ± 1.26 [7.21, 13.46]" in lines["GKD & more_100%"]
    assert "+0.67 ± 0.29 [-0.05, +1.38]" in lines["GKD & more_100%"]
    assert "9.71" in lines["GKD & more_100%"]
    assert "98 of 60,000 images are copies" in markdown
    assert "1,000 test images" in markdown
    latex = paths["tex"].read_text(encoding="utf-8")
    assert r"GKD \& more\_100\%" in latex
    assert r"10.33 $\pm$ 1.26" in latex
    assert latex.count(r"\\") == 4


def test_one_seed_shows_no_spread(evaluations, tmp_path):
    single = {name: frame.iloc[:1].assign(seed=0) for name, frame in evaluations.items()}
    paths = {kind: tmp_path / f"table1.{kind}" for kind in FORMS}
    write_table1(table1(ROWS, single, "baseline", "large"), [], paths)
    body = [line for line in paths["md"].read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert not any("±" in line or "nan" in line.lower() for line in body)
