"""The report's captions quote the paper's figures, measured on CIFAR-10, only for CIFAR-10."""

from types import SimpleNamespace

import jinja2
import pytest
from configurations import ROOT, configured

PAGES = sorted((ROOT / "workflow/report").glob("*.rst"))
TABLES = {"table3": ("table3", "table3_supplement", "robustness")}
WITH_FIGURES = {"table1", "table2", "table3", "robustness", "tableA1", "figure2", "figureA1", "embedding_severity"}
CAPTIONS = [(page, table) for page in PAGES for table in TABLES.get(page.stem, (page.stem,))]


def caption(page, table, beside_the_paper):
    config = configured().model_dump(mode="json") | {"beside_the_paper": beside_the_paper, "overview": None}
    seen = SimpleNamespace(config=config, wildcards=SimpleNamespace(table=table))
    return jinja2.Template(page.read_text("utf-8"), undefined=jinja2.StrictUndefined).render(snakemake=seen)


@pytest.mark.parametrize(("page", "table"), CAPTIONS, ids=[table for _, table in CAPTIONS])
def test_figures_of_the_paper_are_quoted_only_for_its_images(page, table):
    with_paper, alone = (caption(page, table, value) for value in (True, False))
    assert (with_paper != alone) == (table in WITH_FIGURES)
    assert "(CIFAR-10" not in alone and "published networks" not in alone.lower()
    assert alone.strip().endswith(".")
    for text in (with_paper, alone):
        assert "**Look for**" in text or table in ("figure1", "workflow", "corruptions")
        assert "..**" not in text and ".**The" not in text
