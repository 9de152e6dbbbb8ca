import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from lgg.reporting.robustness_figures import (
    draw_accuracy_against_snr,
    draw_corruption_examples,
    draw_corruption_heatmap,
    draw_error_against_severity,
    draw_weight_sweep,
    snr_curves,
    weight_sweep,
)
from lgg.reporting.statistics import summarize

METHODS = ["Baseline", "Parseval", "Regularizer"]
SNRS = [math.inf, 40.0, 33.0, 20.0]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def random():
    return np.random.default_rng(0)


def tidy(random, column, methods=METHODS, seeds=3, **levels):
    """Return a frame with each combination of method, level and seed."""
    index = pd.MultiIndex.from_product(
        [methods, *levels.values(), range(seeds)], names=["method", *levels.keys(), "seed"]
    )
    return pd.Series(random.uniform(5, 95, len(index)), index=index, name=column).reset_index()


def legend_title(figure):
    return figure.legends[0].get_title().get_text()


def lines_by_label(axis):
    return {line.get_label(): line for line in axis.get_lines() if not line.get_label().startswith("_")}


def test_every_corruption_is_next_to_the_clean_image_at_every_severity(random):
    images = random.integers(0, 255, (7, 5, 8, 8, 3), dtype=np.uint8)
    clean = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    names = [f"corruption_{place}" for place in range(7)]
    # in whatever order they come
    severities = (5, 1, 3, 2, 4)
    made = {name: {s: own[s - 1] for s in severities} for name, own in zip(names, images, strict=True)}
    figure = draw_corruption_examples(made, clean)
    axis = figure.axes[0]
    mosaic = np.asarray(axis.images[0].get_array())
    assert axis.images[0].get_interpolation() == "nearest"
    columns, rows = axis.get_xticks(), axis.get_yticks()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["clean", "1", "2", "3", "4", "5"]
    assert [label.get_text() for label in axis.get_yticklabels()] == [name.replace("_", " ") for name in names]
    for row, own in zip(rows, images, strict=True):
        for column, image in zip(columns, (clean, *own), strict=True):
            top, left = round(row - 3.5), round(column - 3.5)
            np.testing.assert_array_equal(mosaic[top : top + 8, left : left + 8], image)


def test_a_severity_keeps_its_number_where_others_are_left_out(random):
    images = random.integers(0, 255, (3, 8, 8, 3), dtype=np.uint8)
    axis = draw_corruption_examples({"fog": {3: images[0], 5: images[1]}}, images[2]).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["clean", "3", "5"]


@pytest.mark.parametrize(("side", "count"), [(32, 15), (32, 1), (8, 15), (224, 19)])
def test_the_examples_fit_a_page(side, count):
    image = np.zeros((side, side, 3), dtype=np.uint8)
    severities = dict.fromkeys(range(1, 6), image)
    figure = draw_corruption_examples(dict.fromkeys(map(str, range(count)), severities), image)
    width, height = figure.get_size_inches()
    assert width <= 7.0
    assert height <= 9.7


def test_the_heat_map_shows_its_input_clean_images_first(random):
    errors = pd.DataFrame(random.uniform(5, 60, (3, 4)), index=METHODS, columns=["fog", "glass_blur", "clean", "snow"])
    axis = draw_corruption_heatmap(errors).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["clean", "fog", "glass blur", "snow"]
    assert [label.get_text() for label in axis.get_yticklabels()] == METHODS
    assert {label.get_rotation() for label in axis.get_yticklabels()} == {0.0}
    expected = errors[["clean", "fog", "glass_blur", "snow"]].to_numpy()
    np.testing.assert_array_equal(axis.collections[0].get_array().reshape(expected.shape), expected)
    assert [text.get_text() for text in axis.texts] == [f"{value:.1f}" for value in expected.ravel()]


def test_the_heat_map_leaves_out_what_was_not_measured():
    errors = pd.DataFrame({"fog": [10.0, math.nan], "snow": [20.0, 30.0]}, index=METHODS[:2])
    axis = draw_corruption_heatmap(errors).axes[0]
    assert [text.get_text() for text in axis.texts] == ["10.0", "20.0", "30.0"]


