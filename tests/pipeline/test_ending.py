from pathlib import Path
from types import SimpleNamespace

import pytest

from lgg.pipeline.ending import message, report_command


def workflow(folder, *, snakefile=None, directory=None, configfiles=(), config=None, storage=None):
    """Return what the end of a run asks of Snakemake's workflow."""
    return SimpleNamespace(
        main_snakefile=str(snakefile or folder / "Snakefile"),
        overwrite_workdir=directory,
        overwrite_configfiles=list(configfiles),
        config_settings=SimpleNamespace(config_args=config),
        storage_settings=SimpleNamespace(default_storage_provider=storage),
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


REPORT = ["snakemake", "--report", "results/r/report.html"]


def test_the_report_of_the_embedded_run_needs_no_options(here):
    assert report_command(workflow(here), "results/r", ["snakemake", "--cores", "all"]) == REPORT


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"config": ["run=quick", "geometry={k: 3}"]}, ["--config", "run=quick", "geometry={k: 3}"]),
        ({"configfiles": [Path("/a b.yaml"), Path("/c.yaml")]}, ["--configfile", "/a b.yaml", "/c.yaml"]),
        ({"snakefile": "/else/Snakefile"}, ["--snakefile", "/else/Snakefile"]),
        ({"directory": "."}, ["--snakefile", "{here}/Snakefile", "--directory", "{here}"]),
        ({"configfiles": ["/a"], "config": ["run=b"]}, ["--configfile", "/a", "--config", "run=b"]),
    ],
)
def test_the_report_command_repeats_the_options_of_the_run(here, given, options):
    expected = [*REPORT, *(option.replace("{here}", str(here)) for option in options)]
    assert report_command(workflow(here, **given), "results/r", ["snakemake"]) == expected


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (
            ["--workflow-profile", "profiles/slurm", "--profile=own"],
            ["--profile", "own", "--workflow-profile", "profiles/slurm"],
        ),
        (["--cores", "2", "results/x"], []),
    ],
)
def test_the_report_is_made_with_the_same_profiles(here, given, options):
    assert report_command(workflow(here), "results/r", ["/bin/snakemake", *given]) == [*REPORT, *options]
    assert report_command(workflow(here), "results/r", ["/bin/pytest", *given]) == REPORT


def test_the_report_is_offered_when_all_tables_and_figures_are_there(here):
    targets = [str(here / name) for name in ("table1.md", "table2.md", "figure1.pdf")]
    for missing in (3, 2, 1):
        said = message(workflow(here), "results/r", targets)
        assert f"{3 - missing} of the run's 3 tables and figures exist" in said and "--report" not in said
        Path(targets[missing - 1]).touch()
    assert "report.html: snakemake --report results/r/report.html" in message(workflow(here), "results/r", targets)


def test_results_that_are_kept_elsewhere_are_not_missed(here):
    assert "--report" in message(workflow(here, storage="s3"), "results/r", ["results/r/tables/table1.md"])
