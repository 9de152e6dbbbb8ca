import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lgg.pipeline.job import run
from lgg.reporting import job_times
from lgg.reporting.job_times import by_rule, draw_job_times, read_jobs, write

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def add(folder, name, seconds, log=None, *, memory="600.5", cpu="2.25"):
    """Write what a job leaves: its benchmark and, if given, its log."""
    benchmark = folder / "benchmarks" / f"{name}.tsv"
    benchmark.parent.mkdir(parents=True, exist_ok=True)
    benchmark.write_text(f"{HEADER}{seconds}\t0:00:06\t{memory}\t3349.25\t377.52\t504.41\t3.47\t0.32\t84.99\t{cpu}\n")
    if log is not None:
        path = folder / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(log)


def reported(work, writing):
    return f"epoch 1/3: loss 1.8\njob: {work:.2f} s of work and {writing:.2f} s of writing\n"


@pytest.fixture
def folder(tmp_path):
    """Return a run of three rules: three training runs, one of them with unknown parts, a table, and a method called a.b."""
    add(tmp_path, "train/gkd_seed0", 6.0, reported(4.0, 0.5))
    add(tmp_path, "train/gkd_seed1", 8.0, reported(5.0, 0.75), memory="700")
    add(tmp_path, "train/old_seed0", 50.0, "epoch 1/3: loss 1.8\n", memory="500")
    add(tmp_path, "assemble_table1", 0.5, reported(0.1, 0.02), memory="NA", cpu="NA")
    add(tmp_path, "evaluate/a.b", 3.0, reported(1.0, 0.03), memory="1100")
    return tmp_path


def rows(folder):
    jobs, damaged = read_jobs(folder)
    assert damaged == []
    return jobs.set_index(["rule", "job"])


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_job_is_named_by_its_rule_and_the_rest_of_its_path(folder):
    assert rows(folder).index.tolist() == [
        ("assemble_table1", ""),
        ("evaluate", "a.b"),
        ("train", "gkd_seed0"),
        ("train", "gkd_seed1"),
        ("train", "old_seed0"),
    ]


def test_start_up_is_what_the_wall_time_has_beyond_work_and_writing(folder):
    jobs = rows(folder)
    assert jobs.loc[("train", "gkd_seed0"), ["start_up", "work", "writing"]].tolist() == [1.5, 4.0, 0.5]
    split = jobs.dropna(subset="work")
    assert len(split) == 4
    np.testing.assert_allclose(split[["start_up", "work", "writing"]].sum(axis=1), split["seconds"])


def test_what_snakemake_could_not_sample_is_unknown(folder):
    jobs = rows(folder)
    assert jobs.loc[("train", "gkd_seed0"), ["cpu_seconds", "max_rss_mb"]].tolist() == [2.25, 600.5]
    assert jobs.loc[("assemble_table1", ""), ["cpu_seconds", "max_rss_mb"]].isna().all()


def test_the_line_is_the_one_that_stages_print(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["stage", "--recipe", "{}", "--out-model", "m"])
    run(lambda _: print("epoch 1/3"), outputs=["model"])
    out, err = capfd.readouterr()
    add(tmp_path, "train", 6.0, out + err)
    work, writing = rows(tmp_path).loc[("train", ""), ["work", "writing"]]
    assert f"job: {work:.2f} s of work and {writing:.2f} s of writing\n" in err


def test_the_last_line_counts(tmp_path):
    add(tmp_path, "train", 6.0, reported(1.0, 0.25) + reported(4.0, 0.5) + "a warning at the end\n")
    assert rows(tmp_path).loc[("train", ""), ["work", "writing"]].tolist() == [4.0, 0.5]


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(None, id="no log"),
        pytest.param("", id="empty"),
        pytest.param("error: the disk is full\n", id="without the line"),
        pytest.param("said of the job: 1.00 s of work and 0.10 s of writing\n", id="other words"),
        pytest.param("job: 1.0.0 s of work and 0.10 s of writing\n", id="no number"),
        pytest.param(reported(5.9, 0.2), id="of a longer attempt"),
    ],
)
def test_a_log_that_does_not_tell_leaves_the_parts_unknown(tmp_path, log):
    add(tmp_path, "train", 6.0, log)
    job = rows(tmp_path).loc[("train", "")]
    assert job["seconds"] == 6.0
    assert job[["start_up", "work", "writing"]].isna().all()


