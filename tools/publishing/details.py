"""What the page reports of single experiments: graphs, students, corruptions, attacks, embeddings in the plane."""

from typing import Any

import pandas as pd

from lgg.evaluation.reference_levels import reference_levels
from lgg.losses import LabelVariation
from lgg.reporting.measures import AGREEMENT, ERROR, FGSM_PIXELS, PGD, TRANSFER_FGSM, TRANSFER_PGD
from lgg.reporting.statistics import paired_difference
from publishing.claims import less
from publishing.places import PLANE_ERRORS
from publishing.published_run import Published, PublishedRun
from publishing.text import NOT_YET, markdown, number, with_interval

PLANE = "figureA1/label_variation"  # the network of Figure A1's upper row


def depth(published: Published) -> str:
    """Return the label variation at the depths of Figure 2, over its draws."""
    if (geometry := published.main.geometry) is None:
        return NOT_YET
    frame = pd.DataFrame(geometry["label_variation"])
    rows = [(str(name), number(frame[name].mean(), 3), number(frame[name].std(), 3)) for name in frame]
    first, last = frame.columns[0], frame.columns[-1]
    fell = int((frame[last] < frame[first]).sum())
    return (
        markdown(("depth", "label variation, share of all weights: mean", "standard deviation over draws"), rows)
        + f"\nSmaller at {last} than at {first} in {fell} of {len(frame)} draws of images. {first_draw(geometry)}\n"
    )


def first_draw(geometry: dict[str, Any]) -> str:
    """Return what the draw that Figure 2 shows has at each depth, and its rank among all draws."""
    shown = [f"{name} {number(depth['label_variation'])}" for name, depth in geometry["shown"]["depths"].items()]
    last = pd.Series(list(geometry["label_variation"].values())[-1])
    rank = int((last > last[0]).sum()) + 1
    ordinal = "the largest" if rank == 1 else f"number {rank} from the top"
    return f"The first draw, which Figure 2 shows, has {', '.join(shown)}; at the end that is {ordinal} of all draws."


def agreement(published: Published) -> str:
    """Return how Hinton's students compare with GKD's, which the paper does not claim."""
    student = published.main.student
    parts = [
        f"{measure.name} {with_interval(paired_difference(student('hinton', measure.name), student('gkd', measure.name)))}"
        for measure in (AGREEMENT, ERROR)
    ]
    return f"Hinton's students less GKD's, in points: {', '.join(parts)}.\n"


def by_corruption(published: Published) -> str:
    """Return the regularizer's error less the baseline's under each corruption, and how often embeddings err more."""
    run = published.main
    if not run.has("table3"):
        return NOT_YET
    means = {
        name: run.corrupted(name).groupby(["corruption", "seed"], sort=False)["error"].mean()
        for name in ("regularizer", "baseline")
    }
    clean = {name: found["none"].to_dict() for name, found in means.items()}
    rows = []
    for name in dict.fromkeys(means["baseline"].index.get_level_values(0).drop("none")):
        error = {method: found[name].to_dict() for method, found in means.items()}
        rise = {method: less(error[method], clean[method]) for method in error}
        compared = [paired_difference(one["regularizer"], one["baseline"]) for one in (error, rise)]
        rows.append((name.replace("_", " "), *map(with_interval, compared)))
    header = ("corruption", "error (points)", "its rise over the clean error (points)")
    return markdown(header, rows) + _embeddings_under_corruption(run)


def _embeddings_under_corruption(run: PublishedRun) -> str:
    """Return under how many corruptions label variation's embeddings err more often than cross-entropy's."""
    if not run.has("table2"):
        return ""
    found = run.seeds("embedding", "corruptions").query("severity > 0")
    pairs = (("label_variation", "nearest_neighbours"), ("cross_entropy", "own"))
    ours, theirs = (
        found.query("method == @method and classifier == @classifier").groupby("corruption")["error"].mean()
        for method, classifier in pairs
    )
    more = int((ours > theirs).sum())
    return (
        f"\nEmbeddings by label variation err more often than cross-entropy's under {more} of the {len(ours)} corruptions, "
        "means over severities and seeds.\n"
    )


#: each attack by a network's own gradient, and the same crafted on another network
ATTACKS = (("FGSM on pixels, 33 dB", FGSM_PIXELS, TRANSFER_FGSM), ("PGD, 20 steps", PGD, TRANSFER_PGD))


def masking(published: Published) -> str:
    """Return the errors under attacks with a network's own gradient, and under the same attacks from another network."""
    run = published.main
    if not run.has("table3"):
        return NOT_YET
    rows = []
    for name, row in run.table("table3").items():
        for title, own, transferred in ATTACKS:
            found = run.attacked(name, own), run.attacked(name, transferred)
            means = (number(float(pd.Series(errors).mean())) for errors in found)
            rows.append((row["label"], title, *means, with_interval(paired_difference(*found))))
    header = ("method", "attack", "error by its own gradient (%)", "by another network's (%)", "difference")
    return markdown(header, rows)


def plane(published: Published) -> str:
    """Return the loss of Figure A1's upper row, its reference levels, and the errors in the plane, of both rows."""
    run = published.main
    recipes = [about["recipe"] for _, network, about in run.metrics() if network.method == PLANE]
    if run.settings["embedding"] is None or not recipes:
        return NOT_YET
    history = run.rows("embedding", "history")
    loss = history.loc[history["method"] == PLANE, "embedding"]
    text = f"Loss of label variation in the plane: {number(loss.iloc[0], 3)} in the first epoch"
    text += f", {number(loss.iloc[-1], 3)} in the last"
    criterion = LabelVariation(**recipes[0]["options"])
    if criterion.normalize_embeddings:
        levels = reference_levels(
            criterion,
            classes=len(run.provenance["data"]["train"]["classes"]),
            dimensions=recipes[0]["dimensions"],
            batch_size=recipes[0]["training"]["batch_size"],
        )
        text += f"; outputs spread evenly, whatever their class, have {number(levels.even, 3)}"
        text += f", classes that are perfectly apart {number(levels.apart, 3)}"
    return f"{text}.\n" + _plane_errors(run)


def _plane_errors(run: PublishedRun) -> str:
    """Return the table of errors of 10 nearest neighbours in the plane, one row per row of the figure, if it is published."""
    path = run.folder / PLANE_ERRORS
    if not path.is_file():
        return ""
    errors = pd.read_csv(path)
    epochs = sorted(errors["epoch"].unique())
    rows = [
        (str(label), *(number(float(own.loc[own["epoch"] == epoch, "error"].iloc[0])) for epoch in epochs))
        for label, own in errors.groupby("label", sort=False)
    ]
    header = (
        "error of 10 nearest neighbours in the plane (%)",
        *("before training" if epoch == 0 else f"epoch {epoch}" for epoch in epochs),
    )
    return f"\n{markdown(header, rows)}"