def test_error_against_severity_is_the_mean_with_its_interval(random):
    errors = tidy(random, "error", severity=range(6))
    axis = draw_error_against_severity(errors, METHODS).axes[0]
    lines = lines_by_label(axis)
    assert list(lines) == METHODS
    for place, method in enumerate(METHODS):
        own = errors[errors["method"] == method]
        summaries = [summarize(own.loc[own["severity"] == severity, "error"]) for severity in range(6)]
        np.testing.assert_allclose(lines[method].get_ydata(), [summary.mean for summary in summaries])
        band = axis.collections[place].get_datalim(axis.transData)
        assert band.y0 == pytest.approx(min(summary.ci95_low for summary in summaries))
        assert band.y1 == pytest.approx(max(summary.ci95_high for summary in summaries))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["clean", "1", "2", "3", "4", "5"]
    assert legend_title(axis.figure) == "mean and 95 % interval, 3 seeds"
    assert axis.get_ylim()[0] == 0
    assert axis.get_ylim()[1] <= 102


def test_one_seed_has_a_line_and_no_band(random):
    axis = draw_error_against_severity(tidy(random, "error", seeds=1, severity=range(6)), METHODS).axes[0]
    assert legend_title(axis.figure) == "one seed"
    assert len(axis.get_lines()) == len(lines_by_label(axis)) == 3
    assert not axis.collections


def test_two_seeds_have_thin_lines_and_no_band(random):
    errors = tidy(random, "error", seeds=2, severity=range(6))
    axis = draw_error_against_severity(errors, METHODS).axes[0]
    assert legend_title(axis.figure) == "mean (markers) and each seed (thin lines), 2 seeds"
    assert not axis.collections
    thin = [line.get_ydata() for line in axis.get_lines() if line not in lines_by_label(axis).values()]
    assert len(thin) == 2 * len(METHODS)
    expected = errors[(errors["method"] == METHODS[0]) & (errors["seed"] == 1)].sort_values("severity")["error"]
    assert any(np.allclose(values, expected) for values in thin)


def test_the_number_of_seeds_is_stated_if_it_differs(random):
    errors = tidy(random, "error", severity=range(6))
    errors = errors[(errors["method"] != "Parseval") | (errors["seed"] < 2)]
    assert (
        legend_title(draw_error_against_severity(errors, METHODS))
        == "mean (markers) and each seed (thin lines), 2 to 3 seeds"
    )


def test_a_method_looks_alike_in_all_figures_whoever_else_is_there(random):
    looks = set()
    for present in (METHODS, METHODS[1:], [METHODS[2], METHODS[1]]):
        axis = draw_error_against_severity(tidy(random, "error", present, severity=range(6)), METHODS).axes[0]
        line = lines_by_label(axis)["Regularizer"]
        looks.add((to_rgb(line.get_color()), line.get_marker()))
        curves = tidy(random, "accuracy", present, test=["fgsm_pixels"], snr=SNRS)
        line = lines_by_label(draw_accuracy_against_snr(curves, METHODS, 33.0).axes[0])["Regularizer"]
        looks.add((to_rgb(line.get_color()), line.get_marker()))
    assert len(looks) == 1


def test_methods_have_colours_and_markers_of_their_own(random):
    methods = [f"method {place}" for place in range(10)]
    axis = draw_error_against_severity(tidy(random, "error", methods, severity=range(6)), methods).axes[0]
    lines = lines_by_label(axis).values()
    assert len({to_rgb(line.get_color()) for line in lines}) == len({line.get_marker() for line in lines}) == 10


def test_a_method_without_a_place_is_refused(random):
    errors = tidy(random, "error", severity=range(6))
    with pytest.raises(ValueError, match=r"the methods \['Regularizer'\] are not among"):
        draw_error_against_severity(errors, METHODS[:2])


def test_accuracy_against_snr_has_one_panel_per_form_and_grows_harder_to_the_right(random):
    curves = tidy(random, "accuracy", test=["fgsm_normalized", "fgsm_pixels"], snr=SNRS)
    figure = draw_accuracy_against_snr(curves, METHODS, 33.0)
    assert [axis.get_title() for axis in figure.axes] == ["noise on pixels", "noise on normalised images"]
    for test, axis in zip(("fgsm_pixels", "fgsm_normalized"), figure.axes, strict=True):
        left, right = axis.get_xlim()
        assert left > 40.0 > 20.0 > right
        ticks = {label.get_text(): tick for label, tick in zip(axis.get_xticklabels(), axis.get_xticks(), strict=True)}
        assert 40.0 < ticks["clean"] < left
        assert ticks["33"] == 33.0
        means = curves[curves["test"] == test].groupby(["method", "snr"])["accuracy"].mean()
        for method, line in lines_by_label(axis).items():
            finite = [20.0, 33.0, 40.0]
            np.testing.assert_array_equal(line.get_xdata(), finite)
            np.testing.assert_allclose(line.get_ydata(), means[method][finite])
        at_clean = [line.get_ydata() for line in axis.get_lines() if list(line.get_xdata()) == [ticks["clean"]]]
        np.testing.assert_allclose(np.ravel(at_clean), [means[method][math.inf] for method in METHODS])
        assert any(list(line.get_xdata()) == [33.0, 33.0] for line in axis.get_lines())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == METHODS
    assert figure.legends[0].get_title().get_text() == "mean and 95 % interval, 3 seeds"


