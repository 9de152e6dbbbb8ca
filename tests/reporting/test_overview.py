import re
from html import unescape

from docutils.core import publish_parts

from lgg.reporting.overview import overview

PROVENANCE = {
    "configuration": {"seeds": [0, 3], "data": {"source": "photo_patches"}},
    "git": {"commit": "0" * 40, "uncommitted_changes": True},
    "data": {
        name: {"shape": [count, 32, 32, 3], "classes": ["a", "b"], "notes": ["98 of *them*"], "sha256": "f" * 64}
        for name, count in (("train", 2000), ("test", 1000))
    },
    "versions": {"python": "3.12", "torch": "2.14.1", "scipy": None},
    "machine": {"system": "Linux_x86_64", "processor": "A |strange| `processor`", "cores": 2},
    "written": "2026-01-01T00:00:00+00:00",
}


def shown(**changes):
    source = "It is below a paragraph.\n\n" + overview(PROVENANCE | changes, 73, 4000.0)
    # a mistake in the markup is a message in the page
    page = publish_parts(source, writer="html", settings_overrides={"halt_level": 2})["body"]
    assert "system-message" not in page
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_every_fact_is_on_the_page_as_it_is():
    page = shown()
    for fact in (
        "2 (0, 3)",
        "2,000 train images of 2 classes",
        "1,000 test",
        "98 of *them*",
        "commit 0000",
        "not committed",
    ):
        assert fact in page
    for fact in ("Linux_x86_64", "|strange| `processor`, 2 cores", "torch 2.14.1", "73 jobs of 1 h 7 min"):
        assert fact in page
    assert "scipy" not in page
    assert page.count("98 of") == 1


def test_data_sets_of_torchvision_and_sizes_other_than_the_paper_s_are_named():
    configuration = {"seeds": [0], "data": {"source": "torchvision", "dataset": "STL10"}}
    larger = {"train": PROVENANCE["data"]["train"] | {"shape": [5000, 96, 96, 3]}}
    assert "STL10; 5,000 train images of 2 classes, 96 × 96 pixels, SHA" in shown(
        configuration=configuration, data=larger
    )
    assert "pixels" not in shown()


def test_seeds_of_sections_that_have_their_own_are_listed():
    configuration = PROVENANCE["configuration"] | {
        "embedding": {"seeds": [3]},
        "robustness": {"seeds": None},
        "distillation": None,
    }
    assert "2 (0, 3); embedding 1 (3)" in shown(configuration=configuration)


def test_without_git_and_notes_there_is_nothing_of_them():
    data = {"train": PROVENANCE["data"]["train"] | {"notes": []}}
    page = shown(git={"commit": None, "uncommitted_changes": None}, data=data)
    assert "not a git checkout" in page
    assert "Images" not in page
