import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from configurations import content, overlaid, read
from snakemake.cli import parse_config
from snakemake.logging import logger
from snakemake.settings.types import ConfigSettings
from snakemake.utils import update_config
from snakemake_runs import without_ignored_signals

from lgg.errors import ConfigError
from lgg.pipeline import gpus
from lgg.pipeline.environment import Environment
from lgg.pipeline.recipes import Recipe
from lgg.pipeline.workflow import (
    asks,
    each,
    ending,
    files,
    gpus_of_jobs,
    heed_signals,
    in_groups,
    one_of,
    report_command,
    stage,
    start,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"])
    for name in ("PYTHONPATH", *(f"LGG_{field.name.upper()}" for field in fields(Environment))):
        monkeypatch.setenv(name, "")  # what is set for jobs ends with each test


def test_jobs_find_this_python_and_this_package():
    start(overlaid(), ROOT)
    assert os.environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert os.environ["PYTHONPATH"] == str(ROOT)


def test_what_an_overlay_mentions_keeps_its_place():
    """Snakemake hands the overlay's keys over first."""
    raw = overlaid()
    methods = raw["distillation"]["methods"]
    raw["distillation"]["methods"] = {"new": methods["gkd"] | {"label": "New"}, "gkd": methods.pop("gkd"), **methods}
    assert list(start(raw, ROOT).distillation.methods) == [*read()["distillation"]["methods"], "new"]


def started(folder, *files, arguments=(), base=None):
    """Return the configuration of a call with overlays and ``--config``, put together as Snakemake does."""
    paths = []
    for number, file in enumerate(files):
        paths.append(folder / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump(content(file)))
    given = ConfigSettings(config=parse_config(arguments), configfiles=paths, config_args=list(arguments))
    raw = read() if base is None else base
    update_config(raw, given.overwrite_config)
    return start(raw, ROOT, given)


@pytest.mark.parametrize("in_order", [True, False])
def test_of_another_kind_what_the_user_did_not_write_is_gone(tmp_path, in_order):
    files = ["distillation: {methods: {gkd: {k: 9, edges: intra}}}", "distillation: {methods: {gkd: {loss: hinton}}}"]
    if in_order:
        gkd = started(tmp_path, *files).distillation.methods["gkd"]
        assert (gkd.loss, gkd.label, gkd.weight) == ("hinton", "GKD", 25.0)
    else:
        with pytest.raises(ConfigError, match=r"methods\.gkd\.k: there is no such key"):
            started(tmp_path, *reversed(files))


def test_what_the_command_line_says_means_what_it_does_in_a_file(tmp_path):
    config = started(
        tmp_path,
        arguments=(
            "run=007",
            "seeds=[0, 0x10]",
            "resources={checkpoints: {minutes: 1, epochs: ~}}",
            "distillation={methods: {hinton: null, gkd: {label: 1e3, normalize: no, weight: 5e1}}}",
            "distillation={methods: {own: {label: '5', loss: other, module: hinton, arguments: {temperature: 4}}}}",
            "geometry=null",
        ),
    )
    assert (config.run, config.seeds, config.geometry) == ("007", [0, 16], None)
    assert config.resources.checkpoints.minutes == 1.0
    assert config.resources.checkpoints.epochs is None
    assert config.distillation.methods["hinton"] is None
    gkd, own = (config.distillation.methods[name] for name in ("gkd", "own"))
    assert (gkd.label, gkd.normalize, gkd.weight) == ("1e3", False, 50.0)
    assert (own.label, own.arguments) == ("5", {"temperature": 4})
    assert type(own.arguments["temperature"]) is int


def test_a_module_s_configuration_is_laid_over_the_base(tmp_path):
    """Another workflow hands on a part of its own, in which what the command line said is text."""
    nested = parse_config(
        ["lgg={resources: {checkpoints: {minutes: 1}}, distillation: {methods: {gkd: {loss: hinton}}}}"]
    )
    config = start(nested["lgg"], ROOT, ConfigSettings(config=nested, config_args=["lgg={}"]))
    assert config.resources.checkpoints.minutes == 1.0
    assert config.distillation.methods["gkd"].loss == "hinton"


def test_a_program_s_values_stay_what_they_are():
    values = {"geometry": None, "seeds": [3], "distillation": {"methods": {"hinton": None, "gkd": {"label": "it's"}}}}
    config = start(overlaid(values), ROOT, ConfigSettings(config=values))
    assert (config.geometry, config.seeds) == (None, [3])
    assert config.distillation.methods["hinton"] is None
    assert config.distillation.methods["gkd"].label == "it's"


def test_an_environment_without_python_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python9"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no `python` next to it for the jobs"):
        start(overlaid(), ROOT)