def test_a_log_may_hold_bytes_that_are_no_text(tmp_path):
    add(tmp_path, "train", 6.0, "")
    (tmp_path / "logs" / "train.log").write_bytes(b"\xff\xfe\n" + reported(4.0, 0.5).encode())
    assert rows(tmp_path).loc[("train", ""), "work"] == 4.0


DAMAGED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"no benchmark", id="text"),
    pytest.param(HEADER.encode(), id="cut off"),
    pytest.param(b"max_rss\tcpu_time\n1\t1\n", id="without seconds"),
    pytest.param(b"s\tmax_rss\tcpu_time\nNA\t1\t1\n", id="seconds unknown"),
    pytest.param(b"s\tmax_rss\tcpu_time\n1\t1\t1\n2\t1\t1\n", id="two rows"),
    pytest.param(b"s\n1\t2\n3\t4\t5\t6\n", id="ragged"),
    pytest.param(b"\xff\xfe\x00\x01", id="no text"),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_benchmark_is_left_out_and_named(folder, content):
    (folder / "benchmarks" / "train" / "bad.tsv").write_bytes(content)
    jobs, damaged = read_jobs(folder)
    assert damaged == ["train/bad"]
    assert len(jobs) == 5
    write(folder)
    text = (folder / "tables" / "job_times.md").read_text(encoding="utf-8")
    assert "Left out, since their benchmarks cannot be read: train/bad." in text


# --- the table ----------------------------------------------------------------------------------------------------


def test_rules_have_medians_sums_and_the_largest(folder):
    table = by_rule(read_jobs(folder)[0]).set_index("rule")
    train = table.loc["train"]
    assert (train["jobs"], train["split"]) == (3, 2)
    assert train[["start_up", "work", "writing"]].tolist() == [1.875, 4.5, 0.625]
    # the median of all three, whose parts are known or not
    assert train["seconds"] == 8.0
    assert (train["total_seconds"], train["max_rss_mb"]) == (64.0, 700.0)
    assert math.isnan(table["max_rss_mb"]["assemble_table1"])


def test_the_most_expensive_rule_comes_first_and_all_of_them_last(folder):
    assert by_rule(read_jobs(folder)[0])["rule"].tolist() == ["train", "evaluate", "assemble_table1", "all"]


def test_the_last_row_takes_all_jobs_together(folder):
    table = by_rule(read_jobs(folder)[0])
    *rules, together = table.to_dict("records")
    for name in ("jobs", "split", "total_seconds"):
        assert together[name] == pytest.approx(sum(rule[name] for rule in rules))
    assert together["max_rss_mb"] == 1100.0
    assert together["work"] == 2.5  # of 0.1, 1, 4 and 5


def test_the_table_has_one_row_per_rule_with_sums_and_shares(folder):
    write(folder)
    text = (folder / "tables" / "job_times.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert lines[2:] == [
        ["train", "3", "1.88", "4.50", "0.62", "8.00", "64.0", "700"],
        ["evaluate", "1", "1.97", "1.00", "0.03", "3.00", "3.0", "1,100"],
        ["assemble_table1", "1", "0.38", "0.10", "0.02", "0.50", "0.5", "–"],
        ["**all**", "5", "1.73", "2.50", "0.27", "6.00", "67.5", "1,100"],
    ]
    # 6 + 8 + 0.5 + 3 seconds in all
    assert "Of 4 jobs with 17.5 s in all: work 10.1 s (57.7 %), start-up 6.1 s (34.9 %), writing 1.3 s (7.4 %)." in text
    assert "since their logs do not report them: train/old_seed0." in text
    assert "Left out" not in text


