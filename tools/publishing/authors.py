"""The networks that the paper's authors published: Table 1 at its own scale, evaluated here."""

from lgg.reporting.measures import AGREEMENT, CLEAN_ERROR, ERROR, FGSM_NORMALIZED, RELATIVE_MCE
from lgg.reporting.statistics import paired_difference
from publishing.published_run import Published, PublishedRun
from publishing.text import NOT_YET, markdown, mean_of, number, with_interval

STUDENTS = ("rkd_d", "gkd")


def authors(published: Published) -> str:
    """Return the errors of the authors' networks, here and in the paper, and those of students under attack."""
    run = published.authors
    if not (run.has("table1") and run.has("table3")):
        return NOT_YET
    return "\n".join([_table1(run), _differences(run), _table3(run), _layers(run)])


def _table1(run: PublishedRun) -> str:
    rows = [
        (
            row["label"],
            mean_of(row, ERROR),
            number(row[ERROR.paper_column]),
            mean_of(row, AGREEMENT) if name in STUDENTS else "–",
            f"{row['operations'] / 1e6:.1f}",
            f"{row['seeds']:g}",
        )
        for name, row in run.table("table1").items()
    ]
    header = ("networks", "error here (%)", "error in the paper (%)", "agreement with the teacher (%)")
    return markdown((*header, "operations (millions)", "networks"), rows)


def _differences(run: PublishedRun) -> str:
    parts = [
        f"{measure.name} {with_interval(paired_difference(*(run.student(name, measure.name) for name in ('gkd', 'rkd_d'))))}"
        for measure in (ERROR, AGREEMENT)
    ]
    return f"GKD's students less RKD-D's, in points, with 95 % intervals: {', '.join(parts)}.\n"


def _table3(run: PublishedRun) -> str:
    rows = [
        (
            row["label"],
            *(mean_of(row, measure) for measure in (CLEAN_ERROR, FGSM_NORMALIZED, RELATIVE_MCE)),
            f"{row['seeds']:g}",
        )
        for row in run.table("table3").values()
    ]
    header = ("students", "clean error (%)", "FGSM error at 33 dB (%)", "relative MCE (RKD-D: 100)", "networks")
    return markdown(header, rows)


def _layers(run: PublishedRun) -> str:
    found = run.seeds("robustness", "label_variation").groupby(["method", "layer"])["share"].agg(["mean", "std"])
    labels = {name: row["label"] for name, row in run.table("table3").items()}
    layers = sorted(set(found.index.get_level_values("layer")))
    rows = [
        (
            labels[method],
            *(
                f"{number(found['mean'][method, layer], 3)} ± {number(found['std'][method, layer], 3)}"
                for layer in layers
            ),
        )
        for method in STUDENTS
    ]
    return markdown(("label variation, share of all weights", *("after stage 1", "after stage 2", "pooled")), rows)
