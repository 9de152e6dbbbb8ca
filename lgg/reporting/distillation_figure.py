"""Table 1 as a figure: the students' errors and their agreement with the teacher (Section 4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lgg.reporting.figures import PAGE_WIDTH, as_text, look_of, set_style
from lgg.reporting.measures import AGREEMENT, ERROR


def draw_agreement(
    rows: Sequence[Mapping[str, Any]], evaluations: Mapping[str, pd.DataFrame], teacher: str | None
) -> Figure:
    """Return the error against the agreement with the teacher: a small mark for each seed, a large one for the mean.

    Args:
        rows: in order; each with `name` and `label`.
        evaluations: by name, one row per seed with `error` and `agreement` in percent, and `images`. Without a teacher
            there is no agreement, and errors are drawn side by side.
        teacher: name of the teacher's row; None if there is no teacher.
    """
    set_style()
    figure, axis = plt.subplots(figsize=(0.65 * PAGE_WIDTH, 3.4))
    students = [row for row in rows if row["name"] != teacher]
    labels = [row["label"] for row in students]
    agree = all(evaluations[row["name"]][AGREEMENT.name].notna().all() for row in students)
    for place, row in enumerate(students):
        evaluation, look = evaluations[row["name"]], look_of(labels, row["label"])
        x = evaluation[AGREEMENT.name] if agree else pd.Series(place, index=evaluation.index)
        axis.scatter(
            x, evaluation[ERROR.name], color=look["color"], marker=look["marker"], s=10, alpha=0.5, linewidth=0
        )
        axis.scatter(
            [x.mean()],
            [evaluation[ERROR.name].mean()],
            color=look["color"],
            marker=look["marker"],
            s=55,
            label=look["label"],
        )
    if teacher is not None:
        error = evaluations[teacher][ERROR.name].iloc[0]
        label = next(row["label"] for row in rows if row["name"] == teacher)
        axis.axhline(error, color="0.4", linestyle="--", linewidth=1, label=f"{as_text(label)}, its error")
    if not agree:
        axis.set_xticks([])
    seeds = sorted({len(evaluations[row["name"]]) for row in students})
    images = evaluations[students[0]["name"]]["images"].iloc[0]
    drawn = "one seed" if seeds == [1] else f"means (large) of {' or '.join(map(str, seeds))} seeds (small)"
    title = f"{drawn}, {images:,} test images"
    axis.set(xlabel="same class as the teacher (% of test images)" if agree else "", ylabel="test error (%)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title=title)
    sns.despine(figure)
    return figure
