import pytest
from matplotlib.patches import FancyBboxPatch

from lgg.reporting.geometry_figures import draw_graphs, draw_label_variation, draw_steps

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


def test_figure_2_is_legible_for_long_names_of_layers(shown, check_legible):
    depths = ["image", "features.denseblock2.denselayer12.relu#2", "features.norm5_$1$"]
    check_legible(draw_graphs(shown | {"graphs": dict.fromkeys(depths, GRAPH)}))
    check_legible(draw_label_variation({depth: [0.8, 0.7, 0.2] for depth in depths}))


def test_the_distribution_counts_draws_that_are_smaller_at_the_end():
    figure = draw_label_variation({"image": [0.8, 0.7, 0.2], "block 4": [0.5, 0.5, 0.5], "pooling": [0.1, 0.9, 0.1]})
    assert figure.axes[1].get_title() == "smaller at pooling than at image in 2 of 3"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["image", "block 4", "pooling"]


def test_points_are_scattered_in_the_same_way_each_time():
    positions = []
    for _ in range(2):
        figure = draw_label_variation({"image": [0.8, 0.7, 0.2], "pooling": [0.1, 0.9, 0.1]})
        positions.append([line.get_offsets().tolist() for line in figure.axes[0].collections])
    assert positions[0] == positions[1]


def test_figure_1_names_every_step_and_its_shape():
    figure = draw_steps([("image", (3, 32, 32)), ("conv", (64, 32, 32)), ("block 1", (64, 32, 32)), ("linear", (10,))])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["image", "3 ×\n32×32", "conv", "64 ×\n32×32", "block 1", "64 ×\n32×32", "linear", "10"]


@pytest.mark.parametrize(
    "names",
    [
        ["image", "conv", *(f"block {number}" for number in range(1, 9)), "pooling", "linear"],
        ["image", *(f"layer{stage}" for stage in range(1, 5)), "avgpool", "logits"],
        [
            "image",
            *(f"layer{stage}.{block}.relu#{run}" for stage in (1, 2, 3) for block in (0, 1) for run in (1, 2)),
            "fc",
        ],
        ["image", *(f"features.denseblock{n}.denselayer{n}.norm_1" for n in range(9)), "$x_1$", "_hidden", "logits"],
        ["image", *(f"blocks.{number}" for number in range(60)), "logits"],
    ],
    ids=len,
)
def test_figure_1_is_legible_for_networks_of_any_depth(check_legible, names):
    figure = draw_steps([(name, (2048, 112, 112)) for name in names[:-1]] + [(names[-1], (1000,))])
    check_legible(figure)
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == min(len(names), 48)
    titles = [text.get_text() for text in figure.axes[0].texts][::2]
    assert (titles[0], titles[-1]) == (names[0], names[-1])
    assert len(set(titles)) == len(titles)
