"""The latent geometry graph of one draw of images at every depth of the network, as panels and as an animation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lgg.reporting.figures import CLASS_WIDTH, MARKERS, PAGE_WIDTH, PALETTE, as_text, columns_for, set_style

#: (i, j) with i < j, and the weight of the edge between them
Edges = dict[tuple[int, int], float]
#: the number of a depth, and the share of the way to the next one, from 0 to 1
Moment = tuple[int, float]
SAME, BETWEEN = "0.8", "0.25"  # colours of edges
PANELS_PER_ROW = 5
FRAMES = 8  # between two depths
RESTING, MOVING = 900, 70  # milliseconds at each depth, and of each frame between two


def lay_out(depths: Sequence[Edges], vertices: int) -> list[NDArray[np.float64]]:
    """Return coordinates (vertices, 2) in [-1, 1] of the graph at each depth, by springs (Fruchterman and Reingold 1991).

    The layout of each graph starts from the previous one's, so that vertices move only as their neighbours require;
    disconnected parts stay apart.
    """
    layouts: list[NDArray[np.float64]] = []
    for edges in depths:
        graph = nx.Graph()
        graph.add_nodes_from(range(vertices))
        graph.add_weighted_edges_from((i, j, weight) for (i, j), weight in edges.items())
        before = dict(enumerate(layouts[-1])) if layouts else None
        placed = nx.spring_layout(graph, pos=before, seed=0, iterations=100 if before is None else 30)
        layouts.append(np.array([placed[vertex] for vertex in range(vertices)]))
    return layouts


def draw_depths(shown: Mapping[str, Any]) -> Figure:
    """Return one panel per depth: vertices placed by springs, edges within and between classes drawn by their weight.

    Args:
        shown: `classes`, a name for each vertex, and `depths`, by name: `label_variation` and all `edges` (i, j, weight).
    """
    set_style()
    depths, classes = shown["depths"], shown["classes"]
    graphs = [_edges(depth) for depth in depths.values()]
    rows = -(-len(depths) // PANELS_PER_ROW)
    figure, axes = plt.subplots(rows, PANELS_PER_ROW, figsize=(PAGE_WIDTH, rows * 1.85 + 0.45), squeeze=False)
    for axis in axes.flat[len(depths) :]:
        axis.remove()
    panels = zip(axes.flat, depths.items(), graphs, lay_out(graphs, len(classes)), strict=False)
    for axis, (name, depth), edges, points in panels:
        _draw_graph(axis, points, edges, classes)
        axis.set_title(as_text(name, 20))
        axis.set_xlabel(_described(depth["label_variation"]))
    _add_legend(figure, classes)
    return figure


def animate_depths(shown: Mapping[str, Any]) -> tuple[Figure, Callable[[Moment], None]]:
    """Return a figure and a function that draws the graph at a given moment into it; `shown` as in `draw_depths`.

    Between two depths, positions, weights and label variation are interpolated.
    """
    set_style()
    depths, classes = shown["depths"], shown["classes"]
    graphs = [_edges(depth) for depth in depths.values()]
    layouts = lay_out(graphs, len(classes))
    names, variations = list(depths), [depth["label_variation"] for depth in depths.values()]
    figure, axis = plt.subplots(figsize=(4.0, 5.0))
    _add_legend(figure, classes, columns=3)

    def draw(moment: Moment) -> None:
        depth, share = moment
        after = min(depth + 1, len(names) - 1)
        axis.clear()
        points = (1 - share) * layouts[depth] + share * layouts[after]
        _draw_graph(axis, points, between(graphs[depth], graphs[after], share), classes)
        axis.set_title(as_text(names[depth] if share < 0.5 else names[after]))
        axis.set_xlabel(_described((1 - share) * variations[depth] + share * variations[after]))

    draw((0, 0.0))
    figure.draw_without_rendering()  # the layout is computed once for all moments
    figure.set_layout_engine("none")
    return figure, draw


def moments(depths: int) -> list[tuple[Moment, int]]:
    """Return the moments of an animation of `depths` depths, each with its duration in milliseconds."""
    shares = np.linspace(0, 1, FRAMES + 2)[1:-1]
    smooth = shares**2 * (3 - 2 * shares)  # slow at both ends
    frames: list[tuple[Moment, int]] = []
    for depth in range(depths):
        frames += [((depth, 0.0), RESTING), *(((depth, float(share)), MOVING) for share in smooth)]
    return frames[: len(frames) - FRAMES]  # nothing follows the last depth


def between(one: Edges, other: Edges, share: float) -> Edges:
    """Return the edges of two graphs on the same vertices, with weights interpolated: those of `other` at share 1."""
    return {pair: (1 - share) * one.get(pair, 0.0) + share * other.get(pair, 0.0) for pair in {**one, **other}}


def _edges(depth: Mapping[str, Any]) -> Edges:
    return {(i, j): weight for i, j, weight in depth["edges"]}


def _described(label_variation: float) -> str:
    return f"label variation {label_variation:.2f}"


def _draw_graph(axis: Axes, points: NDArray[np.float64], edges: Edges, classes: Sequence[str]) -> None:
    for color, same in ((SAME, True), (BETWEEN, False)):
        chosen = {pair: weight for pair, weight in edges.items() if (classes[pair[0]] == classes[pair[1]]) == same}
        lines = [points[list(pair)] for pair in chosen]
        axis.add_collection(LineCollection(lines, colors=color, linewidths=list(chosen.values()), zorder=1))
    for number, name in enumerate(dict.fromkeys(classes)):
        x, y = points[[own == name for own in classes]].T
        axis.scatter(x, y, **_class_look(number), s=22, edgecolor="white", linewidth=0.4, zorder=2)
    axis.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=[], yticks=[], aspect="equal")


def _class_look(number: int) -> dict[str, Any]:
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}


def _add_legend(figure: Figure, classes: Sequence[str], columns: int | None = None) -> None:
    names = [as_text(name, CLASS_WIDTH, lines=1) for name in dict.fromkeys(classes)]
    handles = [Line2D([], [], linestyle="", label=name, **_class_look(number)) for number, name in enumerate(names)]
    handles += [Line2D([], [], color=BETWEEN, linewidth=1, label="edge between classes")]
    handles += [Line2D([], [], color=SAME, linewidth=1, label="edge within a class")]
    title = f"the same {len(classes)} training images at every depth"
    fitting = columns_for([str(handle.get_label()) for handle in handles], columns or 10, figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=fitting, title=title)
