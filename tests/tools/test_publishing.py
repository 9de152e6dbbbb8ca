"""Publishing a run, and restoring it from what was published."""

import io
import json
import shutil
from pathlib import PurePosixPath

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing import write
from publishing.long_files import METRICS, Network, join, json_text, merged, split
from publishing.restore import restore, small_again
from publishing.write import publish

from lgg.reporting.job_times import read_jobs

# --- long files -------------------------------------------------------------------------------------------------------

FEW = settings(deadline=None, max_examples=30)
NAMES = st.sampled_from(["gkd", "rkd_d", "teacher", "figureA1/label_variation", "seeds", "seed"])
NETWORKS = st.builds(Network, NAMES, st.none() | st.integers(0, 2000))
COLUMNS = ("epoch", "loss", "task", "distillation", "train_error")
CELLS = st.sampled_from(["", "0.1", "1e-05", "-3", "none", "a, b", 'so "named"', "0.30000000000000004"])


@st.composite
def tables(draw):
    """Return a CSV table with some of the columns, in their order."""
    columns = [name for name in COLUMNS if draw(st.booleans())] or ["epoch"]
    row = st.lists(CELLS, min_size=len(columns), max_size=len(columns))
    rows = draw(st.lists(row, min_size=1, max_size=3))
    frame = pd.DataFrame(rows, columns=columns, dtype=str)
    return frame.to_csv(index=False, lineterminator="\n", quotechar='"')


@FEW
@given(NETWORKS)
def test_a_network_has_the_name_of_its_folder(network):
    assert Network.of(PurePosixPath(network.folder)) == network


@FEW
@given(st.dictionaries(NETWORKS, tables(), min_size=1, max_size=5))
def test_small_tables_are_restored_from_the_long_one_with_the_same_text(files):
    assert split("history.csv", join("history.csv", files)) == files


@FEW
@given(st.dictionaries(NETWORKS, tables(), min_size=1, max_size=5))
def test_the_long_table_has_the_rows_of_the_small_ones(files):
    def read(text):
        return pd.read_csv(io.StringIO(text), dtype=str, skip_blank_lines=False)

    long = read(join("history.csv", files))
    for network, text in files.items():
        seed = long["seed"].isna() if network.seed is None else long["seed"] == str(network.seed)
        own = long[(long["method"] == network.method) & seed].reset_index(drop=True)
        small = read(text)
        pd.testing.assert_frame_equal(own[small.columns], small)
        assert own.drop(columns=["method", "seed", *small.columns]).isna().all(axis=None)


@FEW
@given(st.lists(st.lists(st.sampled_from(COLUMNS), unique=True).map(lambda names: sorted(names, key=COLUMNS.index))))
def test_columns_keep_the_order_of_each_table(headers):
    columns = merged(headers)
    assert sorted(columns) == sorted({name for header in headers for name in header})
    for header in headers:
        assert [name for name in columns if name in header] == header


@pytest.mark.parametrize(
    "text",
    ["epoch,loss\n", "epoch,loss\nNA,1\n", "epoch,loss\r\n1,2\r\n", 'epoch,loss\n"1",2\n'],
    ids=["no rows", "the mark of an absent cell", "other ends of lines", "needless quotes"],
)
def test_a_table_that_could_not_be_restored_is_refused(text):
    files = {Network("gkd", 1): text, Network("gkd", 2): "epoch,loss\n1,2\n"}
    with pytest.raises(ValueError, match=r"gkd/seed1/history\.csv cannot be kept"):
        join("history.csv", files)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@FEW
@given(st.dictionaries(NETWORKS, st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=4))
def test_metrics_are_restored_with_the_same_text(metrics):
    files = {network: json_text(content) for network, content in metrics.items()}
    long = join(METRICS, files)
    assert long.count("\n") == len(files)
    assert split(METRICS, long) == files


# --- publishing -------------------------------------------------------------------------------------------------------

COPIES = {
    "tables/table1.csv", "tables/table1.md", "tables/job_times.csv", "figures/table1.png", "figures/figureA1.png",
    "figures/figureA1.pdf", "distillation/teacher/predictions.safetensors", "embedding/figureA1/errors.csv",
    "geometry/geometry.json", "timing/times.csv",
}  # fmt: skip
# the teacher's, the first seed's students, attacks' source, and one that nothing has evaluated
MODELS = {
    f"{network}/model.safetensors"
    for network in (
        "distillation/teacher", "distillation/baseline/seed2", "distillation/gkd/seed2", "robustness/baseline/seed1000",
    )
}  # fmt: skip
LONG = {
    *(f"{section}/{name}" for section in ("geometry", "distillation", "embedding", "robustness")
      for name in ("history.csv", "metrics.jsonl")),
    "distillation/evaluation.csv", "robustness/evaluation.csv",
}  # fmt: skip
ABOUT = {"provenance.json", "configuration.yaml"}


def texts(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()
    }


def test_one_form_of_each_result_is_published(run, published):
    publish(run, published.folder)
    found = texts(published.folder / "mine")
    assert set(found) == COPIES | MODELS | LONG | ABOUT
    before = texts(run)
    assert all(found[name] == before[name] for name in COPIES | MODELS)
    assert yaml.safe_load(found["configuration.yaml"])["seeds"] == [2, 1]