def test_the_csv_has_a_row_a_job(folder):
    write(folder)
    table = pd.read_csv(folder / "tables" / "job_times.csv", keep_default_na=False, na_values={"work": [""]})
    assert table.columns.tolist() == [
        *("rule", "job", "seconds", "start_up", "work", "writing", "cpu_seconds", "max_rss_mb"),
    ]
    assert table["job"].tolist() == ["", "a.b", "gkd_seed0", "gkd_seed1", "old_seed0"]
    assert table["work"].tolist()[:-1] == [0.1, 1.0, 4.0, 5.0]


# --- the figure ---------------------------------------------------------------------------------------------------


def bars(axis):
    """Return, by label of the legend, the left end and the length of each bar by its place from above."""
    return {
        container.get_label(): {
            round(bar.get_y() + bar.get_height() / 2): (bar.get_x(), bar.get_width()) for bar in container
        }
        for container in axis.containers
    }


def test_bars_are_as_long_as_in_the_table_and_follow_each_other(folder):
    table = by_rule(read_jobs(folder)[0])
    figure = draw_job_times(table)
    axis = figure.axes[0]
    drawn = bars(axis)
    assert list(drawn) == ["start-up", "work", "writing"]
    for place, row in table.iloc[:-1].reset_index().iterrows():
        ends = np.cumsum([0.0, row["start_up"], row["work"], row["writing"]])
        for left, end, label in zip(ends[:-1], ends[1:], drawn, strict=True):
            assert drawn[label][place] == pytest.approx((left, end - left))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["train", "evaluate", "assemble_table1"]
    assert axis.yaxis_inverted()
    assert [text.get_text() for text in axis.texts] == ["× 3", "× 1", "× 1"]
    assert axis.get_xlim()[1] > 7.0
    plt.close(figure)


def test_a_rule_without_known_parts_has_a_single_bar(tmp_path):
    add(tmp_path, "train", 6.0, reported(4.0, 0.5))
    add(tmp_path, "old/one", 20.0)
    add(tmp_path, "old/other", 30.0)
    figure = draw_job_times(by_rule(read_jobs(tmp_path)[0]))
    drawn = bars(figure.axes[0])
    assert drawn["undivided"] == {0: (0.0, 25.0)}
    assert drawn["work"] == {1: (1.5, 4.0)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*job_times.PARTS.values(), "undivided"]
    plt.close(figure)


# --- files --------------------------------------------------------------------------------------------------------


def test_a_run_gets_its_table_and_its_figure(folder):
    write(folder)
    made = {path.relative_to(folder).as_posix() for kind in ("tables", "figures") for path in (folder / kind).iterdir()}
    assert made == {
        *(f"tables/job_times.{kind}" for kind in ("csv", "md", "tex", "html")),
        *(f"figures/job_times.{kind}" for kind in ("pdf", "png")),
    }
    with Image.open(folder / "figures" / "job_times.png") as image:
        assert image.width == 200 * job_times.COLUMN_WIDTH
    assert not plt.get_fignums()


def test_a_run_whose_logs_lack_these_lines_has_totals(tmp_path):
    add(tmp_path, "train/a", 6.0, "")
    add(tmp_path, "train/b", 8.0)
    write(tmp_path)
    text = (tmp_path / "tables" / "job_times.md").read_text(encoding="utf-8")
    assert "No job's log reports its parts." in text
    assert "14.0" in text
    assert (tmp_path / "figures" / "job_times.pdf").exists()


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_without_a_benchmark_nothing_is_written(tmp_path, content):
    if content is not None:
        (tmp_path / "benchmarks").mkdir()
        (tmp_path / "benchmarks" / "train.tsv").write_bytes(content)
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"benchmarks"}
