import numpy as np
import pandas as pd
import pytest

from lgg.evaluation.reference_levels import Levels
from lgg.reporting.figures import look_of, plt
from lgg.reporting.training_figures import draw_layer_variation, draw_training_curves

METHODS = ["Baseline", "GKD", "RKD-D"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def history(method, seed, **columns):
    rows = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
    return pd.DataFrame({"method": method, "seed": seed, "epoch": [1, 2], **rows})


@pytest.fixture
def histories():
    return pd.concat(
        [
            history("Baseline", seed, train_error=[50 + seed, 40], task=[2.0 + seed, 1.0], loss=[2.0, 1.0])
            for seed in (0, 1)
        ]
        + [
            history("GKD", seed, train_error=[60, 30 + seed], task=[3.0, 2.0], distillation=[0.4, 0.2 + seed])
            for seed in (0, 1)
        ]
    )


def test_a_term_has_a_panel_with_the_methods_that_have_it(histories):
    figure = draw_training_curves(histories, METHODS)
    assert [axis.get_title() for axis in figure.axes] == [
        "error on training images (%)",
        "cross-entropy",
        "distillation term",
    ]
    labelled = [
        {line.get_label() for line in axis.lines if not line.get_label().startswith("_")} for axis in figure.axes
    ]
    assert labelled == [{"Baseline", "GKD"}, {"Baseline", "GKD"}, {"GKD"}]
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "log", "log"]


def test_lines_are_means_over_seeds_in_the_method_s_look(histories):
    figure = draw_training_curves(histories, METHODS)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["Baseline"].get_ydata().tolist() == [50.5, 40]
    assert lines["GKD"].get_ydata().tolist() == [60, 30.5]
    for method in ("Baseline", "GKD"):
        assert lines[method].get_color() == look_of(METHODS, method)["color"]
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["Baseline", "GKD"]
    assert "2 seeds" in legend.get_title().get_text()


def test_a_method_without_a_colour_is_refused(histories):
    with pytest.raises(ValueError, match="GKD"):
        draw_training_curves(histories, ["Baseline"])


def variation(methods, seeds, epochs):
    return pd.DataFrame(
        {
            "method": method,
            "seed": seed,
            "epoch": epoch,
            "layer": layer,
            "label_variation": 10.0 + layer + seed,
            "share": 0.1 * layer + 0.1 * seed,
        }
        for method in methods
        for seed in range(seeds)
        for epoch in range(epochs)
        for layer in (1, 2, 3, 4)
    )


def test_label_variation_has_one_column_per_method_and_one_line_per_epoch():
    figure = draw_layer_variation(variation(METHODS[:2], 2, 3), METHODS)
    axes = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_title() for axis in axes[0]] == ["Baseline", "GKD"]
    for axis in axes.ravel():
        assert len(axis.lines) == 3
    assert axes[0, 0].lines[0].get_ydata().tolist() == [11.5, 12.5, 13.5, 14.5]
    assert axes[1, 1].lines[2].get_ydata() == pytest.approx([0.15, 0.25, 0.35, 0.45])
    assert len({line.get_color() for line in axes[0, 0].lines}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "1", "2"]


@pytest.mark.parametrize(("seeds", "words"), [(1, "mean over one seed; "), (3, "mean over 3 seeds; ")])
def test_label_variation_states_that_means_are_drawn(seeds, words):
    figure = draw_layer_variation(variation(METHODS[:1], seeds, 2), METHODS)
    assert figure.legends[0].get_title().get_text() == words + "epochs trained"


def test_methods_that_were_trained_elsewhere_have_no_course_of_training():
    here, elsewhere = variation(METHODS[:1], 2, 3), variation(METHODS[1:], 2, 1)
    figure = draw_layer_variation(pd.concat([here, elsewhere]), METHODS)
    assert [axis.get_title() for axis in figure.axes] == ["Baseline", ""]
    figure = draw_layer_variation(elsewhere, METHODS)
    assert [axis.get_title() for axis in figure.axes][:2] == METHODS[1:]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["trained elsewhere"]
    assert [len(axis.lines) for axis in figure.axes] == [1, 1, 1, 1]
    # of rows without a history there are no lines, and the others keep their looks
    figure = draw_training_curves(history("GKD", 0, train_error=[60, 30]), METHODS)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["GKD"]
    assert figure.axes[0].lines[0].get_color() == look_of(METHODS, "GKD")["color"]