NONE, TOO_OLD = gpus.Usable({}), gpus.Usable({}, "the driver is too old")
ONE, TWO = gpus.Usable({"0": "gpu-aa"}), gpus.Usable({"0": "gpu-aa", "1": "gpu-bb"})


@pytest.mark.parametrize(
    ("device", "found", "limit", "each", "expected"),
    [
        ("cpu", TWO, 2, 1, (0, 0)),
        ("auto", NONE, 1, 1, (0, 0)),
        ("auto", NONE, 0, 1, (0, 0)),
        ("auto", TOO_OLD, 1, 1, (0, 0)),
        ("auto", ONE, 1, 1, (1, 1)),
        ("auto", TWO, 0, 1, (0, 0)),
        # a profile without a limit: what is timed takes one, as any other
        ("auto", TWO, None, 1, (1, 1)),
        ("auto", TWO, 2, 1, (1, 2)),
        # more than there are would wait for ever, or be refused at the very end
        ("auto", TWO, 8, 1, (1, 2)),
        ("auto", TWO, 8, 3, (1, 6)),
        # on a cluster the machine that submits has none
        ("cuda", NONE, 16, 1, (1, 16)),
        ("cuda", NONE, None, 1, (1, 1)),
        ("cuda", ONE, 16, 1, (1, 1)),
    ],
)
def test_jobs_ask_for_gpus_where_they_can_use_some(monkeypatch, device, found, limit, each, expected):
    monkeypatch.setattr(gpus, "usable", lambda: found)
    Environment(gpus={"7": "of another run"}).export()
    config = start(overlaid({"resources": {"device": device, "jobs_per_gpu": each}}), ROOT)
    assert gpus_of_jobs(config, limit) == expected
    # what was decided is what jobs go by
    assert Environment.read().gpus == (found.locks if expected[0] else {})


@pytest.mark.parametrize(
    ("device", "found", "limit", "said"),
    [
        ("auto", ONE, 0, "auto is the CPU here: no job may use a GPU (gpu=0)."),
        ("auto", TOO_OLD, 1, "auto is the CPU here: the driver is too old."),
        ("cuda", TOO_OLD, 1, "cuda, but on this machine the driver is too old."),
        # nothing that anybody would wonder about
        ("auto", NONE, 0, None),
        ("auto", ONE, 1, None),
        ("cuda", NONE, 1, None),
        ("cpu", ONE, 0, None),
    ],
)
def test_that_a_gpu_is_not_used_is_said(monkeypatch, caplog, device, found, limit, said):
    monkeypatch.setattr(gpus, "usable", lambda: found)
    with caplog.at_level("INFO", logger=logger.name):
        gpus_of_jobs(start(overlaid({"resources": {"device": device}}), ROOT), limit)
    assert [record.getMessage() for record in caplog.records] == ([f"resources.device: {said}"] if said else [])


def test_a_gpu_that_is_asked_for_and_forbidden_is_refused():
    with pytest.raises(ConfigError, match=r"device is cuda, but with `gpu=0`.*--resources gpu=1.*device to cpu"):
        gpus_of_jobs(start(overlaid({"resources": {"device": "cuda"}}), ROOT), 0)


def test_jobs_are_handed_what_the_configuration_says(monkeypatch):
    Environment(terminal="/dev/of-another-machine").export()
    resources = {"device": "cpu", "jobs_per_gpu": 3, "checkpoints": {"minutes": None, "epochs": 2}}
    gpus_of_jobs(start(overlaid({"resources": resources}), ROOT), 1)
    handed = Environment.read()
    assert (handed.snakemake, handed.jobs_per_gpu) == (os.getpid(), 3)
    assert handed.checkpoints == {"minutes": None, "epochs": 2}
    assert handed.terminal != "/dev/of-another-machine"


# --- what rules are made of ---------------------------------------------------------------------------------------


def test_a_job_s_files_are_options_and_what_has_none_is_left_out():
    inputs = {"train": "a b.x", "models": ["one", "it's"], "teacher": [], "test": ["t"]}
    words = shlex.split(files(None, inputs, {"csv": "c", "corruptions": []}))
    assert words == ["--train", "a b.x", "--models", "one", "it's", "--test", "t", "--out-csv", "c"]


def test_a_recipe_becomes_params_for_all_jobs_or_for_each():
    recipes = {"gkd": Recipe("{1}", "aa", "distill"), "none": Recipe("{2}", "bb", "train")}
    for_all = stage(recipes["gkd"])
    assert for_all == {"stage": "distill", "recipe": "{1}", "code": "aa"}
    of_each = stage(lambda wildcards: recipes[wildcards.method])
    for name, recipe in recipes.items():
        found = {key: param(SimpleNamespace(method=name)) for key, param in of_each.items()}
        assert found == stage(recipe)