def test_the_legend_knows_a_method_that_was_attacked_in_one_form_only(random):
    curves = tidy(random, "accuracy", test=["fgsm_normalized", "fgsm_pixels"], snr=SNRS)
    curves = curves[(curves["method"] != "Baseline") | (curves["test"] == "fgsm_normalized")]
    figure = draw_accuracy_against_snr(curves, METHODS, 33.0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == METHODS


def test_the_ratio_of_the_tables_is_marked_only_where_it_was_measured_around(random):
    curves = tidy(random, "accuracy", test=["fgsm_pixels"], snr=[math.inf, 50.0, 40.0])
    axis = draw_accuracy_against_snr(curves, METHODS, 33.0).axes[0]
    assert "33" not in [label.get_text() for label in axis.get_xticklabels()]
    assert axis.get_xlim()[1] == 39.0
    axis = draw_accuracy_against_snr(curves, METHODS, 42.5).axes[0]
    assert any(list(line.get_xdata()) == [42.5, 42.5] for line in axis.get_lines())
    assert "42.5" in [label.get_text() for label in axis.get_xticklabels()]


def test_the_weight_sweep_is_logarithmic_with_the_baseline_as_a_level(random):
    index = pd.MultiIndex.from_product([[0.0, 1e-5, 1e-4, 1e-3], range(2)], names=["weight", "seed"])
    sweep = pd.DataFrame(random.uniform(5, 60, (8, 2)), index=index, columns=["clean", "fgsm_normalized"])
    axis = draw_weight_sweep(sweep.reset_index()).axes[0]
    assert axis.get_xscale() == "log"
    means = sweep.groupby("weight").mean()
    lines = lines_by_label(axis)
    for column, label in (("clean", "clean images"), ("fgsm_normalized", "FGSM")):
        np.testing.assert_allclose(lines[label].get_ydata(), means[column].iloc[1:])
        np.testing.assert_allclose(lines[f"{label}, without regularizer"].get_ydata(), means[column].iloc[0])
        assert lines[label].get_color() == lines[f"{label}, without regularizer"].get_color()
    alone = draw_weight_sweep(sweep.loc[1e-5:].reset_index()).axes[0]
    assert list(lines_by_label(alone)) == ["clean images", "FGSM"]


ROWS = [
    *(("clean", math.nan, 10.0), ("clean_attacked_images", math.nan, 12.0), ("gaussian_noise", 0.1, 50.0)),
    *(("fgsm_pixels", 40.0, 20.0), ("fgsm_pixels", 33.0, 30.0)),
    *(("fgsm_normalized", 40.0, 25.0), ("fgsm_normalized", 33.0, 35.0)),
]


def test_curves_are_accuracies_of_the_images_under_attack():
    rows = pd.DataFrame(ROWS, columns=["test", "level", "value"]).assign(method="Baseline", seed=0)
    curves = snr_curves(rows).set_index(["test", "snr"])["accuracy"]
    assert curves["fgsm_pixels"].to_dict() == {math.inf: 88.0, 40.0: 80.0, 33.0: 70.0}
    assert curves["fgsm_normalized"].to_dict() == {math.inf: 88.0, 40.0: 75.0, 33.0: 65.0}


def test_a_sweep_has_the_clean_error_and_that_at_one_ratio():
    one = pd.DataFrame(ROWS, columns=["test", "level", "value"]).assign(seed=0)
    other = one.assign(weight=1e-4, value=one["value"] + 1)
    sweep = weight_sweep(pd.concat([one.assign(weight=0.0), other]), 33.0).set_index(["weight", "seed"])
    assert sweep.loc[(0.0, 0)].to_dict() == {"clean": 10.0, "fgsm_normalized": 35.0}
    assert sweep.loc[(1e-4, 0)].to_dict() == {"clean": 11.0, "fgsm_normalized": 36.0}
