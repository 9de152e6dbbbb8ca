"""The picture of the front page: what it draws is published, and nothing in it covers anything else."""

import csv
import itertools
import json
import math
import shutil

import matplotlib.pyplot as plt
import pytest
import yaml
from configurations import CONFIG
from matplotlib.text import Text
from PIL import Image
from publishing import picture
from publishing.places import MAIN, PUBLISHED
from publishing.published_run import Published

from lgg.reporting.figures import PALETTE

PUBLICATION = Published(PUBLISHED)
FOLDER = PUBLISHED / MAIN
#: the table, the measure and the section of each panel
PARTS = [
    ("table1", "error", "distillation"),
    ("table2", "clean_error", "embedding"),
    ("table2", "relative_mce", "embedding"),
    ("table3", "fgsm_normalized", "robustness"),
]

if_all = pytest.mark.skipif(
    not all(PUBLICATION.main.has(table) for table, *_ in PARTS), reason="CIFAR-10 is not published with all its tables"
)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(path):
    with Image.open(path) as image:
        return image.text[picture.FACTS]


@pytest.mark.skipif(not PUBLICATION.main.exists, reason="the run on CIFAR-10 is not published yet")
def test_the_picture_shows_what_is_published_now():
    assert written(picture.PICTURE) == picture.facts(picture.panels(PUBLICATION.main)), "run: python tools/published.py"


@if_all
def test_the_picture_s_numbers_are_those_of_the_published_tables_and_of_the_paper():
    paper = yaml.safe_load((CONFIG / "paper.yaml").read_text("utf-8"))
    found = json.loads(written(picture.PICTURE))
    assert len(found) == len(PARTS)
    for panel, (table, measure, section) in zip(found, PARTS, strict=True):
        rows = {row["label"]: row for row in rows_of(FOLDER / f"tables/{table}.csv")}
        for label, method in panel["methods"].items():
            row = rows[label]
            assert method["mean"] == float(row[f"{measure}_mean"])
            assert method["std"] == (float(row[f"{measure}_std"]) if row[f"{measure}_std"] else None)
            assert method["paper"] == paper[table].get(row["name"], {}).get(measure)
            networks = [one for one in rows_of(FOLDER / section / "evaluation.csv") if one["method"] == row["name"]]
            assert method["seeds"] == len({one["seed"] for one in networks} - {"", "NA"})
            history = [one for one in rows_of(FOLDER / section / "history.csv") if one["method"] == row["name"]]
            assert panel["epochs"] == max(int(one["epoch"]) for one in history)


@if_all
def test_the_methods_are_those_of_the_paper_and_all_of_table_2():
    paper = yaml.safe_load((CONFIG / "paper.yaml").read_text("utf-8"))
    for panel, (table, measure, _) in zip(picture.panels(PUBLICATION.main), PARTS, strict=True):
        compared = [
            row["label"]
            for row in rows_of(FOLDER / f"tables/{table}.csv")
            if table == "table2" or (measure in paper[table].get(row["name"], {}) and row["name"] != "teacher")
        ]
        assert [mark.label for mark in panel.marks] == compared


@pytest.fixture
def later(tmp_path):
    """Return what is published, with a row in Table 2 that has one seed and no figure of the paper's."""
    folder = tmp_path / MAIN
    (folder / "tables").mkdir(parents=True)
    for name in ("configuration.yaml", "provenance.json", *(f"tables/{table}.csv" for table, *_ in PARTS)):
        shutil.copyfile(FOLDER / name, folder / name)
    rows = rows_of(folder / "tables/table2.csv")
    other = {"name": "attraction", "label": "Label variation with attraction", "baseline": rows[0]["name"]}
    other |= {"clean_error_mean": "14.5", "relative_mce_mean": "95.25"}
    seeds = dict.fromkeys(("seeds", "clean_error_seeds", "relative_mce_seeds"), "1")
    with (folder / "tables/table2.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([*rows, other | seeds])
    return Published(tmp_path)


@pytest.fixture(params=[False, True], ids=["published", "one more row"])
def drawn(request, later):
    """Return panels and their figure."""
    panels = picture.panels((later if request.param else PUBLICATION).main)
    figure = picture.draw(panels)
    figure.canvas.draw()
    yield panels, figure
    plt.close(figure)


def marks_in(axis):
    return [line for line in axis.lines if line.get_marker() != "None"]


@if_all
def test_marks_are_where_the_numbers_are(drawn):
    panels, figure = drawn
    for panel, axis in zip(panels, figure.axes, strict=True):
        places = {True: [], False: []}
        for mark in marks_in(axis):
            places[mark.get_markerfacecolor() == "white"].append(mark.get_xdata()[0])
        ours, papers = places[False], places[True]
        assert ours == [mark.mean for mark in panel.marks]
        assert papers == [mark.paper for mark in panel.marks if math.isfinite(mark.paper)]
        stems = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "None"]
        baseline = panel.marks[0]  # in all tables
        assert stems.count(baseline.mean) >= len(ours) and set(stems) == {baseline.mean, baseline.paper}
        assert baseline.look["color"] == PALETTE[0]
        spread = [end for bars in axis.collections for segment in bars.get_segments() for end in segment[:, 0]]
        several = [mark for mark in panel.marks if math.isfinite(mark.std)]
        ends = [end for mark in several for end in (mark.mean - mark.std, mark.mean + mark.std)]
        assert spread == pytest.approx(ends)
        texts = [text.get_text() for text in axis.texts]
        assert sorted(texts) == sorted([*(mark.label for mark in panel.marks), *(f"{x:.2f}" for x in ours + papers)])


@if_all
def test_nothing_covers_a_text_or_leaves_the_picture(drawn):
    _, figure = drawn
    texts = [legend.get_window_extent() for legend in figure.legends]
    marks = [mark.get_window_extent() for axis in figure.axes for mark in marks_in(axis)]
    for axis in figure.axes:
        low, high = axis.get_xlim()
        # labels of ticks outside the axis are not drawn
        ticks = [tick.label1 for tick in axis.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        title = next(text for text in axis.findobj(Text) if text.get_text() == axis.get_title("left"))
        texts += [text.get_window_extent() for text in (*axis.texts, *ticks, title, axis.xaxis.label)]
    for box in texts + marks:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    assert not any(one.overlaps(other) for one, other in itertools.combinations(texts, 2))
    assert not any(text.overlaps(mark) for text, mark in itertools.product(texts, marks))


@if_all
def test_a_later_run_s_further_row_is_drawn_with_its_seeds(later):
    _, clean, relative, _ = picture.panels(later.main)
    for panel, value in ((clean, 14.5), (relative, 95.25)):
        mark = panel.marks[-1]
        assert (mark.label, mark.mean, mark.seeds) == ("Label variation with attraction", value, 1)
    found = json.loads(picture.facts([clean]))[0]["methods"]["Label variation with attraction"]
    assert found == {"mean": 14.5, "std": None, "seeds": 1, "paper": None}


@if_all
def test_what_is_not_published_is_left_out(later, tmp_path):
    path = tmp_path / "results.png"
    picture.write_picture(Published(tmp_path / "nothing"), path)
    assert not path.exists()
    for table in ("table2", "table3"):
        (later.main.folder / f"tables/{table}.csv").unlink()
    picture.write_picture(later, path)
    (panel,) = json.loads(written(path))
    assert panel["title"] == "Distillation (Table 1): error of the student (%)"
