import numpy as np
import pytest
from PIL import Image

from lgg.reporting.depth_figures import FRAMES, animate_depths, between, draw_depths, lay_out, moments
from lgg.reporting.figures import save_animation

CLASSES = ["cat"] * 3 + ["dog"] * 3
ONE = {(0, 1): 1.0, (1, 2): 1.0, (0, 2): 1.0, (3, 4): 1.0, (4, 5): 1.0, (3, 5): 1.0}
OTHER = {(0, 3): 0.5, **ONE}


@pytest.fixture
def shown():
    def depth(edges, value):
        return {"label_variation": value, "edges": [[i, j, weight] for (i, j), weight in edges.items()]}

    names = ["image", *(f"block {block}" for block in range(1, 5)), "pooling"]
    return {
        "classes": CLASSES,
        "depths": {name: depth(OTHER, 0.25) for name in names[:-1]} | {"pooling": depth(ONE, 0.0)},
    }


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_the_layout_keeps_parts_without_edges_between_them_apart_and_collapses_none():
    first, last = lay_out([OTHER, ONE], 6)
    assert np.abs(np.concatenate([first, last])).max() <= 1.0 + 1e-9
    apart = distances(last)
    within = np.kron(np.eye(2, dtype=bool), np.ones((3, 3), dtype=bool)) & ~np.eye(6, dtype=bool)
    between_parts = ~within & ~np.eye(6, dtype=bool)
    assert apart[within].max() < apart[between_parts].min()
    assert apart[within].min() > 0.01


def test_a_graph_that_stays_as_it_is_hardly_moves():
    graphs = [OTHER] * 4
    layouts = lay_out(graphs, 6)
    size = distances(layouts[0]).max()
    assert np.linalg.norm(layouts[-1] - layouts[-2], axis=1).max() < 0.25 * size


def test_the_layout_is_the_same_each_time():
    for one, other in zip(lay_out([ONE, OTHER], 6), lay_out([ONE, OTHER], 6), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_go_evenly_from_one_graph_to_the_other():
    assert between(ONE, OTHER, 0.0) == {(0, 3): 0.0, **ONE}
    assert between(ONE, OTHER, 1.0) == OTHER
    assert between(ONE, OTHER, 0.5)[0, 3] == 0.25


def test_moments_go_through_all_depths_without_a_way_back():
    frames = [moment for moment, _ in moments(4)]
    places = [depth + share for depth, share in frames]
    assert places == sorted(set(places))
    assert (places[0], places[-1]) == (0, 3)
    assert len(frames) == 4 + 3 * FRAMES


def test_the_strip_has_a_panel_a_depth_with_edges_by_weight_and_kind(shown, check_legible):
    figure = draw_depths(shown)
    assert [axis.get_title() for axis in figure.axes] == list(shown["depths"])
    assert [axis.get_xlabel() for axis in figure.axes] == ["label variation 0.25"] * 5 + ["label variation 0.00"]
    within, crossing = figure.axes[0].collections[:2]
    assert (len(within.get_segments()), len(crossing.get_segments())) == (6, 1)
    assert list(crossing.get_linewidths()) == [0.5]
    assert figure.legends[0].get_title().get_text() == "the same 6 training images at every depth"
    check_legible(figure)


def test_long_names_of_layers_are_legible(shown, check_legible):
    depth = shown["depths"]["image"]
    names = ["image", *(f"layer{stage}.{block}.relu#{block}" for stage in (1, 2, 3) for block in (10, 11)), "pooled"]
    names += [f"features.denseblock{number}.denselayer{number}.norm" for number in (1, 2, 3)]
    check_legible(draw_depths(shown | {"depths": dict.fromkeys(names, depth)}))


def test_the_animation_is_a_file_of_all_moments_in_the_colours_of_the_classes(shown, tmp_path):
    # each moment is drawn twice, so there are three depths here
    shown["depths"] = {name: shown["depths"][name] for name in ("image", "block 1", "pooling")}
    frames = moments(3)
    contents = []
    for name in ("one.gif", "other.gif"):
        figure, draw = animate_depths(shown)
        save_animation(figure, draw, frames, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    with Image.open(tmp_path / "one.gif") as image:
        # equal frames are merged into one
        assert 1 < image.n_frames <= len(frames)
        milliseconds = 0
        for number in range(image.n_frames):
            image.seek(number)
            milliseconds += image.info["duration"]
        assert milliseconds == sum(duration for _, duration in frames)
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for collection in figure.axes[0].collections[2:]:
        color = np.rint(255 * collection.get_facecolors()[0, :3])
        assert np.abs(pixels - color).sum(axis=1).min() < 30
