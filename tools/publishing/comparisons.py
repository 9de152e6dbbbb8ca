"""Our figures next to the paper's: all tables in short, and other widths and lengths of training."""

from collections.abc import Iterator
from typing import NamedTuple

from lgg.reporting.measures import CLEAN_ERROR, ERROR, FGSM_NORMALIZED, RELATIVE_MCE, Measure
from publishing.places import SECTIONS
from publishing.published_run import Published, PublishedRun, Row
from publishing.text import NOT_YET, markdown, mean_of, number, outputs_of, signed


class Shown(NamedTuple):
    """A measure of a table in the summary, and the methods shown; all rows of the table if there are none."""

    table: str
    measure: Measure
    title: str
    methods: tuple[str, ...]


DEFENCES = ("baseline", "parseval", "regularizer", "both")
SUMMARY = (
    Shown("table1", ERROR, "error of the student (%)", ("baseline", "rkd_d", "gkd")),
    Shown("table2", CLEAN_ERROR, "clean error (%)", ()),
    Shown("table2", RELATIVE_MCE, "relative MCE", ()),
    Shown("table3", CLEAN_ERROR, "clean error (%)", DEFENCES),
    Shown("table3", FGSM_NORMALIZED, "FGSM error at 33 dB (%)", DEFENCES),
    Shown("table3", RELATIVE_MCE, "relative MCE", DEFENCES),
)
#: what each table is about, which the front page shows: the baseline, the method and the measure
THREE = {
    "table1": ("baseline", "gkd", ERROR),
    "table2": ("cross_entropy", "label_variation", RELATIVE_MCE),
    "table3": ("baseline", "regularizer", FGSM_NORMALIZED),
}


def three(published: Published) -> str:
    """Return one result of each of the paper's tables, with its baseline and the paper's figures."""
    rows = []
    for name, measure, title, _ in SUMMARY:
        baseline, method, main = THREE[name]
        if measure is not main or not published.main.has(name):
            continue
        both = [published.main.table(name)[one] for one in (baseline, method)]
        here, paper = (mean_of(row, measure) for row in both), (number(row[measure.paper_column]) for row in both)
        rows.append((f"{both[1]['label']}: {title}, {_called(name)}", *here, *paper, f"{both[1]['seeds']:g}"))
    header = ("method: measure", "baseline, here", "method, here", "baseline, paper", "method, paper", "seeds")
    return markdown(header, rows)


def summary(published: Published) -> str:
    """Return the paper's three tables in short, our figures and the paper's side by side."""
    rows = []
    for name, measure, title, methods in SUMMARY:
        if not published.main.has(name):
            continue
        found = published.main.table(name)
        for method in methods or found:
            row = found[method]
            paper, seeds = number(row[measure.paper_column]), f"{row['seeds']:g}"
            rows.append((f"{_called(name)}: {title}", row["label"], mean_of(row, measure), paper, seeds))
    return markdown(("what", "method", "here", "paper", "seeds"), rows) + not_run_yet(published.main)


def _called(table: str) -> str:
    return table.replace("table", "Table ")


def not_run_yet(run: PublishedRun) -> str:
    """Return a line on the sections of the configuration that were not run, if any."""
    names = [name for name in SECTIONS if run.settings[name] is None]
    return f"\nNot run yet: the sections {', '.join(names)}.\n" if names else ""


def width(published: Published) -> str:
    """Return Table 3 with networks of a quarter of the paper's width, of its width, and the paper's own."""
    if not (published.main.has("table3") and published.wide.has("table3")):
        return NOT_YET
    narrow, wide = published.main.table("table3"), published.wide.table("table3")
    images = [f"{_first(table)[IMAGES]:,}" for table in (narrow, wide)]
    measures = {
        CLEAN_ERROR: "clean error (%)",
        FGSM_NORMALIZED: "FGSM error at 33 dB (%)",
        RELATIVE_MCE: f"relative MCE ({images[0]} images; full width {images[1]})",
    }
    rows = [
        (
            title,
            row["label"],
            mean_of(narrow[name], measure),
            mean_of(row, measure),
            number(row[measure.paper_column]),
        )
        for measure, title in measures.items()
        for name, row in wide.items()
    ]
    header = ("what", "method", f"¼ of the width, {_seeds(narrow)}", f"full width, {_seeds(wide)}", "paper, 10 seeds")
    return markdown(header, rows)


#: the column of how many images the relative MCE is of
IMAGES = f"{RELATIVE_MCE.name}_images"


def _first(table: dict[str, Row]) -> Row:
    return next(iter(table.values()))


def _seeds(table: dict[str, Row]) -> str:
    n = _first(table)["seeds"]
    return f"{n} seed{'s' if n > 1 else ''}"


def length(published: Published) -> str:
    """Return Table 2 after more epochs and with networks of the paper's width, a row per label variation of each run."""
    runs = {published.main: "¼ of the width", published.longer: "¼ of the width", published.wide: "full width"}
    if not all(run.has("table2") for run in runs):
        return NOT_YET
    rows = [row for run, title in runs.items() for row in _embeddings(run, title)]
    paper = published.main.table("table2")
    clean = [paper[method][CLEAN_ERROR.paper_column] for method in ("cross_entropy", "label_variation")]
    relative = number(paper["label_variation"][RELATIVE_MCE.paper_column])
    cells = (*map(number, clean), signed(clean[1] - clean[0]), relative, "–")
    header = ("networks", "outputs", "cross-entropy: clean error (%)", "label variation: clean error (%)", "difference")
    return markdown(
        (*header, "label variation: relative MCE", "seeds"), [*rows, ("the paper: full width, 200 epochs", "–", *cells)]
    )


def _embeddings(run: PublishedRun, title: str) -> Iterator[tuple[str, ...]]:
    table, methods = run.table("table2"), run.settings["embedding"]["methods"]
    theirs = table["cross_entropy"]
    for name, ours in table.items():
        if (method := methods[name])["loss"] != "label_variation":
            continue
        errors = mean_of(theirs, CLEAN_ERROR), mean_of(ours, CLEAN_ERROR)
        difference = signed(ours[f"{CLEAN_ERROR.name}_difference_mean"])
        relative = f"{mean_of(ours, RELATIVE_MCE)} ({ours[IMAGES]:,} images)"
        outputs = outputs_of(method["normalize_embeddings"], method["attraction"])
        cells = (outputs, *errors, difference, relative, f"{ours['seeds']:g}")
        yield f"{title}, {run.epochs('embedding'):g} epochs", *cells
