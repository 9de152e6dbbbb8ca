"""tools/embedding_trials.py: its settings, table and errors, with a network of one channel."""

import csv
from dataclasses import replace

import embedding_trials
import numpy as np
import pandas as pd
import pytest
import torch
from embedding_trials import SETTINGS, Setting, attempt, missing, part_of, split, write
from publishing import choices
from publishing.published_run import Published
from publishing.text import NOT_YET

from lgg.data.storage import ImageSet
from lgg.losses import LabelVariation


@pytest.fixture(scope="module")
def data():
    """Two classes, dark and bright, that any network separates."""
    random, labels = np.random.default_rng(0), np.arange(300) % 2
    pixels = random.integers(40, size=(300, 32, 32, 3)) + 200 * labels[:, None, None, None]
    return ImageSet(pixels.astype(np.uint8), labels, ("dark", "bright"), ())


def small(setting):
    return replace(setting, epochs=2, warm_up=1, base_width=1)


@pytest.mark.parametrize(
    "setting",
    [SETTINGS[0], Setting(2, None), Setting(3, {"normalize_embeddings": "batch", "reduction": "log_mean"}, weight=4)],
)
def test_a_trial_trains_on_images_that_it_is_not_judged_on(setting, data):
    found = attempt(small(setting), data, torch.device("cpu"), held_out=100)
    kept, held = split(data, 100)
    assert len(held) == 100 and not set(kept) & set(held) and len(kept) + len(held) == 300
    assert 0 <= found["error"] < 50
    assert ("own_error" in found) == (setting.options is None)
    if setting.options:
        assert found["apart"] < found["even"]
        # the loss, without its weight, is that of outputs with variance 1
        assert found["apart"] - 0.5 < found["last_loss"] < 0


def test_settings_are_valid_and_each_is_tried_once():
    assert len({str(setting) for setting in SETTINGS}) == len(SETTINGS)
    for setting in SETTINGS:
        if setting.options:
            LabelVariation(**setting.options)


def test_what_the_table_has_is_not_tried_again(tmp_path):
    table = tmp_path / "trials.csv"
    assert list(missing(table)) == list(SETTINGS)
    squared = next(setting for setting in SETTINGS if "similarity" in (setting.options or {}))
    tried = [SETTINGS[0], squared, SETTINGS[3]]
    for setting in tried:
        write(table, setting.columns | {"error": 12.5, "seconds": 3})
    assert list(missing(table)) == [setting for setting in SETTINGS if setting not in tried]
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == ["12.5"] * 3
    assert rows[0]["objective"] == "cross-entropy" and rows[0]["similarity"] == ""
    assert (rows[1]["similarity"], rows[1]["rbf_scale"], rows[1]["normalization"]) == ("rbf_squared", "0.05", "batch")


def test_parts_share_the_settings():
    parts = [part_of(SETTINGS, f"{place}/3") for place in (1, 2, 3)]
    assert sorted(map(str, SETTINGS)) == sorted(str(setting) for part in parts for setting in part)
    for wrong in ("0/2", "3/2", "2", "a/b"):
        with pytest.raises(SystemExit, match="such as 1/2"):
            part_of(SETTINGS, wrong)


def test_the_published_table_has_settings_of_the_list():
    path = embedding_trials.Path(embedding_trials.__file__).parents[1] / "results/published/embedding_trials.csv"
    if not path.is_file():
        pytest.skip("no trials are published")
    tried = len(SETTINGS) - len(list(missing(path)))
    assert tried == len(pd.read_csv(path))


def test_the_page_states_the_lowest_error_of_each_normalisation(tmp_path):
    table = tmp_path / "embedding_trials.csv"
    batch = {"normalize_embeddings": "batch"}
    for setting, error in (
        (Setting(10, None), 16.0),
        (Setting(10, {"normalize_embeddings": True}), 25.0),
        (Setting(10, batch), 22.0),
        (Setting(10, {**batch, "similarity": "rbf_squared"}), 19.5),
        (Setting(10, {**batch, "attraction": 0.5}, weight=8), 20.25),
        (Setting(2, batch), 31.0),
    ):
        losses = {"last_loss": 0.2, "even": 0.3, "apart": 0.1} if setting.options else {}
        write(table, setting.columns | {"error": error} | losses)
    assert choices.normalization(Published(tmp_path)) == (
        "In ten dimensions: label variation of outputs of unit length 25.00 %, of variance 1 19.50 %, of variance 1 with "
        "attraction 20.25 %, cross-entropy 16.00 %. In the plane: of variance 1 31.00 %.\n"
    )
    rows = [line.strip("| ").split(" | ") for line in choices.trials(Published(tmp_path)).splitlines()[2:]]
    assert [row[5] for row in rows] == ["16.00", "19.50", "20.25", "22.00", "25.00", "31.00"]
    assert rows[1][1:5] == ["variance 1, exp(−2·d²), mean", "1", "0.2", "2"]
    assert [row[6] for row in rows] == ["–", *["50 %"] * 5]
    assert (
        choices.trials(Published(tmp_path / "none")) == choices.normalization(Published(tmp_path / "none")) == NOT_YET
    )