@pytest.mark.parametrize("epochs", [7, 9, 101])
def test_of_many_epochs_some_are_drawn_the_first_and_the_last_among_them(epochs):
    figure = draw_layer_variation(variation(METHODS, 1, epochs), METHODS)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert 5 <= len(shown) <= 7
    assert (shown[0], shown[-1]) == ("none", str(epochs - 1))
    assert len(figure.axes[0].lines) == len(shown)


def test_words_of_layer_variation_are_legible_with_long_names(check_legible):
    methods = [
        "Baseline",
        "Parseval",
        "Label variation regularizer",
        "Parseval and regularizer",
        "PGD adversarial training",
    ]
    check_legible(draw_layer_variation(variation(methods, 3, 101), methods))


def test_long_training_runs_have_few_markers():
    epochs = np.arange(1, 201)
    frame = pd.DataFrame({"method": "GKD", "seed": 0, "epoch": epochs, "train_error": 100.0 / epochs})
    line = draw_training_curves(frame, ["GKD"]).axes[0].lines[0]
    start, step = line.get_markevery()
    assert len(line.get_xdata()) == 200
    marked = range(start, 200, step)
    assert 10 <= len(marked) <= 12
    assert marked[-1] == 199


def test_twenty_methods_look_different():
    methods = [str(number) for number in range(20)]
    looks = {(str(look["color"]), look["marker"]) for look in (look_of(methods, method) for method in methods)}
    assert len(looks) == 20


def test_a_loss_with_reference_levels_has_a_panel_of_its_own():
    histories = pd.concat(
        [
            history("Baseline", 0, train_error=[50, 40], task=[2.0, 1.0]),
            history("GKD", 0, embedding=[-1.1, -1.4]),
            history("RKD-D", 0, embedding=[0.3, 0.2]),
        ]
    )
    levels = {"GKD": Levels(even=-1.0, apart=-2.0)}
    figure = draw_training_curves(histories, METHODS, levels=levels)
    panels = {axis.get_title(): axis for axis in figure.axes}
    assert list(panels) == ["error on training\nimages (%)", "cross-entropy", "loss of embeddings", "loss of GKD"]
    own = panels["loss of GKD"]
    assert [line.get_label() for line in panels["loss of embeddings"].lines if line.get_label()[0] != "_"] == ["RKD-D"]
    # the curve and the two levels, all inside the axis
    drawn = [list(line.get_ydata()) for line in own.lines]
    assert [-1.1, -1.4] in drawn
    assert [-1.0, -1.0] in drawn
    assert [-2.0, -2.0] in drawn
    assert {text.get_text() for text in own.texts} == {"spread evenly", "classes apart"}
    low, high = own.get_ylim()
    assert low < -2.0 < -1.0 < high


@pytest.mark.parametrize("label", ["epoch", "embedding", "train_error", "task"])
def test_a_method_may_be_called_like_a_column(label):
    histories = pd.concat(
        [
            history("Baseline", 0, train_error=[50, 40], task=[2.0, 1.0]),
            history(label, 0, embedding=[0.4, 0.3]),
            history("RKD-D", 0, embedding=[0.3, 0.2]),
        ]
    )
    figure = draw_training_curves(histories, ["Baseline", label, "RKD-D"], levels={label: Levels(0.5, 0.1)})
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == ["error on training images (%)", "cross-entropy", "loss of embeddings", f"loss of {label}"]
    assert [0.4, 0.3] in [list(line.get_ydata()) for line in figure.axes[3].lines]
    assert [50, 40] in [list(line.get_ydata()) for line in figure.axes[0].lines]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_titles_of_many_panels_are_legible(check_legible, count):
    labels = [f"Label variation, setting number {place}" for place in range(count)]
    histories = pd.concat(
        [history("Baseline", 0, train_error=[50, 40], task=[2.0, 1.0])]
        + [history(label, 0, embedding=[-1.1, -1.4]) for label in labels]
    )
    levels = dict.fromkeys(labels, Levels(even=-1.0, apart=-2.0))
    figure = draw_training_curves(histories, ["Baseline", *labels], levels=levels)
    assert len(figure.axes) == count + 2
    check_legible(figure)
