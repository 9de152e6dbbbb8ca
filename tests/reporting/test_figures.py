import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from skimage.color import rgb2lab

from lgg.reporting.figures import CLASS_COLORS, PAGE_WIDTH, save_figure, set_style


def draw():
    set_style()
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 2.0))
    axis.scatter([1, 2], [3, 4], rasterized=True)
    axis.set_title("a title")
    return figure


def test_files_are_complete_and_reproducible(tmp_path):
    contents = []
    for _ in range(2):
        save_figure(draw(), tmp_path / "figure.pdf", tmp_path / "figure.png")
        contents.append([(tmp_path / f"figure.{kind}").read_bytes() for kind in ("pdf", "png")])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"%PDF")
    assert b"/FontFile2" in contents[0][0], "fonts are embedded"
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width == 200 * PAGE_WIDTH
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pdf", "figure.png"]
    assert not plt.get_fignums()


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "tkagg", "no such backend"])
def test_figures_are_drawn_whatever_backend_a_shell_passes_on(backend):
    """One example is a notebook's backend, whose package the jobs' environment lacks."""
    program = "import lgg.reporting.figures, matplotlib; print(matplotlib.get_backend().lower())"
    variables = os.environ | {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)
    assert done.stdout == "agg\n", done.stderr


# what people with one kind of cone missing see, on linear RGB: Machado, Oliveira, Fernandes 2009, Table 1, severity 1.0
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("vision", VISION)
def test_colour_blind_readers_can_tell_the_classes_apart(vision):
    rgb = np.array([to_rgb(color) for color in (*CLASS_COLORS, "white")])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(VISION[vision])).clip(0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert len(CLASS_COLORS) == 10
    # a difference of 2.3 in CIELAB is just noticeable side by side; small points far apart need several times that
    assert distances[~np.eye(len(lab), dtype=bool)].min() > 5 * 2.3
