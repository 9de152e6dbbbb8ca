"""Table 2 and its supplement from errors by classifier, written down here."""

import pandas as pd
import pytest

from lgg.reporting.embedding_table import embedding_table, write_embedding_table
from lgg.reporting.tables import FORMS

ROWS = [
    {"name": "ce", "label": "Cross-entropy", "classifier": "own", "paper": {"clean_error": 5.06}},
    {"name": "lv", "label": "Label variation", "classifier": "svm", "paper": {}},
]
CLEAN = {"ce": {"own": 8.0, "svm": 9.0}, "lv": {"svm": 7.0, "nearest_centroid": 6.0}}


def evaluation(name):
    return pd.DataFrame(
        {"seed": seed, "classifier": classifier, "images": 1000, "training_images": 5000, "error": error + seed}
        for seed in (0, 1)
        for classifier, error in CLEAN[name].items()
    )


def under_corruption(name):
    rises = {"none": 0.0, "fog": 10.0, "snow": 20.0} if name == "ce" else {"none": 0.0, "fog": 5.0, "snow": 30.0}
    return pd.DataFrame(
        row | {"corruption": corruption, "severity": int(corruption != "none"), "error": row["error"] + rise}
        for row in evaluation(name).assign(images=200).to_dict("records")
        for corruption, rise in rises.items()
    )


EVALUATIONS = {name: evaluation(name) for name in CLEAN}
CORRUPTIONS = {name: under_corruption(name) for name in CLEAN}


def test_each_method_has_the_errors_of_its_classifier():
    table = embedding_table("table2", ROWS, EVALUATIONS, CORRUPTIONS, "ce", 32).table.set_index("name")
    assert table["clean_error_mean"].to_dict() == {"ce": 8.5, "lv": 7.5}
    # (5 / 10 + 30 / 20) / 2
    assert table["relative_mce_mean"].to_dict() == pytest.approx({"ce": 100, "lv": 100})
    # ((7.5 + 5) / (8.5 + 10) + (7.5 + 30) / (8.5 + 20)) / 2
    assert table["plain_mce_mean"]["lv"] == pytest.approx(100 * (12.5 / 18.5 + 37.5 / 28.5) / 2)
    assert "mean_corruption_error_mean" not in table
    assert table.loc["lv", ["clean_error_images", "plain_mce_images"]].tolist() == [1000, 200]
    assert table["paper_clean_error"]["ce"] == 5.06


def test_the_supplement_has_every_classifier_against_the_baseline_s_own():
    found = embedding_table("table2_supplement", ROWS, EVALUATIONS, CORRUPTIONS, "ce", 32)
    table = found.table.set_index("name")
    assert table.index.tolist() == ["ce", "ce/svm", "lv/svm", "lv/nearest_centroid"]
    assert table["clean_error_difference_mean"].tolist()[1:] == [1.0, -1.0, -2.0]
    assert table.loc["lv/nearest_centroid", "label"] == "Label variation, nearest centroid"
    assert table.loc["lv/svm", "mean_corruption_error_mean"] == pytest.approx(7.5 + (5 + 30) / 2)
    assert table["paper_clean_error"].isna().all()
    assert found.notes[-1] == "Corruptions have the constants of CIFAR-10-C (32 pixels)."


def test_without_corruptions_there_is_the_clean_error_alone(tmp_path):
    for name, rows in (("table2", 2), ("table2_supplement", 4)):
        found = embedding_table(name, ROWS, EVALUATIONS, {}, "ce", 32)
        assert len(found.table) == rows
        assert [measure.name for measure in found.measures] == ["clean_error"]
        files = {form: tmp_path / f"{name}.{form}" for form in FORMS}
        write_embedding_table(name, found, "Trained long.", ["Of photographs."], files)
        text = files["md"].read_text("utf-8")
        assert "MCE" not in text
        assert ("Paper: Lassance" in text) == (name == "table2"), "the supplement shows no figure of the paper"
        order = ["Trained long.", "embeddings of 5,000 training images: Cross-entropy: its own", "Of photographs."]
        places = [text.index(part) for part in order]
        assert places == sorted(places)
