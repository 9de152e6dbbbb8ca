import os
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from configurations import content, overlaid, read
from snakemake.cli import parse_config
from snakemake.logging import logger
from snakemake.settings.types import ConfigSettings
from snakemake.utils import update_config

from lgg.errors import ConfigError
from lgg.pipeline import gpus, workflow
from lgg.pipeline.environment import Environment
from lgg.pipeline.workflow import (
    gpus_of_jobs,
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


def test_keys_that_an_overlay_mentions_keep_their_order():
    """Snakemake puts the overlay's keys first."""
    raw = overlaid()
    methods = raw["distillation"]["methods"]
    raw["distillation"]["methods"] = {"new": methods["gkd"] | {"label": "New"}, "gkd": methods.pop("gkd"), **methods}
    assert list(start(raw, ROOT).distillation.methods) == [*read()["distillation"]["methods"], "new"]


def started(folder, *files, arguments=(), base=None):
    """Return the configuration of a call with overlays and ``--config``, merged as Snakemake does."""
    paths = []
    for number, file in enumerate(files):
        paths.append(folder / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump(content(file)))
    given = ConfigSettings(config=parse_config(arguments), configfiles=paths, config_args=list(arguments))
    raw = read() if base is None else base
    update_config(raw, given.overwrite_config)
    return start(raw, ROOT, given)


@pytest.mark.parametrize("in_order", [True, False])
def test_another_kind_drops_the_base_s_keys_of_the_former_kind(tmp_path, in_order):
    files = ["distillation: {methods: {gkd: {k: 9, edges: intra}}}", "distillation: {methods: {gkd: {loss: hinton}}}"]
    if in_order:
        gkd = started(tmp_path, *files).distillation.methods["gkd"]
        assert (gkd.loss, gkd.label, gkd.weight) == ("hinton", "GKD", 25.0)
    else:
        with pytest.raises(ConfigError, match=r"methods\.gkd\.k: unknown key"):
            started(tmp_path, *reversed(files))


def test_values_of_the_command_line_mean_the_same_as_in_a_file(tmp_path):
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
    """Another workflow passes on a part of its configuration, in which values of the command line are text."""
    nested = parse_config(
        ["lgg={resources: {checkpoints: {minutes: 1}}, distillation: {methods: {gkd: {loss: hinton}}}}"]
    )
    config = start(nested["lgg"], ROOT, ConfigSettings(config=nested, config_args=["lgg={}"]))
    assert config.resources.checkpoints.minutes == 1.0
    assert config.distillation.methods["gkd"].loss == "hinton"


def test_values_given_by_a_program_are_not_changed():
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
        # jobs that need more than there are would wait forever, or be refused at the very end
        ("auto", TWO, 8, 1, (1, 2)),
        ("auto", TWO, 8, 3, (1, 6)),
        # on a cluster the submitting machine has none
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


def test_jobs_receive_the_configured_settings(monkeypatch):
    Environment(terminal="/dev/of-another-machine").export()
    resources = {
        "device": "cpu",
        "jobs_per_gpu": 3,
        "captured_steps": True,
        "checkpoints": {"minutes": None, "epochs": 2},
    }
    gpus_of_jobs(start(overlaid({"resources": resources}), ROOT), 1)
    handed = Environment.read()
    assert (handed.snakemake, handed.jobs_per_gpu, handed.captured_steps) == (os.getpid(), 3, True)
    assert handed.checkpoints == {"minutes": None, "epochs": 2}
    assert handed.terminal != "/dev/of-another-machine"
    assert handed.rows == {}


@pytest.mark.parametrize(("longest", "rows"), [(100_000, {"distillation.gkd"}), (100, set())])
def test_jobs_receive_the_checks_of_all_networks_unless_a_variable_cannot_hold_them(
    longest, rows, tmp_path, monkeypatch
):
    """Linux starts no process with a longer one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"PK")
    monkeypatch.setattr(workflow, "LONGEST", longest)
    gkd = {"distillation": {"methods": {"gkd": {"trained": "weights.pt"}}}}
    gpus_of_jobs(start(overlaid({"seeds": [0], "resources": {"device": "cpu"}}, gkd), ROOT), 1)
    assert Environment.read().rows.keys() == rows
