"""Another workflow, in another folder, uses this one as a module."""

import json
import re
from pathlib import Path

import pytest
import yaml
from dependencies import imported, installed_with, modules
from snakemake_runs import DIGITS, ROOT, announced_jobs, job_stats, plan, snakemake

from lgg.pipeline.digest import import_closure

pytestmark = pytest.mark.pipeline

SNAKEFILE = """
configfile: "lgg.yaml"


module lgg:
    snakefile: "{root}/Snakefile"
    config: config


use rule * from lgg as lgg_*


rule count_images:
    input:
        "results/digits/data/train.safetensors",
    output:
        "size.txt",
    shell:
        "wc -c < {{input}} > {{output}}"
"""


@pytest.fixture
def other(tmp_path, checkout):
    """A foreign folder: its Snakefile, and of the configuration just what differs."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=checkout))
    (tmp_path / "lgg.yaml").write_text((checkout / DIGITS).read_text())
    return tmp_path


@pytest.fixture
def checkout(tmp_path_factory):
    from snakemake_runs import copy_checkout

    return copy_checkout(tmp_path_factory.mktemp("lgg"))


def test_all_of_its_jobs_are_planned_under_their_new_names(other, checkout):
    done = snakemake(other, "-n", "lgg_all", configs=())
    assert done.returncode == 0, done.stdout
    found = {rule.removeprefix("lgg_"): count for rule, count in job_stats(done.stdout).items()}
    own: dict[str, int] = {}
    for job, count in plan(checkout).items():
        rule = job.split()[0]
        own[rule] = own.get(rule, 0) + count
    assert found | {"all": 1} == own | {"all": 1}


def test_a_rule_of_the_other_workflow_uses_its_results(other):
    done = snakemake(other, "count_images", "--cores", "1", configs=())
    assert done.returncode == 0, done.stdout
    assert [job.rule for job in announced_jobs(done.stdout)] == ["lgg_prepare_data", "count_images"]
    images = other / "results/digits/data/train.safetensors"
    assert int((other / "size.txt").read_text()) == images.stat().st_size
    assert snakemake(other, "count_images", "--cores", "1", configs=()).stdout.count("Nothing to be done") == 1


def test_on_a_cluster_only_this_workflow_s_short_rules_are_local(other):
    with (other / "Snakefile").open("a") as file:
        file.write('\nprint("local:", *sorted(workflow._localrules))\n')  # is_local says yes to all in a dry run
    local = re.search(r"^local: (.*)$", snakemake(other, "-n", "count_images", configs=()).stdout, re.MULTILINE)
    names = {name for name in local[1].split() if name != "lgg_all"}
    assert {name.rpartition("lgg_")[2].split("_")[0] for name in names} == {"assemble", "draw", "prepare"}
    assert all(name.startswith("lgg_") for name in names)


def test_its_results_are_in_the_other_workflow_s_report(other):
    figure = "results/digits/figures/figure2.png"
    for arguments in (("--cores", "2", figure), ("--report", "report.html", figure)):
        done = snakemake(other, *arguments, configs=())
        assert done.returncode == 0, done.stdout
    text = (other / "report.html").read_text("utf-8")
    assert "The description of the run, its data and machine is missing" in text
    held = json.loads(re.search(r"var results = (\{.*?\});\n", text, re.DOTALL)[1])
    # a number that neither the configuration given here nor the caption has, but the base
    assert "of 4 classes of training images" in " ".join(held[figure]["caption"].split())


def beyond_snakemake():
    """Return what the Snakefile imports through the package that is not installed with Snakemake."""
    needed = set()
    read = ("ending", "interrupt", "machine", "metadata", "provenance", "recipes", "rules", "workflow")
    for module in import_closure(*(f"lgg.pipeline.{name}" for name in read)):
        path = ROOT.joinpath(*module.split("."))
        needed |= imported((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    return needed - modules(installed_with({"snakemake"})) - {"snakemake"}


def test_the_workflow_catalogue_has_what_it_needs():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    # true where Snakemake alone can read the Snakefile, and its conda makes the rest
    assert usage["software-stack-deployment"]["conda"] is (not beyond_snakemake())
    for name in ("Snakefile", "README.md", "config/config.yaml", "config/README.md", "LICENSE"):
        assert Path(ROOT / name).is_file()
    assert "report:" in (ROOT / "Snakefile").read_text()


@pytest.mark.parametrize("how", ["-s", "--directory"])
def test_another_folder_plans_the_same(tmp_path, checkout, how):
    """The Snakefile finds its configuration next to itself; results are where Snakemake works."""
    if how == "-s":
        done = snakemake(tmp_path, "-n", "-s", checkout / "Snakefile", configs=())
    else:
        done = snakemake(checkout, "-n", "--directory", tmp_path, configs=())
    assert done.returncode == 0, done.stdout
    assert job_stats(done.stdout) == job_stats(snakemake(checkout, "-n", configs=()).stdout)