def test_a_job_asks_for_more_time_with_each_attempt():
    asked = asks(SimpleNamespace(mem_mb=100, runtime=7), 2)
    assert (asked["gpu"], asked["mem_mb"]) == (2, 100)
    assert [asked["runtime"](None, attempt) for attempt in (1, 2, 3)] == [7, 14, 21]


def test_a_rule_has_a_job_for_each_method_and_seed_and_no_other():
    patterns = each(["gkd", "a.b"], [3, 10])
    assert {name for name in ("gkd", "a.b", "axb", "gkd|a") if re.fullmatch(patterns["method"], name)} == {"gkd", "a.b"}
    assert [seed for seed in range(12) if re.fullmatch(patterns["seed"], str(seed))] == [3, 10]


def test_patterns_match_the_names_alone():
    assert re.fullmatch(one_of(["gkd", "a.b"]), "gkd")
    assert not re.fullmatch(one_of(["gkd", "a.b"]), "axb")
    assert not re.search(one_of([]), "")


@pytest.mark.parametrize(
    ("size", "groups"), [(1, [[4], [2], [9]]), (2, [[4, 2], [9]]), (3, [[4, 2, 9]]), (7, [[4, 2, 9]])]
)
def test_seeds_are_grouped_in_their_order(size, groups):
    assert in_groups([4, 2, 9], size) == groups


def test_only_snakemake_itself_listens_for_signals(monkeypatch):
    numbers = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
    before = [signal.getsignal(number) for number in numbers]
    for program in ("/bin/pytest", "/lib/pytest/__main__.py", "snakemake_runner.py"):
        monkeypatch.setattr(sys, "argv", [program])
        heed_signals()
        assert signal.set_wakeup_fd(-1) == -1
    assert [signal.getsignal(number) for number in numbers] == before


# a Snakemake that has set its own handler of SIGTERM, or not yet; each signal is sent twice, as at the end of a session
SNAKEMAKE = """
import os, signal, sys, time
from lgg.pipeline.workflow import heed_signals
sys.argv = ["snakemake"]
for number in map(int, os.environ["IGNORED"].split()):
    signal.signal(number, signal.SIG_IGN)
heed_signals()
if "LATER" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: print("waits", flush=True))
try:
    for number in map(int, os.environ["SENT"].split()):
        os.kill(os.getpid(), number)
    time.sleep(0.5)
    print("goes on")
except KeyboardInterrupt:
    try:
        for number in map(int, os.environ["SENT"].split()):
            os.kill(os.getpid(), number)
        time.sleep(0.5)
        print("interrupted once")
    except KeyboardInterrupt:
        print("interrupted twice")
"""


@pytest.mark.parametrize(
    ("sent", "ignored", "later", "expected"),
    [
        ("HUP", "", False, "interrupted once"),
        ("TERM", "", False, "interrupted once"),
        ("TERM HUP", "", True, "waits interrupted once"),
        ("HUP", "INT", False, "interrupted once"),
        ("HUP", "HUP", False, "goes on"),
        ("USR1 USR2", "", False, "goes on"),
    ],
)
def test_signals_end_snakemake_once_or_not_at_all(sent, ignored, later, expected):
    def numbers(names):
        return " ".join(str(int(signal.Signals[f"SIG{name}"])) for name in names.split())

    variables = {"SENT": numbers(sent), "IGNORED": numbers(ignored), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SNAKEMAKE],
        env=os.environ | variables | ({"LATER": "yes"} if later else {}),
        capture_output=True,
        text=True,
        preexec_fn=without_ignored_signals,
    )
    assert list(dict.fromkeys(done.stdout.split("\n")))[:-1] == expected.replace("waits ", "waits\n").split("\n"), (
        done.stderr
    )


# --- the end of a run ---------------------------------------------------------------------------------------------


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
def test_the_report_is_made_with_what_the_run_was_given(here, given, options):
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
        said = ending(workflow(here), "results/r", targets)
        assert f"{3 - missing} of the run's 3 tables and figures exist" in said and "--report" not in said
        Path(targets[missing - 1]).touch()
    assert "report.html: snakemake --report results/r/report.html" in ending(workflow(here), "results/r", targets)


def test_results_that_are_kept_elsewhere_are_not_missed(here):
    assert "--report" in ending(workflow(here, storage="s3"), "results/r", ["results/r/tables/table1.md"])
