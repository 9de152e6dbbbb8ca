"""What all figures share: one style, colours that colour-blind readers can tell apart, and files."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: a job has no screen

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from lgg.files import atomic_path

PALETTE = sns.color_palette("colorblind")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
# ten classes of small points: Petroff 2021, arXiv 2107.02270, chosen there for distance under colour blindness
CLASS_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
PAGE_WIDTH = 7.0  # inches: the text width of a page


def set_style() -> None:
    """Set the style of the figures that are made from now on, and what chance has a part in."""
    np.random.seed(0)  # seaborn scatters points and draws samples by NumPy's global generator
    sns.set_theme(context="paper", style="white", palette="colorblind")
    plt.rcParams.update({"pdf.fonttype": 42, "figure.constrained_layout.use": True, "axes.titlesize": 9})


def save_figure(figure: Figure, pdf: Path, png: Path) -> None:
    """Write a figure as PDF (fonts embedded, no date inside) and as PNG at 200 dots an inch, each atomically."""
    for path, metadata in ((pdf, {"CreationDate": None}), (png, None)):
        with atomic_path(path) as temporary:
            # in a PDF the resolution is that of the images and of the many points drawn as an image
            figure.savefig(temporary, dpi=200, metadata=metadata)
    plt.close(figure)
