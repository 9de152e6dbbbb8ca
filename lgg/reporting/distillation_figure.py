"""Table 1 as a picture: how well students do, and how much they agree with their teacher (Section 4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lgg.reporting.distillation_table import TEACHER
from lgg.reporting.figures import PAGE_WIDTH, as_text, look_of, set_style


def draw_agreement(rows: Sequence[Mapping[str, Any]], evaluations: Mapping[str, pd.DataFrame]) -> Figure:
    """Return the error against the agreement with the teacher, a small mark for each seed, a large one for the mean.

    Args:
        rows: in order; each with `name` and `label`.
        evaluations: by name, a row a seed with `error` and `agreement` in percent. Without a teacher there is no
            agreement, and errors stand side by side.
    """
    set_style()
    figure, axis = plt.subplots(figsize=(0.65 * PAGE_WIDTH, 3.4))
    students = [row for row in rows if row["name"] != TEACHER]
    labels = [row["label"] for row in students]
    agree = all(evaluations[row["name"]]["agreement"].notna().all() for row in students)
    for place, row in enumerate(students):
        evaluation, look = evaluations[row["name"]], look_of(labels, row["label"])
        x = evaluation["agreement"] if agree else pd.Series(place, index=evaluation.index)
        axis.scatter(x, evaluation["error"], color=look["color"], marker=look["marker"], s=10, alpha=0.5, linewidth=0)
        axis.scatter(
            [x.mean()],
            [evaluation["error"].mean()],
            color=look["color"],
            marker=look["marker"],
            s=55,
            label=look["label"],
        )
    if TEACHER in evaluations:
        error = evaluations[TEACHER]["error"].iloc[0]
        label = next(row["label"] for row in rows if row["name"] == TEACHER)
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
