import matplotlib.pyplot as plt
import pytest

from lgg.reporting.geometry_figures import draw_blocks, draw_graphs, draw_label_variation

GRAPH = {
    "dimensions": 3072,
    "label_variation": 0.5,
    "coordinates": [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
    "edges": [[0, 2, 0.9], [1, 3, 0.4]],
}


@pytest.fixture
def shown():
    return {"classes": ["cat", "cat", "dog", "dog"], "graphs": {"image": GRAPH, "pooling": GRAPH | {"edges": []}}}


def test_figure_2_has_a_panel_a_depth_with_its_label_variation(shown):
    figure = draw_graphs(shown)
    assert [axis.get_title() for axis in figure.axes] == ["image (3,072 dimensions)", "pooling (3,072 dimensions)"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"label variation 0.50"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog", "edge between classes"]
    assert [len(axis.collections[0].get_segments()) for axis in figure.axes] == [2, 0]
    plt.close(figure)


def test_the_distribution_counts_draws_that_are_smaller_at_the_end():
    figure = draw_label_variation({"image": [0.8, 0.7, 0.2], "block 4": [0.5, 0.5, 0.5], "pooling": [0.1, 0.9, 0.1]})
    assert figure.axes[1].get_title() == "smaller at pooling than at image in 2 of 3"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["image", "block 4", "pooling"]
    plt.close(figure)


def test_points_are_scattered_in_the_same_way_each_time():
    positions = []
    for _ in range(2):
        figure = draw_label_variation({"image": [0.8, 0.7, 0.2], "pooling": [0.1, 0.9, 0.1]})
        positions.append([line.get_offsets().tolist() for line in figure.axes[0].collections])
        plt.close(figure)
    assert positions[0] == positions[1]


def test_figure_1_names_every_step_and_its_shape():
    figure = draw_blocks([("image", (3, 32, 32)), ("conv", (64, 32, 32)), ("block 1", (64, 32, 32)), ("linear", (10,))])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["image", "3 ×\n32×32", "conv", "64 ×\n32×32", "block 1", "64 ×\n32×32", "linear", "10"]
    plt.close(figure)
