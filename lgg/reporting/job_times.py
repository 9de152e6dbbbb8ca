"""The cost of jobs: how long the jobs of each rule took to start, to work and to write files.

A job's wall time is in Snakemake's benchmark, RUN/benchmarks/RULE/JOB.tsv or RUN/benchmarks/RULE.tsv; its times of work and
writing are in the last line that `lgg.pipeline.job` prints to the log of the same name in RUN/logs.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lgg.reporting.figures import PALETTE, save_figure, set_style
from lgg.reporting.tables import FORMS, bold, number_cell, write_forms

SPLIT = re.compile(r"^job: ([0-9.]+) s of work and ([0-9.]+) s of writing$", re.MULTILINE)
BENCHMARK = {"s": "seconds", "cpu_time": "cpu_seconds", "max_rss": "max_rss_mb"}  # Snakemake's names and ours
PARTS = {"start_up": "start-up", "work": "work", "writing": "writing"}
COLUMNS = ("rule", "job", "seconds", *PARTS, "cpu_seconds", "max_rss_mb")
ALL = "all"

COLORS = {"start_up": PALETTE[7], "work": PALETTE[0], "writing": PALETTE[1]}  # grey, blue, orange
COLUMN_WIDTH = 3.5  # inches, of a page with two columns
FONT = 7  # points


def write(folder: Path) -> None:
    """Write `folder`/tables/job_times.* and figures/job_times.* of the run in `folder`, each atomically.

    Benchmarks that cannot be read are left out and named below the table. If there are no others, nothing is written.
    """
    jobs, damaged = read_jobs(folder)
    if jobs.empty:
        return
    table = folder / "tables" / "job_times"
    files = {form: table.with_suffix(f".{form}") for form in FORMS}
    write_job_times(jobs, damaged, files)
    figure = folder / "figures" / "job_times"
    save_figure(draw_job_times(by_rule(jobs)), figure.with_suffix(".pdf"), figure.with_suffix(".png"))


# --- reading --------------------------------------------------------------------------------------------------------


def read_jobs(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the jobs of the run in `folder`, one row each, and the names of benchmarks that cannot be read.

    Columns: `rule` and `job` (empty for a rule of one job); `seconds` of wall time and its parts `start_up`, `work` and
    `writing`, NaN if the log does not report them; `cpu_seconds` and `max_rss_mb` as sampled by Snakemake, NaN if it could
    not. The start-up is the wall time minus the other two: shell, interpreter, imports and shutdown.
    """
    rows, damaged = [], []
    benchmarks = folder / "benchmarks"
    for path in sorted(benchmarks.rglob("*.tsv")):
        name = path.relative_to(benchmarks).with_suffix("")
        measured = _read_benchmark(path)
        if measured is None:
            damaged.append(name.as_posix())
            continue
        split = _read_split(folder / "logs" / f"{name}.log", measured["seconds"])
        job = "/".join(name.parts[1:])
        rows.append({"rule": name.parts[0], "job": job, **dict(zip(PARTS, split, strict=True)), **measured})
    return pd.DataFrame(rows, columns=list(COLUMNS)), damaged


def _read_benchmark(path: Path) -> dict[str, float] | None:
    """Return Snakemake's measurements of a job under our names, or None if the file is not one of its benchmarks."""
    try:
        table = pd.read_csv(path, sep="\t").reindex(columns=list(BENCHMARK)).rename(columns=BENCHMARK)
        (row,) = table.apply(pd.to_numeric, errors="coerce").to_dict("records")
    except (OSError, ValueError):
        return None
    measured = {str(name): float(value) for name, value in row.items()}
    return measured if math.isfinite(measured["seconds"]) else None


def _read_split(log: Path, seconds: float) -> tuple[float, float, float]:
    """Return start-up, work and writing of a job of `seconds`; all NaN if its log does not report them."""
    try:
        found = SPLIT.findall(log.read_text(encoding="utf-8", errors="replace"))
        work, writing = map(float, found[-1])
    except (OSError, IndexError, ValueError):
        return math.nan, math.nan, math.nan
    start_up = seconds - work - writing
    # a log whose times exceed the job's belongs to another attempt than the benchmark
    return (start_up, work, writing) if start_up >= 0 else (math.nan, math.nan, math.nan)


# --- the table ------------------------------------------------------------------------------------------------------


