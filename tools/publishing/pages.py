"""The parts of pages that are written from published results.

A part is between `<!-- published: NAME -->` and `<!-- end -->`; each NAME is a key of `BLOCKS`.
"""

import re
from collections.abc import Callable

from publishing.authors import authors
from publishing.choices import estimate, normalization, trials, validation
from publishing.claims import claims, claims_by_run
from publishing.comparisons import length, summary, three, width
from publishing.conditions import about, stages
from publishing.details import agreement, by_corruption, depth, masking, plane
from publishing.places import MAIN, ROOT
from publishing.published_run import Published
from publishing.text import NOT_YET

PAGES = (ROOT / "README.md", ROOT / "docs/results.md", ROOT / "results/published/README.md")
LINK = f"../results/published/{MAIN}"  # from the pages in docs/
BLOCK = re.compile(r"(<!-- published: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

TABLES = {
    "table1": "Table 1",
    "table2": "Table 2",
    "table3": "Table 3",
    "robustness": "second robustness table",
    "tableA1": "Table A1",
    "table2_supplement": "supplement to Table 2",
    "table3_supplement": "supplement to Table 3",
}
FIGURES = {
    "figure2": "Graphs of 20 images at three depths: edges between classes become fewer",
    "figureA1": "Embeddings in the plane while networks learn, in the rows of the configuration",
    "layer_variation": "Label variation of every layer while networks learn, with the regularizer and without",
    "snr_curves": "Accuracy under FGSM against the signal-to-noise ratio",
    "table1": "Error of students against their agreement with the teacher",
}


def tables(published: Published) -> str:
    """Return links to the main run's tables."""
    found = {name: title for name, title in TABLES.items() if published.main.has(name)}
    return "".join(f"- [{title}]({LINK}/tables/{name}.md)\n" for name, title in found.items())


def figures(published: Published) -> str:
    """Return the main run's figures."""
    folder = published.main.folder / "figures"
    found = {name: title for name, title in FIGURES.items() if (folder / f"{name}.png").is_file()}
    return "\n".join(f"![{title}]({LINK}/figures/{name}.png)\n" for name, title in found.items())


OF_NO_RUN = ("validation", "trials", "normalization", "estimate")
BLOCKS: dict[str, Callable[[Published], str]] = {
    function.__name__: function
    for function in (
        three, summary, tables, claims, claims_by_run, depth, figures, about, stages, width, length, validation, trials,
        normalization, estimate, agreement, by_corruption, masking, plane, authors,
    )
}  # fmt: skip


def written(text: str, published: Published) -> str:
    """Return a page with its parts written from the published results."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{block_of(block[2], published)}\n{block[3]}", text)


def block_of(name: str, published: Published) -> str:
    if not published.main.exists and name not in OF_NO_RUN:
        return NOT_YET
    return BLOCKS[name](published)


def write_pages(published: Published) -> None:
    for page in PAGES:
        page.write_text(written(page.read_text("utf-8"), published), encoding="utf-8")