def test_a_run_of_a_former_version_is_refused_with_what_is_wrong_and_what_to_do(run, published):
    provenance = json.loads((run / "provenance.json").read_text("utf-8"))
    provenance["configuration"]["distillation"]["seeds_per_job"] = 1
    (run / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(
        SystemExit, match=r"provenance.json: (.|\n)*seeds_per_job: .*networks_per_job(.|\n)*run Snakemake"
    ):
        publish(run, published.folder)
    assert not (published.folder / "mine").exists()


def test_without_models_everything_else_is_published(run, published):
    (run / "robustness/baseline/seed1000/model.safetensors").unlink()
    publish(run, published.folder, with_models=False)
    assert set(texts(published.folder / "mine")) == COPIES | LONG | ABOUT


def test_what_was_published_before_is_replaced(run, published):
    publish(run, published.folder)
    (run / "tables/table1.csv").unlink()
    (run / "tables/table2.csv").touch()
    publish(run, published.folder)
    found = set(texts(published.folder / "mine"))
    assert "tables/table2.csv" in found and "tables/table1.csv" not in found
    assert sorted(path.name for path in run.parent.iterdir()) == ["mine", "published"]


def test_a_run_that_has_not_ended_is_refused_and_nothing_is_lost(run, published):
    publish(run, published.folder)
    before = texts(published.folder)
    (run / "provenance.json").unlink()
    with pytest.raises(SystemExit, match=r"provenance\.json does not exist"):
        publish(run, published.folder)
    assert texts(published.folder) == before


def test_a_table_that_cannot_be_kept_is_named_and_nothing_is_lost(run, published):
    publish(run, published.folder)
    before = texts(published.folder)
    (run / "distillation/gkd/seed1/history.csv").write_text("epoch,loss\n")
    with pytest.raises(SystemExit, match=r"mine/distillation: gkd/seed1/history\.csv cannot be kept"):
        publish(run, published.folder)
    assert texts(published.folder) == before


def test_a_run_without_a_network_that_is_published_is_refused(run, published):
    (run / "robustness/baseline/seed1000/model.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"seed1000/model\.safetensors does not exist"):
        publish(run, published.folder)
    assert not (published.folder / "mine").exists()


def test_models_that_are_too_large_are_refused(run, published, monkeypatch):
    monkeypatch.setattr(write, "MOST_MODELS", 10)
    with pytest.raises(SystemExit, match="more than 10; --without-models"):
        publish(run, published.folder)
    assert not (published.folder / "mine").exists()


# --- restoring --------------------------------------------------------------------------------------------------------

#: what of a run is read again after restoring
READ = ("history.csv", "metrics.json", "evaluation.csv", "predictions.safetensors", "provenance.json", "geometry.json",
        "timing/times.csv", "figureA1.png", "figureA1.pdf", "figureA1/errors.csv")  # fmt: skip


def test_a_restored_run_has_the_published_files_again(run, published):
    before = texts(run)
    publish(run, published.folder)
    shutil.rmtree(run)
    run.mkdir()
    restore(run, published.folder)
    found = texts(run)
    expected = {name for name in before if name.endswith(READ)} | MODELS
    assert expected <= set(found)
    assert all(found[name] == before[name] for name in expected)
    others = {name for name in set(found) - expected if not name.startswith(("logs/", "benchmarks/"))}
    assert others == {"configuration.yaml"}
    assert len({path.stat().st_mtime for path in run.rglob("*")}) == 1


def test_publishing_a_restored_run_changes_only_what_is_made_again(run, published):
    publish(run, published.folder)
    before = texts(published.folder / "mine")
    again = run.with_name("again")
    small_again(published.folder / "mine", again)
    shutil.copytree(run / "tables", again / "tables")
    shutil.copytree(run / "figures", again / "figures", dirs_exist_ok=True)
    publish(again, published.folder)
    assert texts(published.folder / "again") == before


def test_the_times_of_jobs_are_restored(run, published):
    publish(run, published.folder)
    small_again(published.folder / "mine", run.with_name("again"))
    jobs, damaged = read_jobs(run.with_name("again"))
    expected = pd.read_csv(run / "tables/job_times.csv").fillna({"job": ""})
    assert not damaged
    pd.testing.assert_frame_equal(jobs, expected)


def test_what_is_not_published_cannot_be_restored(run, published):
    with pytest.raises(SystemExit, match="nothing is published of this run"):
        restore(run, published.folder)


def test_existing_results_are_not_written_over(run, published):
    publish(run, published.folder)
    before = texts(run)
    with pytest.raises(SystemExit, match="geometry, distillation, embedding, robustness, timing exists already"):
        restore(run, published.folder)
    assert texts(run) == before


def interrupted(*_):
    raise KeyboardInterrupt


def test_an_interrupted_restoring_leaves_no_section(run, published, monkeypatch):
    publish(run, published.folder)
    shutil.rmtree(run)
    run.mkdir()
    monkeypatch.setattr("publishing.restore._whole_provenance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(run, published.folder)
    assert texts(run) == {}