def by_rule(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per rule, the most expensive first, and a last row "all" of all jobs together.

    Args:
        jobs: as `read_jobs` gives them.

    Columns: `rule`; `jobs` and how many of them are `split`; the medians of a job's `seconds`, `start_up`, `work` and
    `writing`, NaN where no job is split; `total_seconds`, the sum; `max_rss_mb`, the largest.
    """
    rules = [_together(str(rule), own) for rule, own in jobs.groupby("rule")]
    rules.sort(key=lambda row: -float(row["total_seconds"]))
    return pd.DataFrame([*rules, _together(ALL, jobs)])


def _together(rule: str, jobs: pd.DataFrame) -> dict[str, str | float]:
    return {
        "rule": rule,
        "jobs": len(jobs),
        "split": int(jobs["work"].notna().sum()),
        **{name: float(jobs[name].median()) for name in ("seconds", *PARTS)},
        "total_seconds": float(jobs["seconds"].sum()),
        "max_rss_mb": float(jobs["max_rss_mb"].max()),
    }


def write_job_times(jobs: pd.DataFrame, damaged: Sequence[str], files: Mapping[str, Path]) -> None:
    """Write the table, each form atomically: one row per job in the CSV, one row per rule in the others.

    `jobs` and `damaged` are as `read_jobs` gives them.
    """
    rules = by_rule(jobs)
    shown = pd.DataFrame(
        {
            "Rule": [bold(rule) if rule == ALL else rule for rule in rules["rule"]],
            "Jobs": rules["jobs"],
            "Start-up (s)": _cells(rules["start_up"], 2),
            "Work (s)": _cells(rules["work"], 2),
            "Writing (s)": _cells(rules["writing"], 2),
            "Job (s)": _cells(rules["seconds"], 2),
            "Total (s)": _cells(rules["total_seconds"], 1),
            "Memory (MB)": _cells(rules["max_rss_mb"], 0),
        }
    )
    legend = [
        "Medians of a job's wall time in seconds, whole and in parts, each job as it last ran in this folder. Writing: making "
        "the bytes of its files and writing them to disk; figures are drawn then too. Work: the rest of the stage, "
        "reading and late imports included. Start-up: what Snakemake measured beyond these: shell, interpreter, imports, "
        "the process's end. Total: the sum over jobs, of which several may have run at once. Memory: the most that a job used. "
        f"{bold(ALL)}: all jobs together.",
        *_sums(jobs),
    ]
    if damaged:
        legend.append(f"Left out, since their benchmarks cannot be read: {', '.join(damaged)}.")
    write_forms(jobs, [(None, shown)], legend, title="What the jobs cost", files=files)


def _cells(values: "pd.Series[float]", digits: int) -> list[str]:
    return [number_cell(value, f"{{:,.{digits}f}}") for value in values]


def _sums(jobs: pd.DataFrame) -> list[str]:
    """Return the sums of the parts of the jobs, and which jobs are in none."""
    split, whole = jobs[jobs["work"].notna()], jobs[jobs["work"].isna()]
    notes = []
    if len(split):
        sums = split[["seconds", *PARTS]].sum()
        shares = {name: 100 * sums[name] / sums["seconds"] for name in PARTS}
        parts = [f"{label} {sums[name]:,.1f} s ({shares[name]:.1f} %)" for name, label in PARTS.items()]
        jobs_and_seconds = f"{len(split):,} {'job' if len(split) == 1 else 'jobs'} with {sums['seconds']:,.1f} s in all"
        notes.append(f"Of {jobs_and_seconds}: {parts[1]}, {parts[0]}, {parts[2]}.")
    if len(whole) and len(split):
        names = [f"{rule}/{job}" if job else rule for rule, job in zip(whole["rule"], whole["job"], strict=True)]
        notes.append(f"In no part and no median of one, since their logs do not report them: {', '.join(names)}.")
    elif len(whole):
        notes.append("No job's log reports its parts.")
    return notes


# --- the figure -----------------------------------------------------------------------------------------------------


def draw_job_times(rules: pd.DataFrame) -> Figure:
    """Return one bar per rule, top down: the median start-up, work and writing of a job, and the number of jobs.

    A rule without split jobs has one bar of the median seconds.

    Args:
        rules: as `by_rule` gives them; "all" has no bar.
    """
    set_style()
    rules = rules[rules["rule"] != ALL]
    split = rules["split"] > 0
    places = pd.Series(range(len(rules)), index=rules.index)
    figure, axis = plt.subplots(figsize=(COLUMN_WIDTH, 0.8 + 0.16 * len(rules)))
    ends = pd.Series(0.0, index=rules.index)
    for name, label in PARTS.items():
        if split.any():
            lengths = rules.loc[split, name]
            axis.barh(places[split], lengths, left=ends[split], color=COLORS[name], linewidth=0, label=label)
            ends[split] += lengths
    if not split.all():
        ends[~split] = rules.loc[~split, "seconds"]
        look: dict[str, Any] = {"color": "white", "edgecolor": COLORS["start_up"], "hatch": "////", "linewidth": 0.5}
        axis.barh(places[~split], ends[~split], **look, label="undivided")
    for place, end, count in zip(places, ends, rules["jobs"], strict=True):
        axis.annotate(f"× {count}", (end, place), (2, 0), textcoords="offset points", va="center", fontsize=FONT - 1)
    axis.set_yticks(places, rules["rule"], fontsize=FONT)
    axis.set_ylim(len(rules) - 0.4, -0.6)
    axis.set_xlim(0, 1.12 * max(ends.max(), 1e-9))
    axis.tick_params(axis="x", labelsize=FONT)
    axis.set_xlabel("seconds of a job (median); × jobs", fontsize=FONT + 1)
    figure.legend(loc="outside lower center", ncols=len(PARTS) + 1, frameon=False, fontsize=FONT, columnspacing=1.0)
    sns.despine(figure)
    return figure
